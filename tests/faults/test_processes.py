"""Many processes on PostgreSQL and Redis: roles apart, shares of the work, frozen ones fenced out, rolling restarts.

Real processes and real servers; what happened is judged by `tests.support.checker`, from the platforms' side and ours.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from bot.runtime import LANES, lane_of
from domain import ids
from simulators.control import SimulatorControl
from storage.database import Database
from tests.faults import deliveries, load
from tests.faults.conftest import Counted
from tests.faults.fleet import Fleet
from tests.faults.test_kill import come_through, connected, drained, history_of, on_postgresql, opened, rows
from tests.support import checker
from tests.support.databases import PostgresServer
from tests.support.processes import Child, Simulators
from tests.support.run import Run
from tests.support.town import until

__all__ = ["on_postgresql"]

Place = tuple[Path, str]
BOT = load.BOT


@asynccontextmanager
async def installation(
    run: Run, place: Place, tmp_path: Path, redis: str, *roles: str
) -> AsyncIterator[tuple[Fleet, SimulatorControl, Database]]:
    """The platforms, the processes and a look at the database."""
    folder, url = place
    async with (
        Simulators(run, tmp_path, load.SEED) as simulators,
        opened(url) as database,
        Fleet(run, folder, simulators.origin, url, redis=redis) as fleet,
    ):
        await load.settle_in(simulators.control)
        await fleet.start(*roles)
        child = fleet.of("web")[0].child
        assert child is not None
        assert await connected(simulators.control, child), child.printed[-4000:]
        yield fleet, simulators.control, database


async def shares(database: Database, kind: str) -> list[int]:
    """How many leases of a kind each owner has, the fewest first; what is free is not counted."""
    found = await rows(
        database,
        f"SELECT owner, count(*) AS n FROM lease WHERE name LIKE '{kind}:%' AND owner <> '' GROUP BY owner",
    )
    return sorted(row.n for row in found)


async def shared(database: Database, kind: str, expected: list[int], *, within_s: float = 30.0) -> float:
    """Waits until the leases are shared so; gives how long it took."""
    begun = time.monotonic()

    async def look() -> bool:
        return await shares(database, kind) == expected

    await until(look, f"{kind}s shared as {expected}", within_s=within_s)
    return time.monotonic() - begun


@pytest.mark.parametrize("fast", [True, False], ids=["signals", "polling"])
async def test_every_role_in_a_process_of_its_own(
    run: Run, on_postgresql: Place, redis_url: str, tmp_path: Path, fast: bool
) -> None:
    """Forms are walked, timers fire, the campaign and the post go out; without Redis everything is looked for."""
    roles = ("web", "worker", "sender", "scheduler")
    redis = redis_url if fast else ""
    async with installation(run, on_postgresql, tmp_path, redis, *roles) as (_, control, database):
        begun = await load.begin(control)
        await come_through(control, database, begun)
        reports = [await control.play_finished(play) for play in begun.plays]
        counters = await control.counters()
        history = await history_of(control, database, begun, set())
    verdict = checker.check(history)
    answers = [report["answers"]["p50_ms"] for report in reports]
    print(f"{verdict.counts}, median answers after {answers} ms")
    assert not verdict.problems, "\n".join(verdict.problems)
    assert (verdict.unknown, verdict.counts["possibly twice"]) == ([], 0)
    assert counters["telegram.calls.answerCallbackQuery.200"], "taps are answered by whoever handled them"
    # Two looks lie between a message and its answer, each up to a second late when nobody is woken.
    assert max(answers) < (900 if fast else 3_000)


async def test_work_is_shared_when_processes_come_and_go(
    run: Run, on_postgresql: Place, redis_url: str, tmp_path: Path
) -> None:
    """A newcomer gets its share in about two seconds, a stopped one's goes to the others at once, a killed one's when
    its leases are over."""
    async with installation(run, on_postgresql, tmp_path, redis_url, "web,worker,sender") as (
        fleet,
        _,
        database,
    ):
        await shared(database, "lane", [LANES])
        await shared(database, "channel", [2])
        (second,) = await fleet.start("worker,sender")  # it answers a moment before it joins
        took = await shared(database, "lane", [32, 32])
        assert took < 2.5, f"a newcomer waited {took:.1f} s for its lanes"
        await shared(database, "channel", [1, 1])
        (third,) = await fleet.start("worker")
        await shared(database, "lane", [21, 21, 22])
        await fleet.stop(second)
        took = await shared(database, "lane", [32, 32])
        assert took < 2.5, f"what was given back lay about for {took:.1f} s"
        await shared(database, "channel", [2])
        killed = third.child
        assert killed is not None
        killed.send(signal.SIGKILL)
        await killed.ended()
        assert await shares(database, "lane") == [32, 32], "nobody can know yet that it is dead"
        await database.write(lambda c: _lease_is_over(c, killed.pid))
        await shared(database, "lane", [LANES], within_s=12)


async def test_requests_that_came_before_the_signal_are_answered(
    run: Run, on_postgresql: Place, redis_url: str, tmp_path: Path
) -> None:
    """Their commit is under way when the process is told to end: it takes no more, answers these, and then ends."""
    async with installation(run, on_postgresql, tmp_path, redis_url, "web") as (fleet, _, database):
        (server,) = fleet.of("web")
        child = server.child
        assert child is not None
        (channel,) = await rows(database, "SELECT id FROM channel WHERE kind = 'telegram'")
        url = f"{server.base_url}/webhooks/telegram/{ids.to_text('channel', channel.id)}"

        async def deliver(session: aiohttp.ClientSession, number: int) -> int:
            body = deliveries.encoded(deliveries.telegram_text(number, 5_001, "ciao"))
            async with session.post(url, data=body, headers=deliveries.TELEGRAM_HEADERS) as response:
                return response.status

        async with aiohttp.ClientSession() as session:
            async with locked(database, "intake"):
                waiting = [asyncio.create_task(deliver(session, 900_000 + n)) for n in range(3)]

                async def stands() -> bool:
                    return bool(await waiting_for(database, "intake"))

                await until(stands, "a commit of deliveries stands still")
                child.send(signal.SIGTERM)

                async def closed() -> bool:
                    try:
                        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                    except OSError:
                        return True
                    writer.transport.abort()
                    return False

                await until(closed, "the door is closed")
            assert await asyncio.gather(*waiting) == [200, 200, 200]
        assert await child.ended(within_s=25) == 0
        assert len(await rows(database, "SELECT id FROM intake")) >= 3


@pytest.mark.parametrize("wait", [False, pytest.param(True, marks=pytest.mark.chaos)], ids=["", "to the end"])
@pytest.mark.timeout(150)
async def test_a_worker_frozen_in_the_middle_of_a_transaction(
    run: Run, on_postgresql: Place, redis_url: str, tmp_path: Path, wait: bool
) -> None:
    """It holds its lanes' rows locked. PostgreSQL ends its transaction (after 12 s of silence, after 25 s whatever it
    does), the other worker takes over and answers; when it wakes up, what it had begun is void, and it gets a share.

    `wait`: until its leases are over by themselves; else that time passes at once.
    """
    roles = ("web,sender,scheduler", "worker", "worker")
    async with installation(run, on_postgresql, tmp_path, redis_url, *roles) as (fleet, control, database):
        await shared(database, "lane", [32, 32])
        await reminded(
            control, database
        )  # each worker has kept the business: neither waits for the other with that
        async with locked(database, "turn"):  # where a round writes late
            begun = await load.begin(control, patience_s=120)
            for person in MANY:
                await control.telegram_act(BOT, person, "say", text="promemoria")
            frozen, lanes = await worker_of(fleet, database)
            frozen.send(signal.SIGSTOP)
            stopped = time.monotonic()
        if not wait:
            await database.write(lambda c: _lease_is_over(c, frozen.pid))

        async def taken_over() -> bool:
            owners = await rows(database, f"SELECT owner FROM lease WHERE name IN {_in(lanes)}")
            return all(row.owner and f":{frozen.pid}:" not in row.owner for row in owners)

        await until(taken_over, f"{len(lanes)} locked lanes have another owner", within_s=50 if wait else 28)
        took = time.monotonic() - stopped
        assert took > 10, "its transaction was not open: nothing was tried"
        # A STOP waits for its person's rows, which the frozen one had locked: its deliveries came again and again.
        await come_through(control, database, begun, retries_s=90)
        assert await shares(database, "lane") == [LANES]
        frozen.send(signal.SIGCONT)
        await shared(database, "lane", [32, 32])
        await control.telegram_act(BOT, load.AUDIENCE[0], "say", text="/mydata")
        await come_through(control, database, begun)
        history = await history_of(control, database, begun, set())
        assert frozen.status is None
    verdict = checker.check(history)
    print(f"lanes free after {took:.1f} s, {verdict.counts}")
    assert not verdict.problems, "\n".join(verdict.problems)
    assert (verdict.unknown, verdict.counts["possibly twice"]) == ([], 0)


@pytest.mark.parametrize("wait", [False, pytest.param(True, marks=pytest.mark.chaos)], ids=["", "to the end"])
@pytest.mark.timeout(150)
async def test_a_sender_frozen_with_requests_on_the_wire(
    run: Run, on_postgresql: Place, redis_url: str, tmp_path: Path, wait: bool
) -> None:
    """Another one takes its channels over; what was on the wire is in doubt until the frozen one wakes up and tells.
    Nobody gets the campaign twice, replies go twice only if they are marked so."""
    roles = ("web,worker,scheduler", "sender", "sender")
    async with installation(run, on_postgresql, tmp_path, redis_url, *roles) as (fleet, control, database):
        await shared(database, "channel", [1, 1])
        await control.latency("telegram", 300)
        begun = await load.begin(control, patience_s=120)

        async def on_the_wire() -> bool:
            return len(await sending(database)) >= 3

        await until(on_the_wire, "requests on the wire")
        (owner,) = await rows(
            database,
            "SELECT owner FROM lease WHERE name IN "
            "(SELECT 'channel:' || id FROM channel WHERE kind = 'telegram')",
        )
        frozen = next(
            child
            for server in fleet.of("sender")
            if (child := server.child) and f":{child.pid}:" in owner.owner
        )
        frozen.send(signal.SIGSTOP)
        doubtful = await sending(database)
        if not wait:
            await database.write(lambda c: _lease_is_over(c, frozen.pid))
        await shared(database, "channel", [2], within_s=50)

        async def settled() -> bool:
            return not doubtful & await sending(database)

        await until(settled, "the new owner has settled what was in doubt", within_s=30)
        frozen.send(signal.SIGCONT)
        await come_through(control, database, begun, retries_s=22)
        await shared(database, "channel", [1, 1])
        history = await history_of(control, database, begun, doubtful)
        assert frozen.status is None
    verdict = checker.check(history)
    print(f"{len(doubtful)} were on the wire, {verdict.counts}")
    assert doubtful
    assert not verdict.problems, "\n".join(verdict.problems)


@pytest.mark.parametrize(
    ("roles", "people", "per_second", "restarts"),
    [
        (("all",) * 3, 300, 60, 3),
        pytest.param(
            ("web", "worker", "sender", "scheduler") * 3,
            20_000,
            250,
            10,
            marks=[pytest.mark.chaos, pytest.mark.timeout(900)],
        ),
    ],
    ids=["short", "long"],
)
async def test_restarted_one_after_another(
    run: Run,
    postgres: PostgresServer,
    redis_url: str,
    tmp_path: Path,
    chance: random.Random,
    counted: Counted,
    roles: tuple[str, ...],
    people: int,
    per_second: int,
    restarts: int,
) -> None:
    """Under webhooks and a running campaign: nothing lost, nothing doubled, nothing unknown, every delivery taken by
    whoever still serves; each process ends with status 0 in time."""
    audience = range(1_000_000, 1_000_000 + people)
    folder, url = tmp_path / "data", postgres.create()
    await load.prepare(folder, url, audience=audience, bulk_per_second=per_second)
    async with (
        Simulators(run, tmp_path, load.crowd_seed(audience)) as simulators,
        opened(url) as database,
        Fleet(run, folder, simulators.origin, url, redis=redis_url) as fleet,
    ):
        control = simulators.control
        await load.settle_in(control, audience=())
        await control.latency("telegram", 30)
        await fleet.start(*roles)
        child = fleet.of("web")[0].child
        assert child is not None
        assert await connected(control, child), child.printed[-4000:]
        walkers = {"people": 30, "rate_per_s": 3, "timeout_s": 60, "person": {"language_code": "it"}}
        plays = [await control.play("telegram", BOT, load.TELEGRAM_FORM, **walkers)]
        for number in range(restarts):
            if number and number % 3 == 0:
                plays.append(await control.play("telegram", BOT, load.TELEGRAM_FORM, **walkers))
            role = roles[number % len(set(roles))]
            await fleet.restart(chance.choice(fleet.of(role)) if role != "all" else fleet.of(role)[number])
        begun = load.Begun(tuple(plays), {})
        await until(lambda: drained(database), "everything drained", within_s=people / per_second + 60)
        await come_through(control, database, begun, retries_s=22)
        history = await history_of(control, database, begun, set())
    postgres.drop(url)
    verdict = checker.check(history)
    answers = Counter(entry["status"] for entry in history.log if entry["kind"] == "delivery")
    counted(
        f"rolling restarts, {len(roles)} processes, {people} people",
        restarts=restarts,
        deliveries_refused=answers[0],
        **{name.replace(" ", "_"): n for name, n in verdict.counts.items()},
    )
    assert not verdict.problems, "\n".join(verdict.problems[:20])
    assert (verdict.unknown, verdict.counts["possibly twice"]) == ([], 0)
    assert verdict.counts["campaign sent"] == people
    assert answers.keys() <= {0, 200}, "the door found nobody for a moment, at most"


@asynccontextmanager
async def locked(database: Database, table: str) -> AsyncIterator[None]:
    """Nobody else can write to the table meanwhile."""
    engine = create_async_engine(database.url)
    try:
        async with engine.begin() as connection:
            await connection.execute(text(f"LOCK TABLE {table} IN SHARE MODE"))
            yield
    finally:
        await engine.dispose()


MANY = load.AUDIENCE[-12:]  # so many that both workers have something to do


async def reminded(control: SimulatorControl, database: Database) -> None:
    """Every one of them was reminded of what they asked for."""
    for person in MANY:
        await control.telegram_act(BOT, person, "say", text="promemoria")

    async def all_of_them() -> bool:
        sent = await rows(
            database, "SELECT id FROM message WHERE status = 'sent' AND content LIKE '%promemoria%'"
        )
        return len(sent) >= len(MANY)

    await until(all_of_them, "everybody was reminded")


async def waiting_for(database: Database, table: str) -> list[int]:
    """The server's processes that stand before a locked table."""
    found = await rows(
        database, f"SELECT pid FROM pg_locks WHERE relation = CAST('{table}' AS regclass) AND NOT granted"
    )
    return [row.pid for row in found]


