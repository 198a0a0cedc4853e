"""Posting: one HTTP/1.1 POST at a time on kept connections, for the one request that is made a thousand times a second.

aiohttp spends some 80 µs of CPU on a request, of which the connection needs 15; a message's whole way has about 120
(decision 0014). Everything rare (files, questions, downloads, requests through a proxy) stays with aiohttp.

Theory of operation. A `Poster` keeps lines (connections) per origin. A request takes an idle line or opens one, is
written in one piece, and its answer is parsed by llhttp (`httptools`); a line that said anything it was not asked, or
whose answer cannot be delimited, is closed. Nothing is retried and no redirect is followed. What went wrong is one of
two things, and the whole point is to tell them apart:

  NotConnected   no byte of the request left: name not found, refused, TLS, no free line in time
  NoAnswer       the request was written (or may have been): closed, reset, silence, garbage, too large

Limits: lines per origin, the answer's size (the caller's), its head, interim answers (1xx), time to connect, of
silence, and in all. Time is kept by one timer, which is set to the earliest moment at which any request is late.
No text of an error names hosts, paths or headers: tokens stand in them.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from asyncio import Future, Transport
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import NamedTuple, cast

import httptools
from aiohappyeyeballs import AddrInfoType, start_connection
from yarl import URL

MAX_HEAD = 65_536  # bytes of status line and headers; Meta's are about 1 kB
MAX_INTERIM = 8  # answers 1xx before the real one
CHUNKING = 8  # raw bytes per byte of answer: chunks may be small, but not for ever
KEEP_S = 30.0  # an idle line is closed before the platforms close it
RESOLVED_S = 60.0  # how long a name's addresses are remembered
NEXT_ADDRESS_S = 0.25  # before the next address of a name is tried beside the first (RFC 8305)


class NotConnected(Exception):
    """No byte of the request left."""


class NoAnswer(Exception):
    """The request was written: nobody knows whether it was executed."""


class Times(NamedTuple):
    """Seconds: to get a connected line, without any byte, and from the request to the end of the answer."""

    connect_s: float
    silence_s: float
    total_s: float


class Answer(NamedTuple):
    """What came back. `head`: status line and headers as they came."""

    status: int
    body: bytes
    head: bytes

    def header(self, name: str) -> str | None:
        """A header's value, by its lower-case name."""
        return header(self.head, name.encode())


