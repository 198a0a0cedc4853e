"""kill -9 at every named crash point, under load: the server is started again and every promise still holds.

The process ends itself with `os._exit(137)` at the n-th passing of a point (`domain.crash`), which to everybody outside
is kill -9. What it left is read before it starts again; when all has drained, `tests.support.checker` counts.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from domain.crash import POINTS
from simulators.control import SimulatorControl
from storage.database import Database, rows_of
from tests.faults import load, test_calls_killed, test_schedules_killed
from tests.faults.conftest import Counted
from tests.support import checker
from tests.support.databases import PostgresServer
from tests.support.processes import READY_S, Child, Server, Simulators
from tests.support.run import Run
from tests.support.town import until

# Which passing: late enough that work of every kind is under way, early enough that much is still to come.
CASES = (
    "intake.before_commit:7",
    "intake.after_commit:7",
    "worker.after_claim:6",
    "worker.before_commit:6",
    "worker.after_commit:6",
    "sender.before_mark:9",
    "sender.after_mark:9",
    "sender.after_write:15",
    "sender.before_settle:9",
    "sender.after_settle:9",
    "campaign.after_slice:1",
    "campaign.after_feed:1",
    "scheduler.after_timers:1",
    "jobs.after_step:1",
)
RETRIES_S = (
    7  # of the platforms' time, second by second: by then they have delivered again what was refused once
)
# Between marking an item `sending` and recording what became of it: the only points that may leave `unknown`.
IN_DOUBT = ("sender.after_mark:4", "sender.after_write:8", "sender.before_settle:6")
ON_POSTGRESQL = ("worker.before_commit:6", "sender.after_write:15")
# Which process passes a point, when each role has one of its own.
ROLES = {
    "intake": "web",
    "worker": "worker",
    "jobs": "worker",
    "sender": "sender",
    "campaign": "scheduler",
    "scheduler": "scheduler",
}
DRAINED = (
    "SELECT (SELECT count(*) FROM intake WHERE state IN (0, 3)) + (SELECT count(*) FROM outbox) "
    "+ (SELECT count(*) FROM job WHERE state = 0) + (SELECT count(*) FROM album_part) "
    "+ (SELECT count(*) FROM campaign_run WHERE state = 'running') "
    "+ (SELECT count(*) FROM post WHERE state IN ('scheduled', 'queued'))"
)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that is ready to serve; copied for each test."""
    folder = tmp_path_factory.mktemp("prepared")
    asyncio.run(load.prepare(folder))
    return folder


@pytest.fixture(scope="session")
def prepared_quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without flows: only the campaign and the post go out."""
    folder = tmp_path_factory.mktemp("prepared-quiet")
    asyncio.run(load.prepare(folder, talkative=False))
    return folder


@pytest.fixture
def on_postgresql(run: Run, postgres: PostgresServer, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A data folder, and the URL of a PostgreSQL database that is ready to serve with it."""
    shared = run.folder / "prepared-postgresql"
    template = postgres.template("faults", lambda url: asyncio.run(load.prepare(shared, url)))
    shutil.copytree(shared, tmp_path / "data")
    url = postgres.create(template)
    yield tmp_path / "data", url
    postgres.drop(url)


@pytest.fixture(params=["sqlite", "postgres"])
def any_place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """`tmp_path / "data"`, ready to serve; gives the URL of the database, "" for the file in it."""
    if request.param == "postgres":
        return str(request.getfixturevalue("on_postgresql")[1])
    shutil.copytree(request.getfixturevalue("prepared"), tmp_path / "data")
    return ""


def test_every_crash_point_is_tried() -> None:
    """A new point without a test would be a promise that nobody checks."""
    cases = (*CASES, *test_calls_killed.CASES, *test_schedules_killed.CASES)
    assert {case.partition(":")[0] for case in cases} == set(POINTS)


@pytest.mark.parametrize("crash_at", CASES)
async def test_killed_at(crash_at: str, run: Run, prepared: Path, tmp_path: Path) -> None:
    """Killed once in the middle of everything, on SQLite."""
    shutil.copytree(prepared, tmp_path / "data")
    verdict = await killed(run, tmp_path, crash_at)
    assert not verdict.problems, "\n".join(verdict.problems)


