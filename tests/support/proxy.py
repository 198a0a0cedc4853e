"""A TCP proxy that does to a connection what networks do: late, slow, silent, cut, unreachable. Driven by the test.

Stands in the test's event loop between our processes and PostgreSQL or Redis:

    async with Proxy(("127.0.0.1", 6379)) as proxy:     # or the path of a unix socket
        server = Server(…, settings={"PASSAPAROLA_REDIS_URL": f"redis://127.0.0.1:{proxy.port}/0"})
        proxy.silence()                                 # connections stay, nothing passes any more
        proxy.heal()

A `Tap` sees (and may change) the bytes of one connection: see `tests.support.postgresql_wire`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol, Self

CHUNK = 65_536  # bytes read at a time; a throttled connection passes less
SLICE_S = 0.01  # a throttled connection passes its share of bytes this often


class Cut(Exception):
    """Raised by a tap: end this connection on both sides, now."""


class Tap(Protocol):
    """Looks at one connection; gives the bytes to pass on instead of those that came."""

    def from_client(self, data: bytes) -> bytes:
        """Bytes on their way to the server. Raises Cut."""

    def from_server(self, data: bytes) -> bytes:
        """Bytes on their way to the client. Raises Cut."""


class Proxy:
    """See the module. `target`: (host, port), or the path of a unix socket. `tap` makes one tap per connection."""

    def __init__(self, target: tuple[str, int] | Path, *, tap: Callable[[], Tap] | None = None) -> None:
        self._target = target
        self._tap = tap
        self._open: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._deaf: list[socket.socket] = []
        self._flows = asyncio.Event()
        self._flows.set()
        self.port = 0
        self.delay_s = 0.0  # added to every chunk, in each direction
        self.bytes_per_s = 0  # of each connection and direction; 0: as fast as it goes
        self.accepted = 0  # connections since the start

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._flows.set()
        self._stop_listening()
        self.cut()
        while self._open:  # noqa: ASYNC110 (they are at most a few steps from their end)
            await asyncio.sleep(SLICE_S)

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._open)

    # --- what goes wrong

    def cut(self) -> None:
        """Resets every open connection, on both sides; new ones are taken."""
        for one in list(self._open):
            one.reset()

    def half_open(self) -> None:
        """The server sees its connections end, the client is told nothing; new ones are taken."""
        for one in list(self._open):
            one.reset_server_side()

    def silence(self) -> None:
        """Nothing passes; connections stay and new ones are accepted, but nobody answers. What was written is held
        back and passes when it heals, as TCP does."""
        self._flows.clear()

    def refuse(self) -> None:
        """Open connections are reset and new ones refused, as when the server's process is gone."""
        self._stop_listening()
        self.cut()

    def swallow(self) -> None:
        """Open connections go silent and new ones hang before they are made, as when the machine is gone."""
        self.silence()
        self._stop_listening()
        deaf = _socket(self.port)
        deaf.listen(0)
        self._deaf.append(deaf)
        for _ in range(4):  # fills its queue: from here on the kernel drops whoever knocks
            knocking = socket.socket()
            knocking.setblocking(False)
            with suppress(BlockingIOError):
                knocking.connect(("127.0.0.1", self.port))
            self._deaf.append(knocking)

    async def heal(self) -> None:
        """Everything passes again, at full speed; what was held back too."""
        self.delay_s, self.bytes_per_s = 0.0, 0
        self._flows.set()
        if self._server is None:
            for one in self._deaf:
                one.close()
            self._deaf.clear()
            await self._listen()

    # --- passing bytes

    async def _listen(self) -> None:
        taken = _socket(self.port)
        self.port = int(taken.getsockname()[1])
        self._server = await asyncio.start_server(self._serve, sock=taken)

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        one = _Connection(reader, writer)
        self._open.add(one)
        try:
            await self._flows.wait()  # a silent machine does not reach its server either
            if isinstance(self._target, Path):
                one.server = await asyncio.open_unix_connection(str(self._target))
            else:
                one.server = await asyncio.open_connection(*self._target)
            tap = self._tap() if self._tap is not None else None
            await asyncio.gather(
                self._pump(one, reader, one.server[1], tap.from_client if tap else None),
                self._pump(one, one.server[0], writer, tap.from_server if tap else None),
            )
        except (OSError, Cut):
            one.reset()
        finally:
            self._open.discard(one)
            one.close()

    async def _pump(
        self,
        one: _Connection,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        tap: Callable[[bytes], bytes] | None,
    ) -> None:
        while data := await source.read(CHUNK):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            await self._flows.wait()
            if one.half:
                continue
            await self._write(sink, tap(data) if tap is not None else data)
        if not one.half:
            with suppress(OSError):
                sink.write_eof()
        elif source is one.client[0]:
            one.ended.set()
        else:
            await one.ended.wait()

    async def _write(self, sink: asyncio.StreamWriter, data: bytes) -> None:
        while self.bytes_per_s and data:
            share = max(1, int(self.bytes_per_s * SLICE_S))
            sink.write(data[:share])
            data = data[share:]
            await asyncio.sleep(SLICE_S)
            await self._flows.wait()
        sink.write(data)
        await sink.drain()


class _Connection:
    """Both sides of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.client = (reader, writer)
        self.server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.half = False  # the client does not know that the server side has ended
        self.ended = asyncio.Event()

    def reset(self) -> None:
        """RST to both, whatever is in the buffers."""
        self.ended.set()
        _reset(self.client)
        if self.server is not None:
            _reset(self.server)

    def reset_server_side(self) -> None:
        """RST to the server alone."""
        self.half = True
        if self.server is not None:
            _reset(self.server)

    def close(self) -> None:
        """Lets go of both, in order."""
        self.client[1].close()
        if self.server is not None:
            self.server[1].close()


def _reset(side: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    reader, writer = side
    plain = writer.get_extra_info("socket")
    if plain is not None and plain.family != socket.AF_UNIX and plain.fileno() >= 0:
        with suppress(OSError):
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    if not reader.at_eof() and reader.exception() is None:
        reader.feed_eof()


def _socket(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    made.setblocking(False)
    return made