async def worker_of(fleet: Fleet, database: Database) -> tuple[Child, set[str]]:
    """A worker that stands in the middle of a round, and the lanes of events that wait for it. It has locked its lease
    rows by a statement before the one that waits: one that does both is the server's alone, whoever is frozen."""
    found: tuple[Child, set[str]] | None = None

    async def look() -> bool:
        nonlocal found
        standing = await rows(
            database,
            "SELECT l.pid FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid "
            "WHERE l.relation = CAST('turn' AS regclass) AND NOT l.granted AND a.query NOT LIKE '%lease%'",
        )
        if len(standing) < 2:  # both stand, so whichever is chosen does
            return False
        lanes = {lane_of(row.slot) for row in await rows(database, "SELECT slot FROM intake WHERE state = 0")}
        owners = await rows(database, f"SELECT name, owner FROM lease WHERE name IN {_in(lanes)}")
        for server in fleet.of("worker"):
            child = server.child
            mine = {row.name for row in owners if child is not None and f":{child.pid}:" in row.owner}
            if child is not None and mine:
                found = child, mine
        return found is not None

    await until(look, "a round of each worker has begun")
    assert found is not None
    return found


async def sending(database: Database) -> set[int]:
    return {row.id for row in await rows(database, "SELECT id FROM outbox WHERE state = 3")}


def _lease_is_over(connection: Connection, pid: int) -> None:
    """A lease's length passes for this process alone."""
    connection.execute(
        text("UPDATE lease SET expires_at = 0 WHERE owner LIKE :owner"), {"owner": f"%:{pid}:%"}
    )


def _in(names: Collection[str]) -> str:
    return "(" + ", ".join(f"'{name}'" for name in sorted(names)) + ")"