@pytest.mark.parametrize("crash_at", IN_DOUBT)
async def test_what_nobody_can_know_is_listed_as_unknown(
    crash_at: str, run: Run, prepared_quiet: Path, tmp_path: Path
) -> None:
    """Killed with a campaign or a post on the wire: those messages are unknown, each is listed, none goes again."""
    shutil.copytree(prepared_quiet, tmp_path / "data")
    verdict = await killed(run, tmp_path, crash_at, talkative=False)
    assert not verdict.problems, "\n".join(verdict.problems)
    assert verdict.unknown or verdict.counts["possibly twice"]  # what was on the wire may have been a reply
    assert verdict.counts["campaign unknown"] + verdict.counts["posts unknown"] == len(verdict.unknown)


@pytest.mark.parametrize(
    "crash_at", [pytest.param(c, marks=[] if c in ON_POSTGRESQL else pytest.mark.chaos) for c in CASES]
)
async def test_killed_at_on_postgresql(
    crash_at: str, run: Run, on_postgresql: tuple[Path, str], tmp_path: Path
) -> None:
    """The same on PostgreSQL, where whoever takes over waits for the dead one's leases."""
    verdict = await killed(run, tmp_path, crash_at, url=on_postgresql[1])
    assert not verdict.problems, "\n".join(verdict.problems)


@pytest.mark.chaos
@pytest.mark.parametrize("crash_at", CASES)
async def test_one_role_killed_at_on_postgresql_and_redis(
    crash_at: str,
    run: Run,
    on_postgresql: tuple[Path, str],
    redis_url: str,
    tmp_path: Path,
    counted: Counted,
) -> None:
    """A process for each role; one of them dies, the others go on, and only a sender leaves anything in doubt."""
    url = on_postgresql[1]
    victim = ROLES[crash_at.partition(".")[0]]
    settings = {"PASSAPAROLA_REDIS_URL": redis_url}
    async with (
        AsyncExitStack() as stack,
        Simulators(run, tmp_path, load.SEED) as simulators,
        opened(url) as database,
    ):
        control = simulators.control
        await load.settle_in(control)
        servers: dict[str, Server] = {}
        for role in ("web", "worker", "sender", "scheduler"):
            server = Server(run, tmp_path / "data", simulators.origin, url=url, settings=settings, roles=role)
            servers[role] = await stack.enter_async_context(server)
        children = await asyncio.gather(
            *(server.start(crash_at=crash_at if role == victim else "") for role, server in servers.items())
        )
        web = children[0]
        begun = await load.begin(control) if await connected(control, web) else None
        dead = servers[victim].child
        assert dead is not None
        assert await dead.ended() == 137, dead.printed[-4000:]
        sending = await take_over(control, database, url, of=dead.pid)
        if victim != "sender":  # what is on the wire now has an owner who lives
            sending = set()
        await servers[victim].start()
        await control.unfreeze()
        if begun is None:
            assert servers["web"].child is not None
            assert await connected(control, servers["web"].child)
            begun = await load.begin(control)
        await come_through(control, database, begun)
        history = await history_of(control, database, begun, sending)
    verdict = checker.check(history)
    counts = {name.replace(" ", "_"): n for name, n in verdict.counts.items()}
    counted(f"{victim} killed at {crash_at}", on_the_wire=len(sending), **counts)
    assert not verdict.problems, "\n".join(verdict.problems)


@pytest.mark.chaos
@pytest.mark.timeout(300)
async def test_killed_again_and_again_at_any_moment(any_place: str, run: Run, tmp_path: Path) -> None:
    """Twelve times kill -9 from outside, at random moments under load; every promise holds at the end."""
    url = any_place
    chance = random.Random(20)
    sending: set[int] = set()
    async with (
        Simulators(run, tmp_path, load.SEED) as simulators,
        Server(run, tmp_path / "data", simulators.origin, url=url) as server,
        opened(url or f"sqlite:///{tmp_path / 'data' / 'passaparola.sqlite3'}") as database,
    ):
        control = simulators.control
        await load.settle_in(control)
        child = await server.start()
        assert await connected(control, child)
        await control.latency("telegram", 60)  # so that requests are on the wire at every moment
        begun = await load.begin(control, patience_s=240)
        for _ in range(12):
            await asyncio.sleep(chance.uniform(0.0, 1.5))  # the moment is what is random here
            child.send(signal.SIGKILL)
            assert await child.ended() == 137
            sending |= await take_over(control, database, url)
            child = await server.start()
            await control.unfreeze()
        await come_through(control, database, begun, retries_s=90)
        history = await history_of(control, database, begun, sending)
    verdict = checker.check(history)
    print(f"{url or 'sqlite'}: {verdict.counts}, sending at deaths {len(sending)}")
    assert not verdict.problems, "\n".join(verdict.problems)


