"""Clients that take their time, and clients that go away in the middle: nobody else notices, nothing stays behind."""

from __future__ import annotations

import asyncio
import random
import resource
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from storage.database import rows_of
from tests.faults.conftest import Counted
from tests.faults.test_overload import flooded_server
from tests.support import checker, slow_clients
from tests.support.posting import MIRROR, Poster, mirrored
from tests.support.run import Run
from tests.support.slow_clients import Slow
from tests.support.town import WEBHOOK_SECRET, Town, until
from webhooks import receive, server

FIRST = 5_300_000
CLOSED_WITHIN_S = 15.0
LATE_S = 2.5  # what a busy machine may be late, and the second in which a refusal is still read
RATE = 20.0  # deliveries a second of those who behave
CANCELLED = 150


async def test_slow_clients_for_a_moment(
    town: Town, monkeypatch: pytest.MonkeyPatch, counted: Counted
) -> None:
    """200 of them, with deadlines of a second instead of ten and twelve."""
    monkeypatch.setattr(server, "HEAD_S", 1.0)
    monkeypatch.setattr(receive, "BODY_S", 1.0)
    channel = await town.telegram()
    await town.publish(MIRROR, "mirror")
    people = town.crowd(FIRST, 40)
    async with Poster(town.webhook(channel)) as poster:
        port = town.app.port
        slow = asyncio.create_task(slow_clients.crowd("127.0.0.1", port, 200, drip_s=0.1, patience_s=20.0))
        await _behave(poster, people, slow)
        _judge(await slow, poster, counted, "200 slow clients", within_s=1.0 + LATE_S)
    await town.settle()


@pytest.mark.chaos
@pytest.mark.timeout(180)
async def test_two_thousand_slow_clients(run: Run, tmp_path: Path, counted: Counted) -> None:
    """They are closed within 15 s, deliveries are answered below 500 ms, and open files are bounded."""
    _room_for_files(2_500)
    async with flooded_server(run, tmp_path) as (_, there, _, poster, people):
        assert there.child is not None
        process = psutil.Process(there.child.pid)
        before = process.num_fds()
        slow = asyncio.create_task(
            slow_clients.crowd("127.0.0.1", there.port, 2_000, drip_s=1.0, patience_s=60.0)
        )
        most = await _behave(poster, people, slow, process.num_fds)
        closed = await slow

        async def files_given_back() -> bool:
            return process.num_fds() <= before + 20

        await until(files_given_back, "files are given back")
        _judge(
            closed, poster, counted, "2,000 slow clients", within_s=CLOSED_WITHIN_S + LATE_S, most_files=most
        )
        assert most <= before + 2_000 + 60


async def _behave(
    poster: Poster, people: range, slow: asyncio.Task[Sequence[Slow]], files: Callable[[], int] = lambda: 0
) -> int:
    """Deliveries at an even rate while the slow ones are there; gives the most open files seen."""
    most, number = 0, 0
    under_way: set[asyncio.Task[object]] = set()
    while not slow.done():
        person = people[number % len(people)]
        task: asyncio.Task[object] = asyncio.create_task(poster.say(person, str(number)))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        number += 1
        most = max(most, files())
        await asyncio.sleep(1 / RATE)
    await asyncio.gather(*under_way)
    return most


def _judge(
    clients: Sequence[Slow], poster: Poster, counted: Counted, what: str, *, within_s: float, **counts: float
) -> None:
    closed = [one.closed_after_s for one in clients if one.closed_after_s is not None]
    counted(
        what,
        closed=len(closed),
        refused=sum(one.refused for one in clients),
        slowest_closed_s=round(max(closed), 1),
        deliveries=len(poster.answers),
        p99_ms=round(poster.p99_ms(), 1),
        **counts,
    )
    late = [one for one in clients if not one.refused and (one.closed_after_s or 99) > within_s]
    assert not late, late[:5]
    assert poster.statuses() == {200: len(poster.answers)}
    assert poster.p99_ms() < 500


async def test_clients_that_go_away_in_the_middle(
    town: Town, chance: random.Random, counted: Counted
) -> None:
    """Hundreds of deliveries whose client hangs up after some of the bytes: none is half stored, each comes again and
    is handled once, in order; no task and no connection stays."""
    channel = await town.telegram()
    await town.publish(MIRROR, "mirror")
    people = town.crowd(FIRST, 30)
    async with Poster(town.webhook(channel)) as poster:
        for person in people:
            assert (await poster.say(person, "ciao")).status == 200
        await town.settle()
        tasks = _tasks()
        updates = {
            person: [poster.update(person, str(n)) for n in range(CANCELLED // len(people))]
            for person in people
        }
        whole = 0
        for n in range(CANCELLED // len(people)):
            hung_up = [_hang_up(poster.url, updates[person][n][1], chance) for person in people]
            whole += sum(await asyncio.gather(*hung_up))
            await asyncio.gather(*(poster.insist(*updates[person][n]) for person in people))
        await town.settle()

        async def tidy() -> bool:
            return _tasks() <= tasks and _connections(town.app.port) <= len(people)  # the poster's own

        await until(
            tidy,
            "tasks and connections have ended",
            lambda: f"{_tasks() - tasks}, {_connections(town.app.port)}",
        )
        history = checker.History(
            log=await town.simulators.log() + poster.log,
            rows=await town.app.database.read(lambda c: checker.load(lambda sql: rows_of(c, sql))),
        )
    verdict = checker.check(history)
    assert not verdict.problems, "\n".join(verdict.problems[:20])
    said = mirrored(history.log)
    for person in people:
        assert said[str(person)] == [str(n) for n in range(CANCELLED // len(people))]
    counted("hung up in the middle", hung_up=CANCELLED, with_all_bytes=whole, turns=verdict.counts["turns"])


async def _hang_up(url: str, body: bytes, chance: random.Random) -> bool:
    """A delivery of which only some bytes are written; true when it were all."""
    parts = urlsplit(url)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        f"X-Telegram-Bot-Api-Secret-Token: {WEBHOOK_SECRET}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    whole = head.encode() + body
    cut = len(whole) if chance.random() < 0.6 else chance.randrange(1, len(whole))
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(whole[:cut])
    with suppress(OSError):
        await writer.drain()
    if chance.random() < 0.5:
        writer.transport.abort()
    else:
        writer.close()
    return cut == len(whole)


def _tasks() -> Counter[str]:
    """Tasks but those that aiohttp has for each connection: the simulators' are in this process, too."""
    names = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]  # type: ignore[union-attr]
    return Counter(name for name in names if "RequestHandler" not in name)


def _connections(port: int) -> int:
    """Connections to our server that are open at its end, half closed ones included."""
    mine = psutil.Process().net_connections("tcp")
    return sum(one.laddr.port == port and one.status != psutil.CONN_LISTEN for one in mine)


def _room_for_files(wanted: int) -> None:
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < wanted:
        pytest.skip(f"this machine allows {most} open files, the test needs {wanted}")
    if now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
