"""Load: prepared HTTP requests over keep-alive connections, each sent when the answer to the one before is there.

A bare protocol instead of an HTTP client: it costs a third of what it measures, so the server is the one that is busy.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

CONNECTIONS = 64
_END = b"\r\n\r\n"


def request(path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """One POST as it goes over the wire."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join(lines).encode() + _END + body


@dataclass
class Fired:
    """What came back. `statuses` counts answers by HTTP status (0: a connection that broke), times are in ms."""

    elapsed_s: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    times_ms: list[float] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        """Answers 200."""
        return self.statuses[200]


async def fire(
    port: int,
    requests: Sequence[bytes],
    *,
    connections: int = CONNECTIONS,
    limit_s: float = 120.0,
    pause_s: float = 0.0,
) -> Fired:
    """Sends every request once to 127.0.0.1, on each connection after a pause. Raises TimeoutError when that takes
    longer than `limit_s`."""
    fired = Fired()
    waiting = iter(requests)
    loop = asyncio.get_running_loop()
    links: list[_Link] = []
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(limit_s):
            for _ in range(min(connections, len(requests))):
                _, link = await loop.create_connection(
                    lambda: _Link(waiting, fired, pause_s), "127.0.0.1", port
                )
                links.append(link)
            await asyncio.gather(*(link.done for link in links))
    finally:
        for link in links:
            link.close()
    fired.elapsed_s = time.perf_counter() - begun
    return fired


class _Link(asyncio.Protocol):
    """One connection: writes the next request, reads the answer, and so on."""

    def __init__(self, waiting: Iterator[bytes], fired: Fired, pause_s: float) -> None:
        self._waiting = waiting
        self._fired = fired
        self._pause_s = pause_s
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.WriteTransport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's are not of that class
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(_END)
        if head < 0:
            return
        end = head + len(_END) + _length(self._buffer[:head])
        if len(self._buffer) < end:
            return
        self._fired.statuses[int(self._buffer[9:12])] += 1
        self._fired.times_ms.append((time.perf_counter() - self._sent_at) * 1000)
        self._buffer = self._buffer[end:]
        if self._pause_s:
            asyncio.get_running_loop().call_later(self._pause_s, self._next)
        else:
            self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self._fired.statuses[0] += 1
            self.done.set_result(None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _next(self) -> None:
        following = next(self._waiting, None)
        if following is None or self._transport is None:
            if not self.done.done():
                self.done.set_result(None)
            return
        self._sent_at = time.perf_counter()
        self._transport.write(following)


def _length(head: bytes) -> int:
    at = head.lower().find(b"content-length:")
    return int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


def percentile(times: Sequence[float], share: float) -> float:
    """The time below which that share of the times lies."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def get_json(port: int, path: str) -> dict[str, int]:
    """A small JSON object from 127.0.0.1, over a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head = await reader.readuntil(_END)
        found: dict[str, int] = json.loads(await reader.readexactly(_length(head)))
    finally:
        writer.close()
    return found
