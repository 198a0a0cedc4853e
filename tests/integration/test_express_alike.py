"""The short way and aiohttp alone, side by side on the same bytes: no delivery is read with another body.

Deliveries are varied at random, whole, cut and behind each other. What matters is what was read (path, signature
accepted, body), in which order, and how each was answered.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from aiohttp import web

from bot.channel_store import ChannelStore, ConnectedChannel
from bot.channels.base import Credentials
from bot.channels.telegram import Telegram
from bot.intake import Arrived, Done, Intake
from domain.events import PlatformEvent
from storage.sealing import Sealer
from webhooks import receive
from webhooks.express import ExpressWay
from webhooks.receive import Receiver

SECRET = "test-webhook-secret"
PATH = "/webhooks/telegram/ch_a1"
ROUNDS = 600
TURNS = 14  # of the loop: a request's whole way
SEED = 2_100  # these rounds hold what was once read otherwise


class Heard(Telegram):
    """Telegram, noting every body that it is given to read."""

    kind = "telegram"

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def parse(self, body: bytes) -> list[PlatformEvent]:
        self.bodies.append(body)
        return super().parse(body)


class AtOnce(Intake):
    """An intake whose store is done with the next turn of the loop."""

    def __init__(self) -> None:
        """Nothing to keep."""

    def take(self, arrived: Arrived, done: Done) -> None:
        asyncio.get_running_loop().call_soon(done, None)


class OneChannel(Receiver):
    """A receiver that knows one endpoint."""

    def __init__(self, kind: Heard) -> None:
        super().__init__(ChannelStore(Sealer("k" * 32), {}), AtOnce())
        self.one = ConnectedChannel(
            id=1,
            workspace_id=1,
            kind=kind,
            name="a",
            state="active",
            mode="webhook",
            account="",
            business_account="",
            secret_group="",
            credentials=Credentials({"webhook_secret": SECRET}),
            capabilities=kind.capabilities({}),
            poll_offset=0,
        )

    def endpoint(self, kind: str, channel_id: str) -> ConnectedChannel | None:
        return self.one if (kind, channel_id) == ("telegram", "ch_a1") else None


class Wire(asyncio.Transport):
    """A connection in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.out = bytearray()
        self.closing = False
        self.aborted = False

    def write(self, data: Any) -> None:
        self.out += data

    def writelines(self, list_of_data: Any) -> None:
        for data in list_of_data:
            self.out += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def pause_reading(self) -> None:
        """All pieces come anyway."""

    def resume_reading(self) -> None:
        """All pieces come anyway."""

    def get_write_buffer_size(self) -> int:
        return 0


async def settled(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


def statuses(out: bytes) -> list[int]:
    """The status of each answer, in order; all have a length."""
    found = []
    while out:
        head, _, out = out.partition(b"\r\n\r\n")
        found.append(int(head.split(b" ", 2)[1]))
        lines = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
        length = next((int(v) for name, _, v in lines if name.lower() == b"content-length"), 0)
        out = out[length:]
    return found


class Both:
    """aiohttp alone, and with the short way before it."""

    def __init__(self, runner: web.AppRunner, receiver: OneChannel, kind: Heard) -> None:
        self._runner = runner
        self._kind = kind
        self.receiver = receiver
        self.way = ExpressWay(receiver)

    async def long(self, stream: bytes) -> tuple[list[bytes], int]:
        """What aiohttp reads, and how many it answers 200. Byte by byte: in larger pieces it forgets the requests
        before a broken one."""
        return await self._play(self.inner(), [stream[n : n + 1] for n in range(len(stream))], 0)

    async def short(self, pieces: Sequence[bytes]) -> tuple[list[bytes], int]:
        return await self._play(self.way(self.inner()), pieces, TURNS)

    def inner(self) -> asyncio.Protocol:
        """aiohttp's protocol for a new connection."""
        server = self._runner.server
        assert server is not None
        return cast(asyncio.Protocol, server())

    async def _play(
        self, protocol: asyncio.Protocol, pieces: Sequence[bytes], turns: int
    ) -> tuple[list[bytes], int]:
        self._kind.bodies = []
        wire = Wire()
        protocol.connection_made(wire)
        for piece in pieces:
            if wire.closing:
                break
            protocol.data_received(piece)
            await settled(turns)
        await settled(TURNS * 4)
        protocol.connection_lost(None)
        await settled(TURNS)
        return self._kind.bodies, statuses(bytes(wire.out)).count(200)


@pytest.fixture
async def both() -> AsyncIterator[Both]:
    async with opened() as found:
        yield found


@asynccontextmanager
async def opened() -> AsyncIterator[Both]:
    kind = Heard()
    app = web.Application(client_max_size=receive.MAX_BODY)
    receiver = OneChannel(kind)
    receive.add_routes(app, receiver)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=75.0, auto_decompress=False)
    await runner.setup()
    found = Both(runner, receiver, kind)
    yield found
    await found.way.close()
    await runner.cleanup()


NAMES = [
    "Content-Length", "content-length", "Transfer-Encoding", "Connection", "Proxy-Connection", "Keep-Alive",
    "Content-Encoding", "Expect", "Upgrade", "TE", "Trailer", "Host", "X-Forwarded-For", "X-Forwarded-Proto", "Via",
    "Content_Length", "Content-Length ", "X-Telegram-Bot-Api-Secret-Token", "Content-Type", "Range", "HTTP2-Settings",
    "Sec-WebSocket-Key", "", "X-HTTP-Method-Override", "Accept-Encoding", "Cookie", "Content-Type",
]  # fmt: skip
VALUES = [
    "", "0", "5", "+5", "-1", "05", "5, 5", "5 5", "0x5", "chunked", "identity", "gzip", "keep-alive", "Keep-Alive",
    "close", "keep-alive, close", "upgrade", "websocket", "h2c", "100-continue", "chunked, keep-alive", "a", "\t5\t",
    "99999999", "9999999999999999999999", "trailers", SECRET, "\x80\xff", "\x00", "a\rb", "a\nb: c",
    "text/plain; charset=x",    "PUT", "127.0.0.1", "https", "a\x0bb", "5\x0c", " " * 40, "timeout=5",
]  # fmt: skip


