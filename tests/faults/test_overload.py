"""More than can be handled: every delivery is answered 200 or 503 with Retry-After; what was taken is handled once, in
order, soon after the flood. Memory stays where it was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from bot import intake
from domain import ids
from storage import database
from storage.database import Database, rows_of
from tests.faults import load
from tests.faults.conftest import Counted
from tests.faults.test_kill import drained, opened, rows
from tests.support import checker
from tests.support.posting import MIRROR, Poster, mirrored
from tests.support.processes import Server, Simulators
from tests.support.run import Run
from tests.support.town import Town, until

FIRST = 5_200_000
CLIENTS = 200  # people who write as fast as they are answered, each in order
MEMORY_MB = 120  # more than before the flood: 10,000 events in memory, caches of the store


@dataclass
class Flood:
    """What came of a flood. `texts`: person → what was answered 200, in order."""

    offered: int = 0
    texts: dict[int, list[str]] = field(default_factory=dict)
    left: list[tuple[int, str, tuple[int, bytes]]] = field(default_factory=list)


async def flood(poster: Poster, people: Sequence[int], seconds: float) -> Flood:
    """Everybody writes without a pause; whoever is sent away tries the same text again at once."""
    result = Flood()
    ends = time.monotonic() + seconds

    async def write(person: int) -> None:
        texts = result.texts[person] = []
        number = 0
        update = poster.update(person, "0")
        while time.monotonic() < ends:
            answered = await poster.post(*update)
            result.offered += 1
            if answered.status == 200:
                texts.append(str(number))
                number += 1
                update = poster.update(person, str(number))
            else:
                assert (answered.status, bool(answered.retry_after)) == (503, True), answered
                await asyncio.sleep(
                    0.02
                )  # so that the sender of the flood does not starve the served on two cores
        result.left.append((person, str(number), update))

    async with asyncio.TaskGroup() as group:
        for person in people:
            group.create_task(write(person))
    return result


async def everything_left(poster: Poster, result: Flood) -> None:
    """Whoever was sent away last comes again, as told."""

    async def insist(person: int, text: str, update: tuple[int, bytes]) -> None:
        await poster.insist(*update, within_s=240)
        result.texts[person].append(text)

    async with asyncio.TaskGroup() as group:
        for one in result.left:
            group.create_task(insist(*one))


async def test_a_short_flood(town: Town, monkeypatch: pytest.MonkeyPatch, counted: Counted) -> None:
    """Four seconds; what may wait is as much less as the flood is shorter (in life 50,000 events)."""
    monkeypatch.setattr(intake, "MAX_OPEN", 500)
    channel = await town.telegram()
    await town.publish(MIRROR, "mirror")
    people = town.crowd(FIRST, CLIENTS)
    async with Poster(town.webhook(channel)) as poster:
        flooded = await flood(poster, people, 4)
        ended = time.monotonic()
        await until(lambda: drained(town.app.database), "drained", within_s=30)
        drained_s = time.monotonic() - ended
        await everything_left(poster, flooded)
        await town.settle()
        log = await town.simulators.log()
    history = checker.History(
        log=log + poster.log,
        rows=await town.app.database.read(lambda c: checker.load(lambda sql: rows_of(c, sql))),
    )
    _judge(history, flooded, poster, counted, "flood of 4 s", drained_s=round(drained_s, 1))
    assert drained_s <= 8


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_a_flood_of_two_minutes(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: Counted
) -> None:
    """Two minutes of as much as comes in on two cores: drained within four, memory bounded."""
    monkeypatch.setattr(database, "READ_LIMIT_S", 120.0)  # the test reads whole tables at once
    seconds = 120
    async with flooded_server(run, tmp_path) as (simulators, server, store, poster, people):
        child = server.child
        assert child is not None
        before = _mb(child.pid)
        watching = asyncio.create_task(_most_mb(child.pid))
        flooded = await flood(poster, people, seconds)
        [handled] = (await rows(store, "SELECT count(*) FROM turn"))[0]
        ended = time.monotonic()
        await until(lambda: drained(store), "drained", within_s=2 * seconds, every_s=0.5)
        drained_s = time.monotonic() - ended
        await everything_left(poster, flooded)
        await until(lambda: drained(store), "drained", within_s=60, every_s=0.2)
        watching.cancel()
        most = await watching
        log = await simulators.control.log()
        history = checker.History(
            log=log + poster.log,
            rows=await store.read(lambda c: checker.load(lambda sql: rows_of(c, sql))),
        )
    _judge(
        history,
        flooded,
        poster,
        counted,
        f"flood of {seconds} s",
        drained_s=round(drained_s, 1),
        handled_meanwhile=handled,
        offered_per_handled=round(flooded.offered / max(1, handled), 1),
        memory_before_mb=before,
        memory_most_mb=most,
    )
    assert most - before <= MEMORY_MB


def _judge(
    history: checker.History,
    flooded: Flood,
    poster: Poster,
    counted: Counted,
    what: str,
    **counts: float,
) -> None:
    statuses = poster.statuses()
    counted(
        what,
        offered=flooded.offered,
        taken=statuses.get(200, 0),
        sent_away=statuses.get(503, 0),
        p99_ms=round(poster.p99_ms()),
        **counts,
    )
    assert set(statuses) <= {200, 503}
    assert statuses.get(503, 0) > 0, "it was no overload"
    verdict = checker.check(history)
    assert not verdict.problems, "\n".join(verdict.problems[:20])
    said = mirrored(history.log)
    for person, texts in flooded.texts.items():  # the first text only makes the mirror ask
        assert said.get(str(person), []) == texts[1:], (person, texts[1:], said.get(str(person)))


@asynccontextmanager
async def flooded_server(
    run: Run, tmp_path: Path, *, clients: int = CLIENTS
) -> AsyncIterator[tuple[Simulators, Server, Database, Poster, range]]:
    """A server of its own with the mirror, its database looked at from outside, and a poster to its endpoint."""
    folder = tmp_path / "data"
    await load.prepare_mirror(folder)
    people = range(FIRST, FIRST + clients)
    async with (
        Simulators(run, tmp_path, load.crowd_seed(people)) as simulators,
        Server(run, folder, simulators.origin, settings={"PASSAPAROLA_LOG_LEVEL": "error"}) as server,
        opened(f"sqlite:///{folder / 'passaparola.sqlite3'}") as store,
    ):
        child = await server.start()
        assert child.status is None, child.printed[-4000:]
        [channel] = await rows(store, "SELECT id FROM channel WHERE kind = 'telegram'")
        url = f"{server.base_url}/webhooks/telegram/{ids.to_text('channel', channel.id)}"
        async with Poster(url) as poster:
            yield simulators, server, store, poster, people


def _mb(pid: int) -> float:
    return round(psutil.Process(pid).memory_info().rss / 1e6, 1)


async def _most_mb(pid: int) -> float:
    """The most that it had until this is cancelled."""
    most = 0.0
    try:
        while True:
            most = max(most, _mb(pid))
            await asyncio.sleep(0.5)
    except asyncio.CancelledError:
        return most
