"""Clients that hold connections without saying much: idle ones, half heads, heads and bodies that drip.

Each is a bare socket in a task. `Slow.closed_after_s` tells how long the server let it be.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["idle", "half_head", "dripping_head", "dripping_body"]
KINDS: tuple[Kind, ...] = ("idle", "half_head", "dripping_head", "dripping_body")
HEAD = b"POST /webhooks/telegram/cha_0000000000001 HTTP/1.1\r\nHost: example.com\r\nX-Padding: "
BODY_HEAD = (
    b"POST /webhooks/telegram/cha_0000000000001 HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5000\r\n\r\n"
)


@dataclass
class Slow:
    """One client. `refused`: it was not let in at all."""

    kind: Kind
    opened: float = 0.0
    closed_after_s: float | None = None
    refused: bool = False
    said: bytes = field(default=b"", repr=False)


async def crowd(host: str, port: int, count: int, *, drip_s: float, patience_s: float) -> Sequence[Slow]:
    """Opens `count` connections of all kinds, drips a byte every `drip_s`, and gives them once all are closed or
    `patience_s` have passed."""
    clients = [Slow(KINDS[number % len(KINDS)]) for number in range(count)]
    door = asyncio.Semaphore(
        100
    )  # connections that are being opened at a time: the backlog is not what is tried

    async def hold(client: Slow) -> None:
        async with door:
            try:
                reader, writer = await asyncio.open_connection(host, port)
            except OSError:
                client.refused = True
                return
        client.opened = time.monotonic()
        try:
            await _hold(client, reader, writer, drip_s, patience_s)
        except OSError:  # reset while it was writing
            client.closed_after_s = time.monotonic() - client.opened
        finally:
            writer.transport.abort()

    await asyncio.gather(*(hold(client) for client in clients))
    return clients


async def _hold(
    client: Slow, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, drip_s: float, patience_s: float
) -> None:
    if client.kind in ("half_head", "dripping_head"):
        writer.write(HEAD)
    elif client.kind == "dripping_body":
        writer.write(BODY_HEAD)
    while time.monotonic() - client.opened < patience_s:
        try:
            async with asyncio.timeout(drip_s):
                got = await reader.read(1_000)
        except TimeoutError:
            if client.kind.startswith("dripping"):
                writer.write(b"x")
            continue
        if not got:
            client.closed_after_s = time.monotonic() - client.opened
            return
        client.said += got
