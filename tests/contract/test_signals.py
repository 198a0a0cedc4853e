"""Signals: one suite for both adapters, plus what only several processes need. Redis is a small server of the test
that speaks its protocol, because none comes as a package."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from storage.signals import Signals
from storage.signals.local import LocalSignals
from storage.signals.redis import RedisSignals


class PubSubServer:
    """The commands that signals use, over the protocol of https://redis.io/docs/latest/develop/reference/protocol-spec/"""

    def __init__(self) -> None:
        self.port = 0
        self.listeners: set[asyncio.StreamWriter] = set()
        self.connected: set[asyncio.StreamWriter] = set()
        self.server: asyncio.Server | None = None
        self.changed = asyncio.Event()  # the set of listeners

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
                self.publish(parts[2])
                writer.write(b":%d\r\n" % len(self.listeners))
            case _:
                writer.write(b"+OK\r\n")

    def publish(self, data: bytes) -> None:
        for listener in self.listeners:
            listener.write(b"*3\r\n" + bulk(b"message") + bulk(b"passaparola:signals") + bulk(data))

    async def until(self, listeners: int) -> None:
        async with asyncio.timeout(10):
            while len(self.listeners) != listeners:
                self.changed.clear()
                await self.changed.wait()


def bulk(data: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(data), data)


@asynccontextmanager
async def signals_of(kind: str) -> AsyncIterator[Signals]:
    if kind == "local":
        yield LocalSignals()
        return
    server = PubSubServer()
    await server.start()
    signals = RedisSignals(f"redis://127.0.0.1:{server.port}/0")
    try:
        await server.until(listeners=1)
        yield signals
    finally:
        await signals.close()
        await server.stop()


@pytest.mark.parametrize("kind", ["local", "redis"])
class TestEverySignals:
    async def test_a_notification_wakes_its_waiter_only(self, kind: str) -> None:
        async with signals_of(kind) as signals:
            waiter = asyncio.create_task(signals.wait("intake", 5))
            await asyncio.sleep(0)
            signals.notify("intake")
            assert await waiter
            assert not await signals.wait("outbox", 0.01)

    async def test_a_notification_between_two_waits_is_kept_once(self, kind: str) -> None:
        async with signals_of(kind) as signals:
            signals.notify("intake")
            signals.notify("intake")
            assert await signals.wait("intake", 5)
            assert not await signals.wait("intake", 0.05)


async def test_redis_wakes_other_processes_and_comes_back() -> None:
    server = PubSubServer()
    await server.start()
    one, other = (RedisSignals(f"redis://127.0.0.1:{server.port}/0") for _ in range(2))
    try:
        await server.until(listeners=2)
        one.notify("outbox")
        assert await other.wait("outbox", 5)

        await server.stop()
        await server.until(listeners=0)
        one.notify("outbox")  # nobody carries it, nobody fails
        assert await one.wait("outbox", 5)

        await server.start()
        await server.until(listeners=2)
        one.notify("config")
        assert await other.wait("config", 5)
    finally:
        await one.close()
        await other.close()
        await server.stop()


async def test_rubbish_on_the_channel_wakes_nobody() -> None:
    server = PubSubServer()
    await server.start()
    signals = RedisSignals(f"redis://127.0.0.1:{server.port}/0")
    try:
        await server.until(listeners=1)
        for rubbish in (b"", b"intake", b"\xff\xfe", b"x " + b"y" * 1000):
            server.publish(rubbish)
        server.publish(b"x live")
        assert await signals.wait("live", 5)
        assert not await signals.wait("intake", 0.01)
    finally:
        await signals.close()
        await server.stop()
