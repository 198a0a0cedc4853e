"""Attacks by anybody who reaches the port: large, compressed and broken requests."""

from __future__ import annotations

import asyncio
import gzip
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from bot.channel_store import ConnectedChannel
from domain import ids
from tests.support.town import WEBHOOK_SECRET, Town, until
from webhooks import receive, server
from webhooks.receive import Receiver


def head(path: str, length: int, *lines: str) -> bytes:
    return "\r\n".join(
        [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {length}", *lines, "", ""]
    ).encode()


async def status(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status and headers of one answer; its body is read away."""
    async with asyncio.timeout(10):
        text = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = text.split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        await reader.readexactly(int(headers.get("content-length", "0")))
    return int(lines[0].split()[1]), headers


@asynccontextmanager
async def connected(town: Town) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", town.app.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_large_bodies_of_strangers_do_not_fill_the_memory(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bodies that anybody may send, and slowly: past a bound 503 with Retry-After; small deliveries still go."""
    made: list[Receiver] = []
    kept = Receiver.endpoint

    def seen(self: Receiver, kind: str, channel_id: str) -> ConnectedChannel | None:
        made.append(self)
        return kept(self, kind, channel_id)

    monkeypatch.setattr(Receiver, "endpoint", seen)
    monkeypatch.setattr(receive, "MAX_LARGE", 1_000_000)
    channel_id = await town.telegram()
    path = f"/webhooks/telegram/{ids.to_text('channel', channel_id)}"
    async with connected(town) as (_, slow):
        slow.write(head("/webhooks/telegram/nobody", 900_000) + b"x" * 800_000)
        await slow.drain()

        async def held() -> bool:
            return bool(made) and made[0].large > 600_000

        await until(held, "the slow body is counted")
        async with connected(town) as (reader, writer):
            writer.write(head("/webhooks/telegram/nobody", 500_000) + b"x" * 500_000)
            answer, headers = await status(reader)
            assert (answer, headers["retry-after"]) == (503, "2")
        async with connected(town) as (reader, writer):
            writer.write(
                head(path, 16, f"X-Telegram-Bot-Api-Secret-Token: {WEBHOOK_SECRET}") + b'{"update_id":77}'
            )
            assert (await status(reader))[0] == 200

    async def free() -> bool:
        return made[0].large == 0

    await until(free, "what went away is not counted")


async def test_compressed_bodies_are_refused_without_being_inflated(town: Town) -> None:
    """A bomb costs nothing: its bytes are read away as they are, and the connection goes on."""
    bomb = gzip.compress(b"\0" * 1_000_000)[:-20] + b"this is no end"
    async with connected(town) as (reader, writer):
        writer.write(head("/webhooks/telegram/nobody", len(bomb), "Content-Encoding: gzip") + bomb)
        assert (await status(reader))[0] == 415
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert (await status(reader))[0] == 200


@pytest.mark.parametrize(
    "parts",
    [
        (head("/webhooks/telegram/nobody", 300_000) + b"x" * 250_000,),
        (b"GET / HTTP/1.1\r\nHost: a\r", b"\n\r", b"\n"),
    ],
    ids=["with its body", "in pieces"],
)
async def test_a_head_is_complete_however_it_came(parts: tuple[bytes, ...]) -> None:
    """Its deadline is not the body's: a large body in the same bytes hid the head's end, and ten seconds later the
    connection was gone."""
    guard = server.Guard(asyncio.Protocol(), set())
    guard.connection_made(asyncio.Transport())
    for part in parts:
        assert guard.waits_for_head
        guard.data_received(part)
    assert not guard.waits_for_head


async def test_a_head_without_end_ends_the_connection(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow clients do not hold connections."""
    monkeypatch.setattr(server, "HEAD_S", 0.1)
    async with connected(town) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nX: ")
        async with asyncio.timeout(5):
            assert await reader.read() == b""


@pytest.mark.parametrize("allowed", [256, 1_024])
def test_connections_leave_files_for_the_store(allowed: int) -> None:
    """Under the usual limit of a thousand open files strangers took them all, and the store could not be opened."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, before[1]))
        room = server.room_for_connections()
        now = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert now >= allowed
    assert 0 < room <= max(now - server.OTHER_FILES, now // 2)


async def test_more_connections_than_there_is_room_for_are_closed(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and those that are open go on."""
    monkeypatch.setattr(server, "room_for_connections", lambda: 2)
    await town.app.stop()
    await town.start()
    async with connected(town) as (first, writer), connected(town) as (_, _):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert (await status(first))[0] == 200
        async with connected(town) as (third, _), asyncio.timeout(5):
            with suppress(ConnectionError):
                assert await third.read() == b""
