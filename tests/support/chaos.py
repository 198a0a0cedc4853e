"""The scaled mode under faults: several processes on PostgreSQL (or one on SQLite) and Redis, a proxy before each, and
people who write all the time.

`Scaled` starts everything and ends it; `Traffic` posts what people say, again and again until it is taken as platforms
do, and compares with what reached them: every text that was taken is mirrored once, and how late; `Heartbeat` asks
every process all the time whether its event loop turns. A `Window` is the time of one fault, with what was answered.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp

from domain import ids
from simulators.control import SimulatorControl
from storage.database import Database, rows_of
from tests.faults import load
from tests.support import checker
from tests.support.postgresql_wire import Faults, Wire
from tests.support.posting import Answered, Poster
from tests.support.processes import Server, Simulators
from tests.support.proxy import Proxy
from tests.support.redis import RedisServer
from tests.support.run import Run
from tests.support.town import until

LOG_TAIL = 6_000  # characters of each process's log that a failing test shows
FIRST = 7_000_000  # of the people's ids
ANSWER_MS = 2_000  # within which a webhook is answered, whatever the store does
NOISE_MS = 700  # of a machine with two cores that runs everything at once
LATE_S = 5.0  # a reply while Redis is away
RECOVERY_S = 10.0  # until everything goes its way again after the store is back
DRAINED = (
    "SELECT (SELECT count(*) FROM intake WHERE state = 0) + (SELECT count(*) FROM outbox) "
    "+ (SELECT count(*) FROM campaign_run WHERE state = 'running')"
)
_SAID = "Hai detto "


@dataclass
class Said:
    """One text: who said it, when it was first posted and when it was taken (epoch ms; 0: not yet)."""

    person: int
    posted: int
    taken: int = 0


@dataclass
class Window:
    """The time of one fault, in epoch ms, and what webhooks were answered in it."""

    name: str
    start: int
    end: int = 0
    answers: list[Answered] = field(default_factory=list)

    def statuses(self) -> dict[int, int]:
        """How often each status was answered."""
        return dict(Counter(one.status for one in self.answers))

    def slowest_ms(self) -> float:
        """The longest that a webhook waited for its answer."""
        return max((one.ms for one in self.answers), default=0.0)


class Traffic:
    """People who write in turn, `per_second` texts in all, each with a number of its own."""

    def __init__(self, poster: Poster, people: Sequence[int], per_second: float) -> None:
        self.poster = poster
        self.said: dict[str, Said] = {}
        self._people = people
        self._pause_s = 1 / per_second
        self._posting: set[asyncio.Task[str]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """They begin to write."""
        self._task = asyncio.create_task(self._write())

    async def stop(self) -> None:
        """They stop; returns when all they have said is taken."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*self._posting)

    async def say(self, person: int) -> str:
        """One text, posted until it is taken; gives the text."""
        text = self.note(person)
        await self.poster.insist(*self.poster.update(person, text), within_s=150)
        self.said[text].taken = now_ms()
        return text

    def note(self, person: int) -> str:
        """A new text that a person is about to say."""
        text = str(len(self.said))
        self.said[text] = Said(person, now_ms())
        return text

    def late_s(self, log: Sequence[Any], start: int = 0, end: int = 1 << 62) -> list[float]:
        """Seconds from taken to mirrored, of all that was taken in that time; fails for what was not mirrored."""
        at = {entry["text"].removeprefix(_SAID): entry["at"] for entry in mirrors(log)}
        taken = {text: said.taken for text, said in self.said.items() if start <= said.taken < end}
        missing = sorted(taken.keys() - at.keys(), key=int)
        assert not missing, f"taken and never answered: {missing[:10]} of {len(taken)}"
        return [max(0, at[text] - when) / 1000 for text, when in taken.items()]

    async def _write(self) -> None:
        number = 0
        due = time.monotonic()
        while True:
            person = self._people[number % len(self._people)]
            number += 1
            task = asyncio.create_task(self.say(person))
            self._posting.add(task)
            task.add_done_callback(self._posting.discard)
            due += self._pause_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))


