"""The processes under test: `python -m benchmarks.serving app|echo|answers|sends …`.

    app [ROLE…]       the application of `config.bootstrap`, with the settings of its environment
    echo              a bare aiohttp server that reads a body and answers 200: what everything is compared with
    answers RATE      a platform that takes every message (429 above RATE a second; 0: never), as cheaply as it can
    sends URL N       a bare aiohttp client that sends N messages; prints its CPU seconds

All but `sends` end when their standard input closes or SIGTERM comes.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Coroutine
from typing import Any, cast

import uvloop

SENDING = 100  # requests at a time of the bare client


def main() -> None:
    """Runs what the first argument names."""
    what, *rest = sys.argv[1:]
    works: dict[str, Any] = {"app": app, "echo": echo, "answers": answers, "sends": sends}
    work: Coroutine[Any, Any, None] = works[what](*rest)
    uvloop.run(work)


async def app(*roles: str) -> None:
    """The real application, started as the command starts it."""
    from config.starting import begin_to_serve, import_structlog, settle_memory

    import_structlog()
    begin_to_serve()
    from bot.live import ROLES
    from config import logs
    from config.bootstrap import build
    from config.settings import load_settings

    settings = load_settings()
    logs.configure(settings.log_level, settings.log_format)
    async with build(settings, roles=roles or ROLES) as running:
        settle_memory()
        _ready(port=running.port)
        await _told_to_end()


async def echo() -> None:
    """The floor of Python HTTP in this framework."""
    from aiohttp import web

    async def read(request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    application = web.Application()
    application.router.add_post("/{path:.*}", read)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    _ready(port=runner.addresses[0][1])
    await _told_to_end()
    await runner.cleanup()


async def answers(rate: str) -> None:
    """A platform's API; `GET /count` tells `{"sent": n, "refused": n}`."""
    counted = Counted(float(rate))
    server = await asyncio.get_running_loop().create_server(lambda: Answering(counted), "127.0.0.1", 0)
    _ready(port=server.sockets[0].getsockname()[1])
    await _told_to_end()
    server.close()


class Counted:
    """How many messages came, and a bucket of one second's worth, as Telegram's own limit is usually modelled."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.sent = 0
        self.refused = 0
        self._due = 0.0

    def take(self) -> bool:
        """Whether one more message fits now."""
        now = time.monotonic()
        if self.rate and self._due - now > (self.rate - 1) / self.rate:
            self.refused += 1
            return False
        if self.rate:
            self._due = max(now, self._due) + 1 / self.rate
        self.sent += 1
        return True


class Answering(asyncio.Protocol):
    """One connection of the platform: reads requests one after the other, answers each in one write."""

    def __init__(self, counted: Counted) -> None:
        self._counted = counted
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's are not of that class

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (head := self._buffer.find(b"\r\n\r\n")) >= 0:
            top = self._buffer[:head]
            at = top.lower().find(b"content-length:")
            end = head + 4 + (int(top[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0)
            if len(self._buffer) < end:
                return
            self._buffer = self._buffer[end:]
            self._answer(top.split(b" ", 2)[1])

    def _answer(self, path: bytes) -> None:
        assert self._transport is not None
        if path == b"/count":
            body = json.dumps({"sent": self._counted.sent, "refused": self._counted.refused}).encode()
            status = b"200 OK"
        elif b"/send" in path and not self._counted.take():
            body = b'{"ok":false,"error_code":429,"description":"Too Many Requests","parameters":{"retry_after":1}}'
            status = b"429 Too Many Requests"
        else:
            body = (
                b'{"ok":true,"result":{"message_id":%d,"date":1797000000,"chat":{"id":1,"type":"private"}}}'
                % (self._counted.sent)
            )
            status = b"200 OK"
        self._transport.write(
            b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (status, len(body), body)
        )


async def sends(url: str, count: str) -> None:
    """The bare client, written as lean as aiohttp allows: encoded address, bytes out, the answer decoded."""
    import aiohttp
    import msgspec
    from yarl import URL

    address = URL(url, encoded=True)
    headers = {"Content-Type": "application/json"}
    waiting = iter(range(int(count)))

    async def send(session: aiohttp.ClientSession) -> None:
        for number in waiting:
            body = msgspec.json.encode(
                {"chat_id": number, "text": f"Ciao {number}, domani siamo aperti fino alle 20."}
            )
            async with session.post(address, data=body, headers=headers) as response:
                msgspec.json.decode(await response.read())

    connector = aiohttp.TCPConnector(limit=SENDING)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        begun, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(send(session) for _ in range(SENDING)))
        _ready(port=0, elapsed_s=time.perf_counter() - begun, cpu_s=time.process_time() - cpu)


def _ready(**said: Any) -> None:
    print(json.dumps(said), flush=True)


async def _told_to_end() -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_reader(sys.stdin.fileno(), ended.set)  # nothing is ever written: readable means closed
    await ended.wait()


if __name__ == "__main__":
    main()
