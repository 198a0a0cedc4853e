"""What both networks share: the clock, the log, the stream, and the program itself with its way to end."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from simulators.clock import Clock
from simulators.control import SimulatorControl, SimulatorError
from simulators.log import EventLog
from simulators.world import World
from tests.simulators.telegram_shop import ANNA, TOKEN, Shop, open_shop

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with open_shop() as opened:
        yield opened


async def test_virtual_time_stops_at_every_timer_on_the_way() -> None:
    """A chain of timers plays out in order within one advance; cancelled ones stay silent."""
    clock = Clock(at=100.0)
    seen: list[tuple[str, float]] = []

    def again(name: str, pause: float, left: int) -> None:
        seen.append((name, clock.now()))
        if left:
            clock.call_later(pause, lambda: again(name, pause, left - 1))

    clock.call_later(1, lambda: again("a", 2, 2))
    clock.call_later(4, lambda: again("b", 1, 0))
    clock.call_later(2, lambda: seen.append(("never", 0))).cancel()
    sleeper = asyncio.create_task(clock.sleep(5.5))
    await clock.advance(5)
    assert seen == [("a", 101), ("a", 103), ("b", 104), ("a", 105)]
    assert not sleeper.done()
    await clock.advance(1)
    assert sleeper.done()
    assert clock.now() == 106


async def test_real_time_flows_and_can_jump() -> None:
    """A timer of the real clock fires by itself, or at once when time jumps over it."""
    clock = Clock()
    done = asyncio.Event()
    clock.call_later(0.01, done.set)
    await asyncio.wait_for(done.wait(), 2)
    done.clear()
    before = clock.now()
    clock.call_later(3600, done.set)
    await clock.advance(3601)
    assert done.is_set()
    assert clock.now() - before >= 3601
    clock.go_virtual(5.0)
    assert clock.now() == 5.0
    clock.go_real()
    assert not clock.virtual


def test_the_log_drops_its_oldest_tenth_and_counts_it() -> None:
    """Numbers go on; a reader who is late starts with what is left."""
    log = EventLog(Clock(at=1.0), limit=20)
    for number in range(25):
        log.add("telegram", "call" if number % 2 else "message", {"number": number})
    assert (log.dropped, log.next) == (6, 26)
    following, entries = log.read(since=0, limit=3)
    assert ([entry["n"] for entry in entries], following) == ([7, 8, 9], 10)
    assert all(entry["kind"] == "call" for entry in log.read(kind="call")[1])


async def test_the_log_is_waited_for_and_reset_forgets_all(shop: Shop) -> None:
    """A long poll wakes with the next entry; after a reset nothing is there and a virtual clock is real again."""
    since = await shop.sim.log_position()
    waiting = asyncio.create_task(shop.sim.wait_for("action", since=since, do="say", text="hello"))
    await asyncio.sleep(0.05)
    await shop.act("say", text="hello")
    assert (await waiting)["person"] == str(ANNA)
    with pytest.raises(TimeoutError):
        await shop.sim.wait_for("action", since=since, timeout_s=0.1, text="never")
    await shop.sim.reset()
    assert (await shop.sim.call("GET", "/telegram/bots"))["bots"] == []
    assert (await shop.sim.call("GET", "/clock"))["mode"] == "real"
    with pytest.raises(SimulatorError, match="no such bot"):
        await shop.act("say", text="x")


async def test_the_clock_is_set_through_the_control_api(shop: Shop) -> None:
    """Freeze, advance, and refusals of what makes no sense."""
    await shop.sim.freeze(at_ms=1_000_000)
    await shop.sim.advance(2.5)
    assert await shop.sim.now_ms() == 1_002_500
    for body, words in (
        ({"advance": -1}, "does not run backwards"),
        ({"mode": "dreamt"}, "virtual or real"),
        ({"advance": "1"}, "advance: int or float expected"),
    ):
        with pytest.raises(SimulatorError, match=words):
            await shop.sim.call("POST", "/clock", body)


async def test_the_phone_page_hears_what_happens(shop: Shop) -> None:
    """The stream tells actions, messages, edits and toasts as they come."""
    events: list[tuple[str, dict[str, object]]] = []

    async def listen() -> None:
        async with shop.session.get(f"{shop.origin}/sim/stream") as response:
            kind = ""
            async for raw in response.content:
                line = raw.decode().rstrip()
                if line.startswith("event: "):
                    kind = line[7:]
                elif line.startswith("data: "):
                    events.append((kind, json.loads(line[6:])))

    listener = asyncio.create_task(listen())
    await shop.until(lambda: shop.world.stream.watched)
    await shop.act("say", text="ciao")
    sent = await shop.call("sendMessage", chat_id=ANNA, text="Ciao Ann")
    await shop.call("editMessageText", chat_id=ANNA, message_id=sent["message_id"], text="Ciao Ann!")
    await shop.call("deleteMessage", chat_id=ANNA, message_id=sent["message_id"])
    await shop.until(lambda: len(events) >= 5)
    assert [kind for kind, _ in events] == ["said", "action", "message", "edited", "deleted"]
    assert (events[2][1]["to"], events[2][1]["text"]) == (str(ANNA), "Ciao Ann")
    listener.cancel()


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "simulators", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def url_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    words = process.stdout.readline().split()
    assert words[:2] == ["simulators", "ready"]
    return words[2]


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
async def test_the_program_says_when_it_is_ready_and_ends_at_a_signal(
    tmp_path: Path, ending: signal.Signals
) -> None:
    """Also with a stream and a long poll open; the seed file's people are there."""
    seed = tmp_path / "seed.json"
    seed.write_text(
        json.dumps(
            {
                "telegram": {
                    "bots": [{"token": TOKEN}],
                    "people": [{"id": ANNA, "first_name": "Ann"}],
                    "chats": [
                        {"type": "channel", "title": "News", "username": "news_example", "admins": [TOKEN]}
                    ],
                }
            }
        )
    )
    process = start("--seed", str(seed), "--no-limits")
    try:
        origin = await asyncio.to_thread(url_of, process)
        async with SimulatorControl(origin) as sim, aiohttp.ClientSession() as session:
            assert (await sim.health())["networks"] == ["telegram", "whatsapp"]
            sent = await session.post(
                f"{origin}/bot{TOKEN}/sendMessage", json={"chat_id": "@news_example", "text": "x"}
            )
            assert sent.status == 200
            stream = await session.get(f"{origin}/sim/stream")
            assert stream.status == 200
            poll = asyncio.create_task(session.get(f"{origin}/bot{TOKEN}/getUpdates?timeout=50&offset=-1"))
            await asyncio.sleep(0.1)
            process.send_signal(ending)
            assert await asyncio.to_thread(process.wait, 5) == 0
            poll.cancel()
            await asyncio.gather(poll, return_exceptions=True)
            stream.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    finally:
        finish(process)