async def killed(
    run: Run, tmp_path: Path, crash_at: str, *, url: str = "", talkative: bool = True
) -> checker.Verdict:
    """Load on the data in `tmp_path / "data"`, death, a new start, and what came of it."""
    folder = tmp_path / "data"
    async with (
        Simulators(run, tmp_path, load.SEED) as simulators,
        Server(run, folder, simulators.origin, url=url) as server,
        opened(url or f"sqlite:///{folder / 'passaparola.sqlite3'}") as database,
    ):
        control = simulators.control
        await load.settle_in(control)
        child = await server.start(crash_at=crash_at)
        begun = await load.begin(control, talkative=talkative) if await connected(control, child) else None
        assert await child.ended() == 137, child.printed[-4000:]
        sending = await take_over(control, database, url)
        died = time.monotonic()
        child = await server.start()
        await control.unfreeze()
        if begun is None:
            assert await connected(control, child), child.printed[-4000:]
            begun = await load.begin(control, talkative=talkative)
        await come_through(control, database, begun)
        took = time.monotonic() - died
        history = await history_of(control, database, begun, sending)
    verdict = checker.check(history)
    print(f"{crash_at}: {verdict.counts}, sending at death {len(sending)}, drained {took:.1f} s after it")
    return verdict


async def take_over(control: SimulatorControl, database: Database, url: str, *, of: int = 0) -> set[int]:
    """After a death: the messages that it leaves in doubt. The platforms' time stands still until the next start, or
    they would try again in vain meanwhile, and then wait longer each time. `of`: the dead process, when others live."""
    await control.freeze()
    if url:
        await until(lambda: hung_up(database, of), "the server has ended what the dead one asked for last")
    sending = {row.id for row in await rows(database, "SELECT id FROM outbox WHERE state = 3")}
    if url:  # others take over when the dead one's leases are over: half a minute passes at once
        await database.write(lambda connection: half_a_minute_passes(connection, of))
    return sending


async def hung_up(database: Database, of: int) -> bool:
    """Whether the server has seen that the dead process is gone: a statement that it had been sent by then, it has run
    to its end. `of`: its process, 0: of all but this one."""
    whose = "=" if of else "LIKE 'passaparola %' AND application_name <>"
    left = await rows(
        database,
        f"SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name {whose} :whose",
        whose=f"passaparola {of or os.getpid()}",
    )
    return not left


async def come_through(
    control: SimulatorControl, database: Database, begun: load.Begun, *, retries_s: int = RETRIES_S
) -> None:
    """Until the platforms have delivered again what was refused, everybody has finished, and nothing is left to do."""
    for _ in range(retries_s):
        await control.advance(1)
    for play in begun.plays:
        report = await control.play_finished(play, timeout_s=40)
        assert not report["failed"], report["failures"]
    await until(lambda: drained(database), "everything drained")


async def history_of(
    control: SimulatorControl, database: Database, begun: load.Begun, sending: set[int]
) -> checker.History:
    """Both sides of what happened."""
    return checker.History(
        log=await control.log(),
        rows=await database.read(lambda c: checker.load(lambda sql: rows_of(c, sql))),
        sending_at_death=sending,
        stops={str(person): update for person, update in begun.stops.items()},
    )


def half_a_minute_passes(connection: Connection, pid: int = 0) -> None:
    """For leases and jobs in hand (of one process): they expire by clocks that no test can move."""
    owner = {"owner": f"%:{pid}:%" if pid else "%"}
    connection.execute(text("UPDATE lease SET expires_at = 0 WHERE owner LIKE :owner"), owner)
    connection.execute(text("UPDATE job SET lease_until = 0 WHERE state = 0 AND owner LIKE :owner"), owner)


async def connected(control: SimulatorControl, child: Child) -> bool:
    """Waits until both platforms have been told where to deliver; False when the server has died before."""
    deadline = time.monotonic() + READY_S
    while child.status is None and time.monotonic() < deadline:
        counters = await control.counters()
        if counters.get("telegram.calls.setWebhook.200") and await control.log(kind="handshake"):
            return True
        await asyncio.sleep(0.02)
    return False


async def drained(database: Database) -> bool:
    return bool((await rows(database, DRAINED))[0][0] == 0)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """The server's database, looked at from outside."""
    database = await Database.open(url)
    try:
        yield database
    finally:
        await database.close()


async def rows(database: Database, sql: str, **values: Any) -> list[Any]:
    def read(connection: Connection) -> list[Any]:
        return list(rows_of(connection, sql, values))

    return await database.read(read)
