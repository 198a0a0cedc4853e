"""The short way for deliveries as they nearly all are: a small POST with a length, head and body in one piece or two.

It stands between the guard and aiohttp's protocol and takes whole deliveries out of the bytes itself: endpoint,
signature, events, and the 200 as soon as they are committed. That is half of what aiohttp's request, routing and
response cost, and webhooks are what comes in masses. Everything that is not exactly such a delivery goes to aiohttp,
with all bytes that came, and from then on so does the rest of that connection: another path or method, chunks,
compression, `Expect`, `Connection: close`, a header that comes twice, a large body, a wrong signature, an unknown
endpoint. So there is one place that refuses (`webhooks.receive`), and a delivery that both would take means the same
to both: one way to read a length, one body.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import NamedTuple, cast

from bot.channel_store import ConnectedChannel
from bot.channels.base import Delivery
from domain.errors import SignatureInvalid, Unavailable
from webhooks import receive, server
from webhooks.receive import SMALL_BODY, Events, Receiver

SWEEP_S = 1.0  # how often connections past their time are looked for
MAX_HEAD = 8_190  # bytes; the same as aiohttp's for one line
DRAIN_S = 5.0  # how long a stop waits for commits that are under way

# RFC 9112: one request line of ours, then names and values without control characters; anything else is aiohttp's.
_START = b"POST /webhooks/"
_HEAD = re.compile(
    rb"POST /webhooks/([a-z]{1,32})/([A-Za-z0-9_]{1,64}) HTTP/1\.1\r\n"
    rb"((?:[A-Za-z0-9-]{1,64}:[\t\x20-\x7e\x80-\xff]*\r\n)+)\r\n"
)
_LENGTH = re.compile(rb"[0-9]{1,7}")
# Headers that change what a request means: not for the short way.
_UNUSUAL = {
    b"transfer-encoding",
    b"content-encoding",
    b"expect",
    b"upgrade",
    b"te",
    b"trailer",
    b"keep-alive",
}
_CONNECTION = {b"connection", b"proxy-connection"}  # they may say what is so anyway


class _Taken(NamedTuple):
    """A whole delivery: where it ends in the bytes, and what it says."""

    end: int
    endpoint: ConnectedChannel
    events: Events


class ExpressWay:
    """Makes the protocol of each connection, and ends those that are idle too long."""

    def __init__(self, receiver: Receiver, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.receiver = receiver
        self.monotonic = monotonic
        self.open: set[Express] = set()
        self.closing = False
        self._sweeper: asyncio.Task[None] | None = None
        self._second = 0
        self._ok = b""

    def __call__(self, inner: asyncio.Protocol) -> Express:
        """The protocol of a new connection; `inner` is aiohttp's."""
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep())
        return Express(self, inner)

    def ok(self) -> bytes:
        """The answer 200; with its date (RFC 9110, 6.6.1), which changes once a second."""
        now = int(time.time())
        if now != self._second:
            self._second = now
            date = formatdate(now, usegmt=True)
            self._ok = f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: {date}\r\n\r\n".encode()
        return self._ok

    def unavailable(self, wait_s: int) -> bytes:
        """The answer 503: nothing was stored, it may come again after so many seconds."""
        body = receive.NOT_STORED.encode()
        head = (
            f"HTTP/1.1 503 Service Unavailable\r\nRetry-After: {wait_s}\r\n"
            f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
            f"Date: {formatdate(usegmt=True)}\r\n\r\n"
        )
        return head.encode() + body

    async def close(self) -> None:
        """Answers what is under way (at most 5 s) and ends the connections of the short way."""
        self.closing = True
        for one in list(self.open):
            one.close_when_idle()
        deadline = self.monotonic() + DRAIN_S
        while self.open and self.monotonic() < deadline:  # noqa: ASYNC110 (connections end without an event)
            await asyncio.sleep(0.01)
        for one in list(self.open):
            one.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            now = self.monotonic()
            for one in [one for one in self.open if one.overdue(now)]:
                one.give_up()


