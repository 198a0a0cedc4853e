"""A small HTTP server on loopback that counts who comes and answers what the test wants, byte by byte if need be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Writer = asyncio.StreamWriter


@dataclass
class Asked:
    """One request as it came in; header names in small letters."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Asked, Writer], Awaitable[None]]


@dataclass
class CanaryServer:
    """`answers` by path; what has none is answered 200 `{"ok": true}`."""

    port: int = 0
    hits: int = 0
    asked: list[Asked] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        self.hits += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, _ = head.split("\r\n")[0].split(" ")
            lines = [line.split(": ", 1) for line in head.split("\r\n")[1:] if line]
            headers = {name.lower(): value for name, value in lines}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            asked = Asked(method, target, headers, body)
            self.asked.append(asked)
            await self.answers.get(target.partition("?")[0], plain())(asked, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # they went away: what many of these tests are about
        finally:
            writer.close()


@asynccontextmanager
async def canary_server() -> AsyncIterator[CanaryServer]:
    """Serves while the block runs."""
    canary = CanaryServer()
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: Writer) -> None:
        task = asyncio.ensure_future(canary.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    canary.port = server.sockets[0].getsockname()[1]
    try:
        yield canary
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def plain(body: bytes = b'{"ok": true}', status: str = "200 OK", **headers: str) -> Answer:
    """An ordinary answer; `Content_Type` stands for the header `Content-Type`."""

    async def answer(asked: Asked, writer: Writer) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if asked.method == "HEAD" else body))

    return answer


def raw(data: bytes) -> Answer:
    """These bytes and nothing else."""

    async def answer(asked: Asked, writer: Writer) -> None:
        writer.write(data)

    return answer


def endless(head: bytes, again: bytes, pause_s: float = 0.0) -> Answer:
    """Begins with `head` and never comes to an end."""

    async def answer(asked: Asked, writer: Writer) -> None:
        writer.write(head)
        while True:
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return answer
