"""Signals: one suite over both adapters, Redis being a real server. What a real server never says (rubbish, nothing at
all) comes from a small one of the test that speaks its protocol."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from storage.signals import Signals
from storage.signals import redis as adapter
from storage.signals.local import LocalSignals
from storage.signals.redis import CHANNEL, RedisSignals
from tests.support.redis import RedisServer


class PubSubServer:
    """The commands that signals use, over the protocol of https://redis.io/docs/latest/develop/reference/protocol-spec/"""

    def __init__(self) -> None:
        self.port = 0
        self.listeners: set[asyncio.StreamWriter] = set()
        self.connected: set[asyncio.StreamWriter] = set()
        self.server: asyncio.Server | None = None
        self.changed = asyncio.Event()  # the set of listeners
        self.published: list[bytes] = []

    async def start(self) -> None:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        for writer in list(self.connected):
            writer.close()
        await self.server.wait_closed()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected.add(writer)
        try:
            while line := await reader.readline():
                parts = [await self.part(reader) for _ in range(int(line[1:]))]
                self.answer(parts, writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.connected.discard(writer)
            self.listeners.discard(writer)
            self.changed.set()
            writer.close()

    async def part(self, reader: asyncio.StreamReader) -> bytes:
        length = int((await reader.readline())[1:])
        return (await reader.readexactly(length + 2))[:-2]

    def answer(self, parts: list[bytes], writer: asyncio.StreamWriter) -> None:
        match parts[0].upper():
            case b"SUBSCRIBE":
                self.listeners.add(writer)
                self.changed.set()
                writer.write(b"*3\r\n" + bulk(b"subscribe") + bulk(parts[1]) + b":1\r\n")
            case b"PUBLISH":
                self.published.append(parts[2])
                self.publish(parts[2])
                writer.write(b":%d\r\n" % len(self.listeners))
            case _:
                writer.write(b"+OK\r\n")

    def publish(self, data: bytes) -> None:
        for listener in self.listeners:
            listener.write(b"*3\r\n" + bulk(b"message") + bulk(b"passaparola:signals") + bulk(data))

    def topics(self) -> list[str]:
        return [each.decode().partition(" ")[2] for each in self.published]

    async def until(self, listeners: int) -> None:
        async with asyncio.timeout(10):
            while len(self.listeners) != listeners:
                self.changed.clear()
                await self.changed.wait()


def bulk(data: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(data), data)


@pytest.fixture(params=["local", "redis"])
async def signals(request: pytest.FixtureRequest) -> AsyncIterator[Signals]:
    """Both adapters, ready."""
    if request.param == "local":
        yield LocalSignals()
        return
    server: RedisServer = request.getfixturevalue("shared_redis")
    async with connected(server) as (one,):
        yield one


@asynccontextmanager
async def connected(server: RedisServer, count: int = 1) -> AsyncIterator[tuple[RedisSignals, ...]]:
    """Signals of `count` processes at a real server, all of them listening."""
    before = listeners(server)
    made = tuple([await RedisSignals.connect(server.url) for _ in range(count)])
    try:
        await until(lambda: listeners(server) == before + count)
        yield made
    finally:
        for one in made:
            await one.close()
        await until(lambda: listeners(server) == before)


def listeners(server: RedisServer) -> int:
    """How many connections have subscribed; 0 when the server is not there."""
    return int(server.command("PUBSUB", "NUMSUB", CHANNEL)[1]) if server.pid else 0


async def until(condition: Callable[[], bool]) -> None:
    """Waits for real sockets, with a deadline."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (another process changes it)
            await asyncio.sleep(0.01)


class TestEverySignals:
    """What holds for both."""

    async def test_a_notification_wakes_its_waiter_only(self, signals: Signals) -> None:
        waiter = asyncio.create_task(signals.wait("intake", 5))
        await asyncio.sleep(0)
        signals.notify("intake")
        assert await waiter
        assert not await signals.wait("outbox", 0.01)

    async def test_a_notification_between_two_waits_is_kept_once(self, signals: Signals) -> None:
        signals.notify("intake")
        signals.notify("intake")
        assert await signals.wait("intake", 5)
        assert not await signals.wait("intake", 0.05)

    async def test_a_thousand_topics_and_notifications_at_once_lose_none(self, signals: Signals) -> None:
        topics = [f"lane:{n}" for n in range(100)]
        for _ in range(10):
            for topic in topics:
                signals.notify(topic)
        assert all(await asyncio.gather(*(signals.wait(topic, 5) for topic in topics)))

    async def test_a_waiter_that_gives_up_takes_no_notification_with_it(self, signals: Signals) -> None:
        assert not await signals.wait("intake", 0)
        waiter = asyncio.create_task(signals.wait("intake", 5))
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        signals.notify("intake")
        assert await signals.wait("intake", 5)

    async def test_all_is_well(self, signals: Signals) -> None:
        assert signals.trouble() == ""


class TestManyProcesses:
    """What only Redis can do."""

    async def test_every_other_process_is_woken(self, shared_redis: RedisServer) -> None:
        async with connected(shared_redis, 4) as (one, *others):
            one.notify("outbox")
            assert all(await asyncio.gather(*(other.wait("outbox", 5) for other in others)))
            assert await one.wait("outbox", 5)
            assert not await one.wait("outbox", 0.05)  # its own word does not come back to it

    async def test_killed_and_started_again(
        self, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Meanwhile everybody is woken in their own process, nobody fails, and the trouble has a name."""
        monkeypatch.setattr(adapter, "RETRY_S", 0.05)
        async with connected(redis_server, 2) as (one, other):
            redis_server.kill()
            one.notify("outbox")
            assert await one.wait("outbox", 5)
            await until(lambda: bool(one.trouble() and other.trouble()))
            redis_server.start()
            await until(lambda: not (one.trouble() or other.trouble()))
            await until(lambda: listeners(redis_server) == 2)
            one.notify("config")
            assert await other.wait("config", 5)

    async def test_flushed_and_out_of_memory_it_still_carries_signals(
        self, redis_server: RedisServer
    ) -> None:
        async with connected(redis_server, 2) as (one, other):
            redis_server.command("FLUSHALL")
            redis_server.fill()
            with pytest.raises(Exception, match="maxmemory"):
                redis_server.command("SET", "key", "x" * 10)
            one.notify("intake")
            assert await other.wait("intake", 5)
            assert one.trouble() == ""

    @pytest.mark.parametrize("what", ["publisher", "listener"])
    async def test_frozen_it_is_noticed_and_nothing_blocks(
        self, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, what: str
    ) -> None:
        """A server that keeps its connections and says nothing: also who only listens finds out."""
        for name in ("RETRY_S", "TIMEOUT_S", "SILENCE_S"):
            monkeypatch.setattr(adapter, name, 0.1)
        async with connected(redis_server, 2) as (one, other):
            redis_server.freeze()
            try:
                started = time.monotonic()
                if what == "publisher":
                    one.notify("intake")
                    assert await one.wait("intake", 5)
                assert time.monotonic() - started < 0.1
                await until(lambda: bool((one if what == "publisher" else other).trouble()))
            finally:
                redis_server.thaw()
            await until(lambda: not (one.trouble() or other.trouble()))
            one.notify("outbox")
            assert await other.wait("outbox", 5)


class TestAlone:
    """Who hears nobody else publishes nothing, until somebody says that they are there."""

    async def test_nothing_is_published_where_nobody_would_hear_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = [0.0]
        async with odd_server(monotonic=lambda: now[0]) as (server, signals):
            await until(lambda: server.published != [])  # "here", as soon as it listens
            signals.notify("intake")
            await until(lambda: server.topics() == ["here", "intake"])
            now[0] = adapter.ALONE_S
            signals.notify("intake")
            signals.notify("live")
            assert await signals.wait("intake", 5)
            server.publish(b"other here")
            await until(lambda: signals._alone_at > now[0])
            assert not await signals.wait("here", 0)
            signals.notify("outbox")
            await until(lambda: "outbox" in server.topics())
            assert [topic for topic in server.topics() if topic != "here"] == ["intake", "outbox"]

    async def test_a_newcomer_is_told_of_everything(
        self, shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(adapter, "ALONE_S", 0.2)
        async with connected(shared_redis) as (one,):
            await until(lambda: time.monotonic() > one._alone_at)
            async with connected(shared_redis) as (other,):
                await until(lambda: time.monotonic() < one._alone_at)
                one.notify("outbox")
                assert await other.wait("outbox", 5)

    async def test_while_it_does_not_listen_it_publishes(
        self, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(adapter, "ALONE_S", 0.0)
        async with connected(redis_server) as (one,):
            await until(lambda: one._alone_at < time.monotonic())
            redis_server.kill()
            await until(lambda: one._alone_at > time.monotonic())
            one.notify("intake")
            await until(lambda: "publish" in one._troubles)
            redis_server.start()
            await until(lambda: listeners(redis_server) == 1)


class TestOddServers:
    """What a real server does not do."""

    async def test_rubbish_on_the_channel_wakes_nobody(self) -> None:
        async with odd_server() as (server, signals):
            for rubbish in (b"", b"intake", b"\xff\xfe", b"x " + b"y" * 1000):
                server.publish(rubbish)
            server.publish(b"x live")
            assert await signals.wait("live", 5)
            assert not await signals.wait("intake", 0.01)

    async def test_a_reply_that_is_no_reply_is_an_absence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(adapter, "RETRY_S", 0.05)
        async with odd_server() as (server, signals):
            for listener in list(server.listeners):
                listener.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await until(lambda: bool(signals.trouble()))
            await server.until(listeners=1)
            server.publish(b"x live")
            assert await signals.wait("live", 5)


@asynccontextmanager
async def odd_server(
    *, monotonic: Callable[[], float] = time.monotonic
) -> AsyncIterator[tuple[PubSubServer, RedisSignals]]:
    """The test's own server, and signals that listen there."""
    server = PubSubServer()
    await server.start()
    signals = RedisSignals(f"redis://127.0.0.1:{server.port}/0", monotonic=monotonic)
    try:
        await server.until(listeners=1)
        yield server, signals
    finally:
        await signals.close()
        await server.stop()
