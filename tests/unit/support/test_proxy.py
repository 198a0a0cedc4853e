"""The chaos proxy itself: each fault is what it says, and everything passes again when it heals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.proxy import Cut, Proxy

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo:
    """Answers every line with itself; knows how its connections ended."""

    def __init__(self) -> None:
        self.open = 0
        self.ended = asyncio.Event()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.open += 1
        with suppress(OSError):
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        self.open -= 1
        self.ended.set()
        writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    """A server that the proxy stands before."""
    made = Echo()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[Proxy]:
    """The proxy, healthy."""
    async with Proxy(("127.0.0.1", echo.port)) as made:
        yield made


async def connect(proxy: Proxy) -> Client:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def said(client: Client, line: bytes = b"ciao\n") -> bytes:
    """What comes back for a line within 2 s."""
    client[1].write(line)
    async with asyncio.timeout(2):
        return await client[0].readline()


async def silent(client: Client, within_s: float = 0.05) -> bool:
    """Nothing comes, not even an end."""
    try:
        async with asyncio.timeout(within_s):
            await client[0].read(1)
    except TimeoutError:
        return True
    return False


async def test_what_is_said_passes_both_ways_and_ends_pass_too(proxy: Proxy, echo: Echo) -> None:
    client = await connect(proxy)
    assert await said(client) == b"ciao\n"
    assert await said(client, b"x" * 60_000 + b"\n") == b"x" * 60_000 + b"\n"
    client[1].write_eof()
    assert await client[0].read() == b""
    await echo.ended.wait()
    client[1].close()


async def test_unix_sockets_are_targets_too(tmp_path: Path) -> None:
    server = await asyncio.start_unix_server(Echo().serve, str(tmp_path / "s"))
    async with Proxy(tmp_path / "s") as proxy:
        client = await connect(proxy)
        assert await said(client) == b"ciao\n"
        client[1].close()
    server.close()


async def test_late_and_slow(proxy: Proxy) -> None:
    client = await connect(proxy)
    await said(client)
    proxy.delay_s = 0.05
    started = time.monotonic()
    await said(client)
    assert time.monotonic() - started >= 0.1  # there and back
    await proxy.heal()
    proxy.bytes_per_s = 10_000
    started = time.monotonic()
    await said(client, b"x" * 999 + b"\n")
    assert time.monotonic() - started >= 0.1
    client[1].close()


async def test_silence_holds_back_and_heals(proxy: Proxy, echo: Echo) -> None:
    old = await connect(proxy)
    await said(old)
    proxy.silence()
    old[1].write(b"adesso\n")
    new = await connect(proxy)
    new[1].write(b"nuovo\n")
    assert await silent(old)
    assert await silent(new)
    assert echo.open == 1
    await proxy.heal()
    assert await old[0].readline() == b"adesso\n"
    assert await new[0].readline() == b"nuovo\n"
    for one in (old, new):
        one[1].close()


async def test_a_cut_is_a_reset_on_both_sides(proxy: Proxy, echo: Echo) -> None:
    client = await connect(proxy)
    await said(client)
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await client[0].read(1)
    await echo.ended.wait()
    again = await connect(proxy)
    assert await said(again) == b"ciao\n"
    again[1].close()


async def test_half_open_only_the_server_knows(proxy: Proxy, echo: Echo) -> None:
    client = await connect(proxy)
    await said(client)
    proxy.half_open()
    await echo.ended.wait()
    client[1].write(b"ancora\n")
    assert await silent(client)
    other = await connect(proxy)
    assert await said(other) == b"ciao\n"
    for one in (client, other):
        one[1].close()
    async with asyncio.timeout(2):
        while proxy.connections:  # noqa: ASYNC110 (the kernel tells it)
            await asyncio.sleep(0.001)


async def test_refused_and_heard_again(proxy: Proxy) -> None:
    client = await connect(proxy)
    await said(client)
    proxy.refuse()
    with pytest.raises(ConnectionResetError):
        await client[0].read(1)
    with pytest.raises(ConnectionRefusedError):
        await connect(proxy)
    await proxy.heal()
    client = await connect(proxy)
    assert await said(client) == b"ciao\n"
    client[1].close()


async def test_swallowed_connections_hang_before_they_are_made(proxy: Proxy) -> None:
    old = await connect(proxy)
    await said(old)
    proxy.swallow()
    old[1].write(b"ancora\n")
    assert await silent(old)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await connect(proxy)
    await proxy.heal()
    assert await old[0].readline() == b"ancora\n"
    new = await connect(proxy)
    assert await said(new) == b"ciao\n"
    for one in (old, new):
        one[1].close()


async def test_a_tap_changes_and_cuts(echo: Echo) -> None:
    class Louder:
        def from_client(self, data: bytes) -> bytes:
            return data.upper()

        def from_server(self, data: bytes) -> bytes:
            if data == b"BASTA\n":
                raise Cut
            return data

    async with Proxy(("127.0.0.1", echo.port), tap=Louder) as proxy:
        client = await connect(proxy)
        assert await said(client) == b"CIAO\n"
        client[1].write(b"basta\n")
        with pytest.raises(ConnectionResetError):
            await client[0].read(1)