class Express(asyncio.Protocol):
    """One connection, until something unusual comes."""

    __slots__ = (
        "_begun",
        "_buffer",
        "_choked",
        "_deadline",
        "_ended",
        "_inner",
        "_ours",
        "_paused",
        "_transport",
        "_under_way",
        "_way",
    )

    def __init__(self, way: ExpressWay, inner: asyncio.Protocol) -> None:
        self._way = way
        self._inner = inner
        self._ours = True
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._begun = False  # a part of the next delivery is here
        self._under_way = False  # its commit, and then its answer, are
        self._paused = False  # nothing more is read
        self._choked = False  # answers wait for a client that does not read them: it gets no more of them
        self._ended = False  # the client sends nothing more, and may wait for its answer
        self._deadline = 0.0  # monotonic; 0: none (the guard watches the first head)

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._way.open.add(self)

    def data_received(self, data: bytes) -> None:
        if not self._ours:
            self._inner.data_received(data)
            return
        self._buffer = self._buffer + data if self._buffer else data
        if not self._under_way and not self._choked:
            self._advance()
        elif len(self._buffer) > SMALL_BODY and not self._paused and self._transport is not None:
            self._transport.pause_reading()  # who sends on before the answer waits
            self._paused = True

    def eof_received(self) -> bool | None:
        if not self._ours:
            return self._inner.eof_received()
        self._ended = True
        return self._under_way  # open until it is answered

    def connection_lost(self, error: Exception | None) -> None:
        self._way.open.discard(self)
        self._transport = None
        self._buffer = b""
        if not self._ours:
            self._inner.connection_lost(error)

    def pause_writing(self) -> None:
        if not self._ours:
            self._inner.pause_writing()
        self._choked = self._ours

    def resume_writing(self) -> None:
        if not self._ours:
            self._inner.resume_writing()
            return
        self._choked = False
        self._go_on()

    # --- the way's side

    def overdue(self, now: float) -> bool:
        """Whether it is idle, or has been sending one delivery, for too long."""
        return not self._under_way and 0.0 < self._deadline < now

    def close_when_idle(self) -> None:
        """Ends the connection, after its answer when one is due."""
        if not self._under_way and self._transport is not None:
            self._transport.close()

    def give_up(self) -> None:
        """What should have come did not: 408 when a body is missing, as the long way says it."""
        if self._transport is None:
            return
        if b"\r\n\r\n" not in self._buffer or self._choked or self._transport.is_closing():
            self._transport.abort()
            return
        body = receive.too_slow().encode()
        head = f"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)
        self._transport.close()

    def abort(self) -> None:
        """Ends the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    # --- deliveries

    def _advance(self) -> None:
        """Takes the next delivery out of the bytes, when it is whole."""
        found = self._look()
        if found is None:
            if not self._begun:  # one clock for the whole of it, however it drips
                self._begun = True
                self._deadline = self._way.monotonic() + receive.BODY_S
            if self._ended:
                self.close_when_idle()
            self._read_on()
            return
        if found is False:
            self._hand_over()
            return
        taken = cast(_Taken, found)
        self._buffer = self._buffer[taken.end :]
        self._under_way, self._begun = True, False
        if not taken.events:
            self._answered(taken, None)
            return
        try:
            self._way.receiver.intake.take(taken.events, lambda error: self._answered(taken, error))
        except Unavailable as error:
            self._answered(taken, error)

    def _look(self) -> _Taken | bool | None:
        """The delivery that the bytes begin with; None while it is not whole, False when it is for aiohttp."""
        buffer = self._buffer
        if not buffer.startswith(_START):
            # A later head that is not whole waits here, where its time is watched.
            waits = self._deadline and b"\r\n\r\n" not in buffer and len(buffer) <= MAX_HEAD
            return None if waits or _START.startswith(buffer[: len(_START)]) else False
        matched = _HEAD.match(buffer)
        if matched is None:
            return False if b"\r\n\r\n" in buffer or len(buffer) > MAX_HEAD else None
        headers = _headers(matched[3])
        length = None if headers is None else headers.get(b"content-length", b"")
        if headers is None or length is None or not _LENGTH.fullmatch(length) or b"host" not in headers:
            return False
        end = matched.end() + int(length)
        if end - matched.end() > SMALL_BODY or matched.end() > MAX_HEAD:
            return False
        if len(buffer) < end:
            return None
        return self._read(matched[1].decode(), matched[2].decode(), headers, buffer[matched.end() : end], end)

    def _read(
        self, kind: str, channel_id: str, headers: dict[bytes, bytes], body: bytes, end: int
    ) -> _Taken | bool:
        receiver = self._way.receiver
        endpoint = receiver.endpoint(kind, channel_id)
        if endpoint is None:
            return False
        signed = {
            name: value.decode("utf-8", "surrogateescape")
            for name in endpoint.kind.signature_headers
            if (value := headers.get(name.lower().encode())) is not None
        }
        try:
            return _Taken(end, endpoint, receiver.opened(endpoint, Delivery(signed, body)))
        except SignatureInvalid:
            return False

    def _answered(self, taken: _Taken, error: Exception | None) -> None:
        """The commit has ended, well or not."""
        way = self._way
        self._under_way = False
        if error is None:
            way.receiver.accepted += len(taken.events)
            answer = way.ok()
        else:
            answer = way.unavailable(way.receiver.not_stored(taken.endpoint, error))
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(answer)
        if way.closing or (self._ended and not self._buffer):
            transport.close()
            return
        if len(self._buffer) <= SMALL_BODY:
            self._read_on()
        self._deadline = way.monotonic() + server.KEEP_ALIVE_S
        if self._buffer:
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        ready = self._ours and not self._under_way and not self._choked
        if ready and self._buffer and self._transport is not None:
            self._advance()

    def _read_on(self) -> None:
        if self._paused and self._transport is not None:
            self._transport.resume_reading()
            self._paused = False

    def _hand_over(self) -> None:
        """From here on the connection is aiohttp's, with all that has come."""
        transport, buffer = self._transport, self._buffer
        self._ours = False
        self._way.open.discard(self)
        self._buffer = b""
        if transport is None:
            return
        self._read_on()
        self._inner.connection_made(transport)
        self._inner.data_received(buffer)
        if self._ended:
            transport.close()  # as asyncio does when aiohttp hears of such an end


def _headers(lines: bytes) -> dict[bytes, bytes] | None:
    """Names in lower case → values; None when one of them asks for more than the short way can."""
    headers: dict[bytes, bytes] = {}
    for line in lines.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if not colon:
            continue
        name = name.lower()
        value = value.strip(b" \t")
        if name in headers or name in _UNUSUAL or (name in _CONNECTION and value.lower() != b"keep-alive"):
            return None
        headers[name] = value
    return headers
