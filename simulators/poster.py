"""Posting webhooks: one HTTP/1.1 POST at a time on kept connections.

The simulators stand beside the program under test on the same machine: the CPU that a delivery takes here, the program
lacks. With aiohttp's client it is some 80 µs, with this 20, log and timer included. Plain `http://host:port` goes over
asyncio's Protocol, answers parsed by llhttp (`httptools`); every other address (TLS, credentials) goes over the world's
aiohttp session, with the same results and errors.

A `Poster` keeps a list of idle lines (connections) per host and port. A request takes the one used last, or opens one,
and is written in one piece. A line whose answer is not whole, or is followed by anything, is closed, and so is one
whose delivery was cancelled. Nothing is retried, no redirect is followed. Nothing here keeps time: callers cancel.
"""

from __future__ import annotations

import asyncio
import io
import time
from asyncio import Future, Transport
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple, cast

import aiohttp
import httptools
from yarl import URL

HEAD_MAX = 65_536  # bytes of interim answers, status line, headers, chunk sizes; Node takes 16 kB, nginx 32
KEEP_S = 15.0  # an idle line is used again before servers close it; aiohttp's figure
_PLAIN_MAX = 1024 * 1024  # aiohttp warns of larger bodies that come as plain bytes
# Without either of them the end of the connection is the end of the body (RFC 9112, 6.3).
_DELIMITING = frozenset({"content-length", "transfer-encoding"})


class Undelivered(Exception):
    """There is no answer: the connection was closed or reset, or what came is not HTTP."""


class NotConnected(Undelivered):
    """Nobody listens there; no byte left."""


class Answer(NamedTuple):
    """What came back. `headers`: names in lower case, of several with one name the last; `body`: not decompressed."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes


class _Place(NamedTuple):
    """Where a plain address leads; `start`: the request's first lines."""

    host: str
    port: int
    start: str


@lru_cache(maxsize=1024)
def _place(address: str) -> _Place | None:
    try:
        url = URL(address)
    except ValueError:
        return None  # aiohttp words its refusal
    if url.scheme != "http" or not url.raw_host or not url.port or url.user or url.password:
        return None
    start = f"POST {url.raw_path_qs} HTTP/1.1\r\nHost: {url.host_port_subcomponent}\r\n"
    return _Place(url.raw_host, url.port, start)


class Poster:
    """All lines of one world. `session` gives aiohttp's client for addresses that are not plain."""

    def __init__(self, session: Callable[[], aiohttp.ClientSession]) -> None:
        self._session = session
        self._idle: defaultdict[tuple[str, int], list[_Line]] = defaultdict(list)
        self._lines: set[_Line] = set()
        self._closed = False

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, limit: int) -> Answer:
        """Post once. Of the answer's body at most `limit` bytes are given; of one much longer, no more is read.

        Host and Content-Length are added; values must be single lines. Raises Undelivered; RuntimeError after `close`.
        """
        if self._closed:
            raise RuntimeError("the world is closed: nobody would close a line made now")
        place = _place(url)
        if place is None:
            return await self._post_by_session(url, headers, body, limit)
        line = self._free(place) or await self._connect(place)
        fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        head = f"{place.start}{fields}Content-Length: {len(body)}\r\n\r\n"
        answer = line.ask(head.encode() + body, limit)
        try:
            return await answer
        except asyncio.CancelledError:
            # Else it came in the same moment, and the line may be somebody else's by now.
            if answer.cancelled():
                line.abort()
            raise

    async def close(self) -> None:
        """Close all lines; requests under way fail."""
        self._closed = True
        for line in list(self._lines):
            line.abort()
        await asyncio.sleep(0)  # the loop closes the sockets

    def _free(self, place: _Place) -> _Line | None:
        idle = self._idle[place.host, place.port]
        while idle:
            line = idle.pop()
            if line.open and time.monotonic() < line.free_since + KEEP_S:
                return line
            line.abort()
        return None

    async def _connect(self, place: _Place) -> _Line:
        idle = self._idle[place.host, place.port]
        try:
            _, line = await asyncio.get_running_loop().create_connection(
                lambda: _Line(self._lines, idle), place.host, place.port
            )
        except (OSError, UnicodeError) as error:  # the last: no host's name
            raise NotConnected(type(error).__name__) from error
        if self._closed:
            line.abort()
        return line

    async def _post_by_session(self, url: str, headers: Mapping[str, str], body: bytes, limit: int) -> Answer:
        data = body if len(body) < _PLAIN_MAX else io.BytesIO(body)
        try:
            async with self._session().post(
                url, data=data, headers=headers, allow_redirects=False
            ) as response:
                got = b""
                while len(got) < limit and (more := await response.content.read(limit - len(got))):
                    got += more
                named = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, response.reason or "", named, got)
        except aiohttp.ClientConnectorError as error:
            raise NotConnected(type(error).__name__) from error
        except (aiohttp.ClientError, OSError) as error:
            raise Undelivered(type(error).__name__) from error


class _Line(asyncio.Protocol):
    """One connection, one request at a time. It stands in `lines` while it is there, and in `idle` when it is free."""

    def __init__(self, lines: set[_Line], idle: list[_Line]) -> None:
        self._lines = lines
        self._idle = idle
        self._parser = httptools.HttpResponseParser(self)
        self._asked: Future[Answer] | None = None
        self._limit = self._received = 0  # bytes
        self.free_since = 0.0
        self._clear()

    def _clear(self) -> None:
        self._final = False  # the head is there, of the answer and not of an interim one
        self._reason = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    @property
    def open(self) -> bool:
        return not self._transport.is_closing()

    def ask(self, request: bytes, limit: int) -> Future[Answer]:
        """Write a request; the future is its answer."""
        self._asked = asked = asyncio.get_running_loop().create_future()
        self._limit, self._received = limit, 0
        if self.open:
            self._transport.write(request)
        else:
            self._fail("closed")  # as soon as it was there
        return asked

    def abort(self) -> None:
        """Close; what was not written yet is not waited for."""
        self._transport.abort()

    # --- the connection ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(Transport, transport)
        self._lines.add(self)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.abort()
            self._fail(type(error).__name__)
        if self._asked is not None and self._received > HEAD_MAX + self._limit:
            self.abort()
            if self._final:
                self._succeed()
            else:
                self._fail("too large")

    def connection_lost(self, error: Exception | None) -> None:
        self._lines.discard(self)
        if error is None and self._final and not _DELIMITING & self._headers.keys():
            self._succeed()
        else:
            self._fail(type(error).__name__ if error else "closed")

    # --- what the parser calls --------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._clear()
        if self._asked is None:  # nobody asked
            self.abort()

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._final:  # else it is a trailer
            self._headers[name.decode("latin-1").lower()] = value.decode("utf-8", "replace")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        self._final = not 100 <= status < 200 or status == 101  # RFC 9110, 15.2

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        if self._final and self._asked is not None:
            if self._parser.should_keep_alive() and not self._transport.get_write_buffer_size():
                self.free_since = time.monotonic()
                self._idle.append(self)
            else:
                self.abort()
            self._succeed()

    # --- how it ends ------------------------------------------------------------------------------------------------

    def _succeed(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and not asked.done():
            body = b"".join(self._body)[: self._limit]
            reason = self._reason.decode("utf-8", "replace")
            asked.set_result(Answer(self._parser.get_status_code(), reason, self._headers, body))

    def _fail(self, why: str) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and not asked.done():
            asked.set_exception(Undelivered(why))