class Heartbeat:
    """Asks every process for its `/healthz` several times a second; `worst_ms` is the longest answer."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.worst_ms = 0.0
        self.missed = 0
        self._servers = servers
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._ask(server)) for server in self._servers]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, server: Server) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            while True:
                started = time.perf_counter()
                try:
                    async with session.get(f"{server.base_url}/healthz") as response:
                        await response.read()
                except (aiohttp.ClientError, TimeoutError):
                    self.missed += 1
                self.worst_ms = max(self.worst_ms, (time.perf_counter() - started) * 1000)
                await asyncio.sleep(0.2)


class Scaled:
    """See the module. `roles`: one process each, the first with the role `web`.

    `url` is the database's own URL, `socket` where its server listens ("" and None: a SQLite file in `folder`, for
    one process). `campaign`: how many people a campaign is sent to from the start.
    """

    def __init__(
        self,
        run: Run,
        folder: Path,
        redis: RedisServer,
        *,
        url: str = "",
        socket: Path | None = None,
        roles: Sequence[str] = ("web", "worker,sender,scheduler"),
        people: int = 60,
        per_second: float = 15,
        campaign: int = 0,
    ) -> None:
        self._run = run
        self._folder = folder
        self._roles = roles
        self._per_second = per_second
        self._people = range(FIRST, FIRST + people)
        self._audience = range(FIRST + people, FIRST + people + campaign)
        self._stack = AsyncExitStack()
        self._socket = socket
        self.url = url or f"sqlite:///{folder / 'data' / 'passaparola.sqlite3'}"
        self.redis_server = redis
        self.faults = Faults()
        self.redis = Proxy(("127.0.0.1", redis.port))
        self.postgresql: Proxy | None = None
        self.servers: list[Server] = []
        self.control: SimulatorControl
        self.database: Database
        self.traffic: Traffic

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            for roles, server in zip(self._roles, self.servers, strict=False):
                printed = server.child.printed if server.child is not None else ""
                print(f"--- the end of what {roles} printed:\n{printed[-LOG_TAIL:]}")
        await self._stack.aclose()

    async def _start(self) -> None:
        data = self._folder / "data"
        enter = self._stack.enter_async_context
        await load.prepare_mirror(data, self.url, audience=self._audience)
        await enter(self.redis)
        url = self.url
        if self._socket is not None:
            self.postgresql = await enter(Proxy(self._socket, tap=lambda: Wire(self.faults)))
            name = self.url.removeprefix("postgresql+asyncpg://postgres:@/").split("?")[0]
            url = f"postgresql+asyncpg://postgres:@127.0.0.1:{self.postgresql.port}/{name}"
        everybody = range(self._people.start, self._audience.stop)
        simulators = await enter(Simulators(self._run, self._folder, load.crowd_seed(everybody)))
        self.control = simulators.control
        settings = {"PASSAPAROLA_REDIS_URL": f"redis://127.0.0.1:{self.redis.port}/0"}
        for roles in self._roles:
            server = Server(self._run, data, simulators.origin, url=url, settings=settings, roles=roles)
            self.servers.append(await enter(server))
        await asyncio.gather(*(server.start() for server in self.servers))
        self.database = await Database.open(self.url)
        self._stack.push_async_callback(self.database.close)
        [channel] = await self.rows("SELECT id FROM channel WHERE kind = 'telegram'")
        webhook = f"{self.servers[0].base_url}/webhooks/telegram/{ids.to_text('channel', channel.id)}"
        poster = await enter(Poster(webhook))
        self.traffic = Traffic(poster, self._people, self._per_second)
        for person in self._people:
            await poster.insist(*poster.update(person, "ciao"))
        await self.drained(campaign=False)

    def window(self, name: str) -> Window:
        """A fault begins."""
        return Window(name, now_ms())

    def close(self, window: Window) -> Window:
        """A fault has ended: what was answered since it began."""
        window.end = now_ms()
        logged = zip(self.traffic.poster.log, self.traffic.poster.answers, strict=True)
        window.answers = [answer for entry, answer in logged if entry["at"] >= window.start]
        return window

    async def recovered(self) -> float:
        """Seconds until a new text is taken and replies leave again; asks more often than a platform would. What has
        gathered meanwhile leaves at the platform's pace."""
        started = time.monotonic()
        since = await self.control.log_position()
        text = self.traffic.note(self._people[0])
        update = self.traffic.poster.update(self._people[0], text)

        async def taken() -> bool:
            return (await self.traffic.poster.post(*update)).status == 200

        await until(taken, f"{text} is taken", within_s=30, every_s=0.1)
        self.traffic.said[text].taken = now_ms()

        async def mirrored() -> bool:
            return bool(mirrors(await self.control.log(since=since, kind="message")))

        await until(mirrored, "replies leave again", every_s=0.05)
        return time.monotonic() - started

    async def drained(self, *, campaign: bool = True) -> None:
        """Nothing is open and nothing waits to be sent (apart from a campaign, when that is not waited for)."""
        what = DRAINED if campaign else "SELECT count(*) FROM intake WHERE state = 0"

        async def quiet() -> bool:
            return bool((await self.rows(what))[0][0] == 0)

        try:
            await until(quiet, "everything drained", within_s=240 if self._audience else 60, every_s=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}: {await self._left()}") from error

    async def _left(self) -> str:
        """What has not drained, for people."""
        found = []
        for what, columns in (
            ("intake", "id, attempts, not_before, problem FROM intake WHERE state = 0"),
            ("outbox", "id, state, attempt, lane, not_before FROM outbox"),
            ("run", "id, state, totals FROM campaign_run WHERE state = 'running'"),
            ("recipient", "state, count(*) FROM recipient GROUP BY state"),
            ("lease", "name, owner, fence, expires_at FROM lease WHERE name NOT LIKE 'lane:%'"),
        ):
            rows = await self.rows(f"SELECT {columns} ORDER BY 1 LIMIT 8")
            found.append(f"{what} {[tuple(row) for row in rows]}")
        return f"at {now_ms()}: " + "; ".join(found)

    async def degraded(self) -> list[list[str]]:
        """What `/readyz` of each process says; a process that says 503 names the store."""
        found = []
        async with aiohttp.ClientSession() as session:
            for server in self.servers:
                async with session.get(f"{server.base_url}/readyz") as response:
                    found.append(list((await response.json())["degraded"]))
        return found

    async def until_degraded(self, word: str, *, there: bool) -> None:
        """Every process names the trouble, or none does any more."""

        async def said() -> bool:
            told = [any(one.startswith(word) for one in what) for what in await self.degraded()]
            return all(told) if there else not any(told)

        await until(
            said, f"every /readyz {'names' if there else 'has forgotten'} {word}", within_s=RECOVERY_S + 5
        )

    async def verdict(self) -> checker.Verdict:
        """Everything that happened, checked; all has to be drained."""
        rows = await self.database.read(lambda c: checker.load(lambda sql: rows_of(c, sql)))
        log = [*await self.control.log(), *self.traffic.poster.log]
        return checker.check(checker.History(log=log, rows=rows))

    async def rows(self, sql: str) -> list[Any]:
        """Rows of the database, looked at from outside."""
        return list(await self.database.read(lambda c: rows_of(c, sql)))


def mirrors(log: Sequence[Any]) -> list[Any]:
    """The entries that say something back to somebody."""
    return [entry for entry in log if entry["kind"] == "message" and str(entry["text"]).startswith(_SAID)]


def now_ms() -> int:
    """Epoch ms, as the simulators' log has them."""
    return time.time_ns() // 1_000_000