def finish(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.communicate(timeout=5)


def a_parent() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


async def test_the_program_ends_with_its_parent() -> None:
    """When the process that it was told of is gone."""
    parent = a_parent()
    process = start("--exit-with-parent", str(parent.pid))
    try:
        await asyncio.to_thread(url_of, process)
        assert process.poll() is None
        parent.communicate(b"\n", timeout=5)
        assert await asyncio.to_thread(process.wait, 5) == 0
    finally:
        finish(process)
        assert parent.poll() is not None


async def test_a_taken_port_and_a_bad_seed_get_a_clear_sentence(tmp_path: Path) -> None:
    """Exit status 1 and one line."""
    taken = start()
    try:
        port = (await asyncio.to_thread(url_of, taken)).rpartition(":")[2]
        second = start("--port", port)
        _, words = await asyncio.to_thread(second.communicate, None, 10)
        assert second.returncode == 1
        assert words.startswith(f"simulators: cannot listen on 127.0.0.1:{port}:")
        (tmp_path / "seed.json").write_text('{"telegram": {"bots": [{"token": "x"}]}}')
        third = start("--seed", str(tmp_path / "seed.json"))
        _, words = await asyncio.to_thread(third.communicate, None, 10)
        assert third.returncode == 1
        assert "token: expected like" in words
        assert len(words.splitlines()) == 1
    finally:
        finish(taken)


async def test_a_closed_world_starts_nothing_more() -> None:
    """What a timer or a late request still wants after the end is refused: a client made now would stay open."""
    world = World()
    begun: list[str] = []

    async def work() -> None:
        begun.append("work")

    world.spawn(work())
    await asyncio.sleep(0)
    await world.close()
    world.spawn(work())
    await asyncio.sleep(0)
    assert begun == ["work"]
    with pytest.raises(RuntimeError, match="closed"):
        _ = world.session