def some_delivery(chance: random.Random, number: int) -> bytes:
    """A delivery, usually a good one with something else in it."""
    body = b'{"update_id":%d,"x":"%s"}' % (number, b"y" * chance.choice([0, 3, 40]))
    if chance.random() < 0.15:
        body = chance.choice(
            [b"", b"5\r\nabcde\r\n0\r\n\r\n", b"0\r\n\r\n", b"POST / HTTP/1.1\r\nHost: b\r\n\r\n"]
        )
    length: object = len(body) + chance.choice([0] * 12 + [-1, 1, 5])
    lines = ["Host: a", f"Content-Length: {length}", f"X-Telegram-Bot-Api-Secret-Token: {SECRET}"]
    for _ in range(chance.choice([0, 0, 1, 1, 2])):
        lines.insert(
            chance.randrange(len(lines) + 1),
            chance.choice(NAMES) + chance.choice([": ", ":", ":\t", " : ", ": "]) + chance.choice(VALUES),
        )
    if chance.random() < 0.1:
        del lines[chance.randrange(len(lines))]
    method = chance.choice(["POST"] * 20 + ["GET", "post", "POST ", "OPTIONS"])
    version = chance.choice(["HTTP/1.1"] * 20 + ["HTTP/1.0", "HTTP/1.2", "http/1.1", "HTTP/2.0"])
    path = chance.choice(
        [PATH] * 20 + [PATH + "?a=b", PATH + "/", "//webhooks/telegram/ch_a1", "http://a" + PATH, "*"]
    )
    end = chance.choice(["\r\n"] * 30 + ["\n", "\r"])
    head = end.join([f"{method} {path} {version}", *lines, "", ""]).encode("latin-1")
    whole = bytearray(head + body)
    if chance.random() < 0.25:
        for _ in range(chance.choice([1, 1, 2])):
            at = chance.randrange(len(whole))
            match chance.randrange(3):
                case 0:
                    whole[at] = chance.choice([0, 9, 10, 13, 32, 58, 127, 128, chance.randrange(256)])
                case 1:
                    del whole[at]
                case _:
                    whole.insert(at, chance.choice([0, 9, 10, 13, 32, 58, chance.randrange(256)]))
    return bytes(whole)


def usual(number: int) -> bytes:
    """A good delivery."""
    body = b'{"update_id":%d}' % number
    lines = ["Host: a", f"Content-Length: {len(body)}", f"X-Telegram-Bot-Api-Secret-Token: {SECRET}"]
    return "\r\n".join([f"POST {PATH} HTTP/1.1", *lines, "", ""]).encode() + body


def cut(chance: random.Random, whole: bytes) -> list[bytes]:
    marks = sorted(chance.randrange(len(whole) + 1) for _ in range(chance.choice([0, 0, 1, 2, 5])))
    return [piece for a, b in zip([0, *marks], [*marks, len(whole)], strict=True) if (piece := whole[a:b])]


def alike(short: tuple[list[bytes], int], long: tuple[list[bytes], int]) -> bool:
    """The same bodies and answers, up to where aiohttp was given something broken in the same piece."""
    return short[0] == long[0][: len(short[0])] and short[1] == len(short[0]) and long[1] == len(long[0])


async def test_the_same_bytes_mean_the_same_to_both(both: Both) -> None:
    for number in range(ROUNDS):
        chance = random.Random(SEED + number)
        stream = b"".join(some_delivery(chance, 10 * number + n) for n in range(chance.choice([1, 1, 2, 3])))
        pieces = cut(chance, stream)
        short, long = await both.short(pieces), await both.long(stream)
        assert alike(short, long), (number, pieces, short, long)


async def test_who_reads_no_answers_gets_no_more_of_them(both: Both) -> None:
    """Answers that nobody takes do not pile up, and such a connection ends when its time is over."""
    now = 1_000.0
    way = ExpressWay(both.receiver, monotonic=lambda: now)
    wire = Wire()
    line = way(both.inner())
    line.connection_made(wire)
    line.data_received(usual(1))
    await settled(TURNS)
    assert statuses(bytes(wire.out)) == [200]
    line.pause_writing()
    line.data_received(usual(2) + usual(3))
    await settled(TURNS)
    assert statuses(bytes(wire.out)) == [200]
    assert not line.overdue(now + 70)
    line.resume_writing()
    await settled(TURNS)
    assert statuses(bytes(wire.out)) == [200] * 3
    line.pause_writing()
    line.data_received(usual(4))
    assert line.overdue(now + 80)
    line.give_up()
    assert (wire.aborted, statuses(bytes(wire.out))) == (True, [200] * 3)
    line.connection_lost(None)
    await way.close()


async def test_a_refusal_that_nobody_takes_is_given_once(both: Both) -> None:
    way = ExpressWay(both.receiver)
    wire = Wire()
    line = way(both.inner())
    line.connection_made(wire)
    line.data_received(usual(1)[:-1])
    line.give_up()
    assert (statuses(bytes(wire.out)), wire.closing, wire.aborted) == ([408], True, False)
    line.give_up()
    assert (statuses(bytes(wire.out)), wire.aborted) == ([408], True)
    line.connection_lost(None)
    await way.close()
