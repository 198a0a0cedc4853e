"""Listening: an aiohttp application behind a guard for slow clients and too many of them.

aiohttp has no deadline for a request's head: a client that sends a byte now and then would hold its connection for
ever. The guard stands between the transport and aiohttp's protocol, passes bytes on, and closes a connection whose
first head is not complete in time. Bodies have their own deadline where they are read; idle keep-alive connections
end by aiohttp's timer.
"""

from __future__ import annotations

import asyncio
import errno
import resource
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, cast

from aiohttp import web

from domain.errors import Conflict

HEAD_S = 10.0  # for the first request's head; platforms need milliseconds
KEEP_ALIVE_S = (
    75.0  # longer than a reverse proxy's 60 s, so that it never reuses a connection that we just closed
)
MAX_CONNECTIONS = 4_096  # about 40 kB each; fewer where the system allows us fewer open files
OTHER_FILES = 500  # open files kept free of them: 300 connections to platforms, the store's, stored media
SHUTDOWN_S = 5.0
LINGER_S = 2.0  # after a refusal: what a client still sends is read, so that it sees the answer, then the door closes


class Front(Protocol):
    """Stands before aiohttp's protocol on each connection (`webhooks.express`)."""

    def __call__(self, inner: asyncio.Protocol) -> asyncio.Protocol:
        """The protocol of a new connection, which passes on to `inner` what it does not take."""

    async def close(self) -> None:
        """Answers what is under way and ends its connections."""


class Guard(asyncio.Protocol):
    """Passes everything on to aiohttp's protocol; counts connections and watches the first head."""

    __slots__ = ("_connections", "_inner", "_most", "_tail", "_timer", "_transport")

    def __init__(self, inner: asyncio.Protocol, connections: set[Guard], most: int = MAX_CONNECTIONS) -> None:
        self._inner = inner
        self._connections = connections
        self._most = most
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._tail = b""

    @property
    def waits_for_head(self) -> bool:
        """Whether the first request's head is not complete yet."""
        return self._timer is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if len(self._connections) >= self._most:
            self._transport.abort()
            self._transport = None
            return
        self._connections.add(self)
        self._timer = asyncio.get_running_loop().call_later(HEAD_S, self._transport.abort)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        if self._timer is not None:
            seen = (
                self._tail + data
            )  # the body may have come with it: its end is looked for before anything is cut
            if b"\r\n\r\n" in seen:
                self._timer.cancel()
                self._timer, self._tail = None, b""
            else:
                self._tail = seen[-3:]
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._transport is None else self._inner.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._inner.connection_lost(error)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


class Listener:
    """A running server."""

    def __init__(
        self, runner: web.AppRunner, server: asyncio.Server, port: int, front: Front | None = None
    ) -> None:
        self._runner = runner
        self._server = server
        self._front = front
        self.port = port

    async def close(self) -> None:
        """Accepts nothing more and ends what is open within 5 seconds."""
        self._server.close()
        if self._front is not None:
            await self._front.close()
        await self._runner.cleanup()


def room_for_connections() -> int:
    """How many connections may be open at a time, so that strangers cannot take the files that the store and the
    platforms' connections need. Raises this process's limit of open files as far as that helps and is allowed."""
    wanted = MAX_CONNECTIONS + OTHER_FILES
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    if now == resource.RLIM_INFINITY:
        now = wanted
    elif now < possible:
        with suppress(ValueError, OSError):  # some systems have a lower limit of their own
            resource.setrlimit(resource.RLIMIT_NOFILE, (possible, most))
            now = possible
    return min(MAX_CONNECTIONS, max(now - OTHER_FILES, now // 2))


async def listen(
    app: web.Application,
    host: str,
    port: int,
    front: Front | None = None,
    *,
    setting: str = "PASSAPAROLA_PORT",
) -> Listener:
    """Serves the application. `front` is asked first for what each connection brings.

    Raises Conflict with a plain sentence when the port is taken; it names the `setting` that chooses another.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        keepalive_timeout=KEEP_ALIVE_S,
        shutdown_timeout=SHUTDOWN_S,
        lingering_time=LINGER_S,
        handler_cancellation=False,
        auto_decompress=False,  # nobody takes compressed bodies, and aiohttp inflates also what it only reads away
    )
    await runner.setup()
    inner = cast(Callable[[], asyncio.Protocol], runner.server)
    make = inner if front is None else lambda: front(inner())
    connections: set[Guard] = set()
    most = room_for_connections()
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(lambda: Guard(make(), connections, most), host, port, backlog=1024)
    except OSError as error:
        await runner.cleanup()
        if error.errno == errno.EADDRINUSE:
            raise Conflict(
                f"port {port} is already taken by another program: stop it, or choose another with {setting}=…"
            ) from error
        raise Conflict(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return Listener(runner, server, server.sockets[0].getsockname()[1], front)