class Target:
    """An address with its headers, made once for many requests. Its repr shows neither."""

    __slots__ = ("origin", "start")

    def __init__(self, url: URL, headers: Mapping[str, str]) -> None:
        """Raises NotConnected for an address that is not absolute HTTP, or a header of two lines."""
        if url.scheme not in ("http", "https") or not url.raw_host or not url.port:
            raise NotConnected("InvalidURL")
        fields = {"Host": url.host_port_subcomponent or "", **headers}
        if any(
            "\r" in value or "\n" in value or "\r" in name or "\n" in name for name, value in fields.items()
        ):
            raise NotConnected("InvalidHeader")
        lines = [f"POST {url.raw_path_qs} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        self.origin = Origin(url.scheme == "https", url.raw_host, url.port)
        self.start = ("\r\n".join([*lines, "Content-Length: "])).encode("latin-1")


class Origin(NamedTuple):
    """Whom a line leads to."""

    tls: bool
    host: str
    port: int


def header(head: bytes, name: bytes) -> str | None:
    """The value of a header (lower-case name) in the raw head of an answer."""
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().decode("latin-1")
    return None


class Poster:
    """All lines of one process."""

    def __init__(self, *, lines: int, tls: ssl.SSLContext | None = None) -> None:
        """`lines`: at most so many connections per origin. `tls`: for tests with certificates of their own."""
        self._loop = asyncio.get_running_loop()
        self._limit = lines
        self._tls = tls or _client_context()
        self._pools: dict[Origin, _Pool] = {}
        self.busy: set[_Line] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.closed = False

    async def post(self, target: Target, body: bytes, times: Times, *, max_answer: int) -> Answer:
        """Makes the request once. Raises NotConnected or NoAnswer; `max_answer` is in bytes of the body."""
        pool = self._pools.get(target.origin)
        if pool is None:
            pool = self._pools[target.origin] = _Pool(self, target.origin, self._limit)
        line = pool.idle()
        if line is None:
            line = await pool.open(times.connect_s)
        answer = line.ask(target, body, times, max_answer)
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.cancelled():  # else it had come, and the line may be somebody else's by now
                line.give_up("cancelled")
            raise

    async def close(self) -> None:
        """Closes every line; requests under way fail with NoAnswer."""
        self.closed = True
        for line in list(self.busy):
            line.give_up("closed")
        for pool in self._pools.values():
            pool.close()
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.sleep(0)  # lets the transports say goodbye

    def watch(self, due: float) -> None:
        """Has `due` (the loop's time) looked at; a later moment than one that is looked at anyway costs nothing."""
        if self._timer is None or due < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(due, self._look)

    def now(self) -> float:
        """The loop's time."""
        return self._loop.time()

    def context(self, origin: Origin) -> ssl.SSLContext | None:
        """How to speak to an origin."""
        return self._tls if origin.tls else None

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        for line in list(self.busy):
            if line.due() <= now:
                line.give_up("TimeoutError")
        due = [line.due() for line in self.busy]
        due += [oldest for pool in self._pools.values() if (oldest := pool.forget(now)) is not None]
        if due:
            self.watch(min(due))


class _Pool:
    """The lines to one origin. The one used last is used next, so that those not needed grow old."""

    def __init__(self, poster: Poster, origin: Origin, limit: int) -> None:
        self.poster = poster
        self._origin = origin
        self._limit = limit
        self._idle: list[_Line] = []
        self._lines: set[_Line] = set()
        self._opening = 0
        self._waiting: deque[Future[_Line | None]] = deque()
        self._resolving = asyncio.Lock()
        self._addresses: list[AddrInfoType] = []
        self._resolved_until = 0.0

    def idle(self) -> _Line | None:
        """A line that nobody uses."""
        self.forget(self.poster.now())  # also when the timer is late: a process may have been frozen
        while self._idle:
            line = self._idle.pop()
            if line.usable():
                return line
        return None

    async def open(self, seconds: float) -> _Line:
        """A line of one's own: a new one, or, at the limit, the next that is given back. Raises NotConnected."""
        try:
            async with asyncio.timeout(seconds):
                while not self.poster.closed:
                    if len(self._lines) + self._opening < self._limit:
                        return await self._connect()
                    waiter: Future[_Line | None] = asyncio.get_running_loop().create_future()
                    self._waiting.append(waiter)
                    try:
                        line = await waiter
                    except asyncio.CancelledError:
                        self._pass_on(waiter)
                        raise
                    if line is not None and line.usable():
                        return line
        except TimeoutError:
            raise NotConnected("TimeoutError") from None
        raise NotConnected("closed")

    def give_back(self, line: _Line) -> None:
        """The line is free again."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(line)
                return
        self._idle.append(line)
        self.poster.watch(line.free_since + KEEP_S)

    def lost(self, line: _Line) -> None:
        """The line is closed: there is room for another."""
        self._lines.discard(line)
        with suppress(ValueError):
            self._idle.remove(line)
        self._room()

    def forget(self, now: float) -> float | None:
        """Closes lines that were idle for long; gives when the next will have been."""
        while self._idle and self._idle[0].free_since + KEEP_S <= now:
            self._idle.pop(0).close()
        return self._idle[0].free_since + KEEP_S if self._idle else None

    def close(self) -> None:
        """Closes what is idle; nobody waits any more."""
        for line in self._idle:
            line.close()
        self._idle.clear()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _room(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _pass_on(self, waiter: Future[_Line | None]) -> None:
        """Who waited went away: what it was given goes to the next."""
        if waiter.done() and not waiter.cancelled():
            line = waiter.result()
            if line is not None and line.usable():
                self.give_back(line)
            else:
                self._room()

    async def _connect(self) -> _Line:
        loop = asyncio.get_running_loop()
        self._opening += 1
        try:
            infos = await self._resolve(loop)
            taken = await start_connection(infos, happy_eyeballs_delay=NEXT_ADDRESS_S, interleave=1)
            try:
                context = self.poster.context(self._origin)
                _, line = await loop.create_connection(
                    partial(_Line, self, loop),
                    sock=taken,
                    ssl=context,
                    server_hostname=self._origin.host if context else None,
                )
            except BaseException:
                taken.close()
                raise
        except (
            OSError,
            ssl.SSLError,
            ssl.CertificateError,
            UnicodeError,
        ) as error:  # the last: no host's name
            raise NotConnected(type(error).__name__) from None
        finally:
            self._opening -= 1
            if self._waiting and len(self._lines) + self._opening < self._limit:
                self._room()
        if self.poster.closed:
            line.close()
        if not line.usable():
            raise NotConnected("ConnectionResetError")
        return line

    async def _resolve(self, loop: asyncio.AbstractEventLoop) -> list[AddrInfoType]:
        async with self._resolving:
            if loop.time() >= self._resolved_until:
                found = await loop.getaddrinfo(self._origin.host, self._origin.port, type=socket.SOCK_STREAM)
                self._addresses = cast(list[AddrInfoType], found)
                self._resolved_until = loop.time() + RESOLVED_S
            return self._addresses

    def made(self, line: _Line) -> None:
        """A connection came about."""
        self._lines.add(line)


class _Line(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self, pool: _Pool, loop: asyncio.AbstractEventLoop) -> None:
        self._pool = pool
        self._poster = pool.poster
        self._loop = loop
        self._transport: Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._asked: Future[Answer] | None = None
        self.free_since = loop.time()
        self._until = 0.0
        self._silence_s = 0.0
        self._heard = 0.0
        self._most = 0
        self._clear()

    def _clear(self) -> None:
        self._head = b""
        self._in_body = False
        self._parts: list[bytes] = []
        self._size = 0  # of the body
        self._raw = 0  # of everything
        self._interim = 0
        self._status = 0
        self._complete = False
        self._keep = False
        self._more = False  # something follows what was asked for
        self._too_much = False

    # --- for the pool -----------------------------------------------------------------------------------------------

    def usable(self) -> bool:
        """Whether a request can be written to it."""
        return self._transport is not None and not self._transport.is_closing() and self._asked is None

    def ask(self, target: Target, body: bytes, times: Times, max_answer: int) -> Future[Answer]:
        """Writes a request; the future is its answer."""
        assert self._transport is not None
        now = self._loop.time()
        self._asked = asked = self._loop.create_future()
        self._until, self._silence_s, self._heard = now + times.total_s, times.silence_s, now
        self._most = max_answer
        self._poster.busy.add(self)
        self._transport.write(b"%b%d\r\n\r\n%b" % (target.start, len(body), body))
        self._poster.watch(self.due())
        return asked

    def due(self) -> float:
        """When the answer is late (the loop's time)."""
        silent = self._heard + self._silence_s
        return silent if silent < self._until else self._until

    def give_up(self, why: str) -> None:
        """Nobody waits for the answer any longer; nothing more can be said on this line."""
        if self._transport is not None:
            self._transport.abort()
        self._fail(why)

    def close(self) -> None:
        """Nothing more is asked. What the other side has not taken yet is not waited for."""
        if self._transport is not None and self._unread():
            self._transport.abort()
        elif self._transport is not None:
            self._transport.close()

    # --- the connection ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(Transport, transport)  # uvloop's are not of that class
        self._pool.made(self)

    def data_received(self, data: bytes) -> None:
        if self._asked is None:  # nobody asked
            self.give_up("unasked")
            return
        self._heard = self._loop.time()
        self._raw += len(data)
        if not self._in_body:
            self._head += data
        broken = ""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            broken = type(error).__name__
        if self._complete:
            self._finish(keep=self._keep and not broken and not self._more)
        elif broken or self._too_much or self._raw > MAX_HEAD + CHUNKING * self._most:
            self.give_up(broken or "too large")
        elif not self._in_body and len(self._head) > MAX_HEAD:
            self.give_up("too large")

    def connection_lost(self, error: Exception | None) -> None:
        if error is None and self._asked is not None and self._in_body and self._ends_with_connection():
            self._finish(keep=False)
        self._fail(type(error).__name__ if error is not None else "ConnectionClosed")
        self._transport = None
        self._pool.lost(self)

    # --- what the parser calls --------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Another answer begins."""
        self._more = self._complete

    def on_headers_complete(self) -> None:
        """The head is known."""
        if not self._complete:
            self._status = self._parser.get_status_code()
            self._in_body = True

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        if not self._complete:
            self._size += len(data)
            self._too_much = self._too_much or self._size > self._most
            if not self._too_much:
                self._parts.append(data)

    def on_message_complete(self) -> None:
        """The answer is whole, unless it only was an interim one (RFC 9110, 15.2)."""
        if not 100 <= self._status < 200:
            self._complete = not self._too_much
            self._keep = self._parser.should_keep_alive()  # the parser knows it only here
            return
        self._interim += 1
        self._too_much = self._too_much or self._interim > MAX_INTERIM
        self._in_body = False
        self._head = self._head.partition(b"\r\n\r\n")[2]

    # --- how it ends ------------------------------------------------------------------------------------------------

    def _ends_with_connection(self) -> bool:
        """Whether nothing but the end of the connection tells where the body ends (RFC 9112, 6.3)."""
        head = self._head.partition(b"\r\n\r\n")[0]
        return header(head, b"content-length") is None and header(head, b"transfer-encoding") is None

    def _unread(self) -> bool:
        """Whether a part of the request is still here: it was answered before it was read."""
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    def _finish(self, *, keep: bool) -> None:
        asked, self._asked = self._asked, None
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        answer = Answer(self._status, body, self._head.partition(b"\r\n\r\n")[0])
        self._poster.busy.discard(self)
        self._clear()
        if asked is not None and not asked.done():
            asked.set_result(answer)
        if keep and self.usable() and not self._unread():
            self.free_since = self._heard
            self._pool.give_back(self)
        else:
            self.close()

    def _fail(self, why: str) -> None:
        asked, self._asked = self._asked, None
        self._poster.busy.discard(self)
        if asked is not None and not asked.done():
            asked.set_exception(NoAnswer(why))


def _client_context() -> ssl.SSLContext:
    """Certificates of the system's authorities, host names checked."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
