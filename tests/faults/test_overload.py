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
from simulators.control import SimulatorControl
from storage import sqlite
from storage.database import Database, rows_of
from tests.canary import CANARY_SECRET
from tests.faults import load
from tests.faults.conftest import Counted
from tests.faults.test_kill import drained, opened, rows
from tests.support import checker
from tests.support.posting import MIRROR, BatchPoster, Poster, mirrored
from tests.support.processes import Server, Simulators
from tests.support.run import Run
from tests.support.town import APP_SECRET, Town, until

FIRST = 5_200_000
TOGETHER = 25  # people whose texts come in one delivery, as WhatsApp sends them when many write
GROUPS = [tuple(f"1555{group:03}{place:04}" for place in range(TOGETHER)) for group in range(100)]
OVERLOAD = 10  # times what is handled meanwhile
SHORT_OVERLOAD = 3  # where the flood shares a process, and its core, with what it floods
SHORT_S = 30.0  # for the short one: starting and stopping the flood weigh more there than the flood
MEMORY_MB = 120  # more than before the flood: 10,000 events in memory, caches of the store


@dataclass
class Flood:
    """What came of a flood. `texts`: group → what was answered 200, in order; each text is one of every member."""

    offered: int = 0
    texts: dict[tuple[str, ...], list[str]] = field(default_factory=dict)
    left: list[tuple[tuple[str, ...], str, tuple[int, bytes]]] = field(default_factory=list)


async def flood(poster: BatchPoster, groups: Sequence[tuple[str, ...]], seconds: float) -> Flood:
    """Every group writes without a pause; one that is sent away tries the same texts again at once."""
    result = Flood()
    ends = time.monotonic() + seconds

    async def write(group: tuple[str, ...]) -> None:
        texts = result.texts[group] = []
        number = 0
        batch = poster.batch(group, "0")
        while time.monotonic() < ends:
            answered = await poster.post(*batch)
            result.offered += len(group)
            if answered.status == 200:
                texts.append(str(number))
                number += 1
                batch = poster.batch(group, str(number))
            else:
                assert (answered.status, bool(answered.retry_after)) == (503, True), answered
                await asyncio.sleep(
                    0.02
                )  # so that the sender of the flood does not starve the served on two cores
        result.left.append((group, str(number), batch))

    async with asyncio.TaskGroup() as tasks:
        for group in groups:
            tasks.create_task(write(group))
    return result


async def everything_left(poster: BatchPoster, result: Flood) -> None:
    """Whoever was sent away last comes again, as told."""

    async def insist(group: tuple[str, ...], text: str, batch: tuple[int, bytes]) -> None:
        await poster.insist(*batch, within_s=240)
        result.texts[group].append(text)

    async with asyncio.TaskGroup() as tasks:
        for one in result.left:
            tasks.create_task(insist(*one))


async def test_a_short_flood(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: Counted
) -> None:
    """Three seconds in this process; what may wait is as much less as the flood is shorter (in life 30,000 events)."""
    monkeypatch.setattr(intake, "MAX_OPEN", 300)
    async with Town(tmp_path, f"sqlite:///{tmp_path / 'town.sqlite3'}") as town:
        channel = await town.whatsapp(messages_per_second=1_000)
        await quiet_platform(town.simulators)
        await town.publish(MIRROR, "mirror")
        async with BatchPoster(town.webhook(channel), secret=APP_SECRET) as poster:
            flooded = await flood(poster, GROUPS[:20], 3)
            await judge(
                flooded,
                poster,
                town.app.database,
                town.simulators,
                counted,
                "flood of 3 s",
                SHORT_S,
                SHORT_OVERLOAD,
            )


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_a_flood_of_two_minutes(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: Counted
) -> None:
    """Two minutes of ten times what it can handle: drained within four, memory bounded."""
    monkeypatch.setattr(sqlite, "READ_LIMIT_S", 120.0)  # the test reads whole tables at once
    async with flooded_server(run, tmp_path) as (simulators, server, store, _, _):
        assert server.child is not None
        control = simulators.control
        await quiet_platform(control)
        await until(lambda: _handshaken(control), "the number knows our endpoint", within_s=90)
        [channel] = await rows(store, "SELECT id FROM channel WHERE kind = 'whatsapp'")
        url = f"{server.base_url}/webhooks/whatsapp/{ids.to_text('channel', channel.id)}"
        before = _mb(server.child.pid)
        watching = asyncio.create_task(_most_mb(server.child.pid))
        async with BatchPoster(url, secret=CANARY_SECRET) as poster:
            flooded = await flood(poster, GROUPS, 120)
            await judge(flooded, poster, store, control, counted, "flood of 120 s", 240)
        watching.cancel()
        most = await watching
    counted("memory of the flood", before_mb=before, most_mb=most)
    assert most - before <= MEMORY_MB


async def judge(
    flooded: Flood,
    poster: BatchPoster,
    store: Database,
    control: SimulatorControl,
    counted: Counted,
    what: str,
    within_s: float,
    times: int = OVERLOAD,
) -> None:
    """Waits until it has drained, has what was sent away delivered again, and asserts every promise."""
    [[handled]] = await rows(store, "SELECT count(*) FROM turn")
    ended = time.monotonic()
    await until(lambda: drained(store), "drained", within_s=within_s, every_s=0.1)
    drained_s = time.monotonic() - ended
    await everything_left(poster, flooded)
    await until(lambda: drained(store), "drained", within_s=60, every_s=0.1)
    statuses = poster.statuses()
    counted(
        what,
        offered=flooded.offered,
        handled_meanwhile=handled,
        offered_per_handled=round(flooded.offered / max(1, handled), 1),
        deliveries_taken=statuses.get(200, 0),
        deliveries_sent_away=statuses.get(503, 0),
        p99_ms=round(poster.p99_ms()),
        drained_s=round(drained_s, 1),
    )
    assert set(statuses) == {200, 503}
    assert flooded.offered >= times * handled
    tables = await store.read(lambda c: checker.load(lambda sql: rows_of(c, sql)))
    history = checker.History(log=await control.log() + poster.log, rows=tables)
    verdict = checker.check(history)
    assert not verdict.problems, "\n".join(verdict.problems[:20])
    said = mirrored(history.log)
    for group, texts in flooded.texts.items():  # the first text only makes the mirror ask
        for person in group:
            assert said.get(person, []) == texts[1:], (person, texts[1:], said.get(person))


async def quiet_platform(control: SimulatorControl) -> None:
    """Statuses come many at a time, and whoever writes to us has not written to the simulators before."""
    await control.whatsapp_knobs(
        batch_window_ms=100, status_delay_ms=20, window_check="off", service_allowance=0
    )


async def _handshaken(control: SimulatorControl) -> bool:
    return bool(await control.log(kind="handshake"))


@asynccontextmanager
async def flooded_server(
    run: Run, tmp_path: Path, *, clients: int = 200
) -> AsyncIterator[tuple[Simulators, Server, Database, Poster, range]]:
    """A server of its own with the mirror, its database looked at from outside, and a poster to its endpoint."""
    folder = tmp_path / "data"
    await load.prepare_mirror(folder, number=True)
    people = range(FIRST, FIRST + clients)
    async with (
        Simulators(run, tmp_path, load.crowd_seed(people)) as simulators,
        Server(run, folder, simulators.origin, settings={"PASSAPAROLA_LOG_LEVEL": "error"}) as server,
        opened(f"sqlite:///{folder / 'passaparola.sqlite3'}") as store,
    ):
        await load.settle_in(simulators.control, audience=())
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
