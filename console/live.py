"""News for open pages: "look again", over one long answer, so that a page need not ask every two seconds.

`GET /console/live` is a stream of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).
Its only event, `news`, carries nothing: the page fetches itself again, with its own session and role, so that no row of
another workspace can be in it. What changed is told by the process that changed it, over the signal `live`; with Redis
that is any process. A page that hears nothing still looks by itself, only less often: news may get lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from aiohttp import web

from bot.runtime import Runtime
from domain.access import access
from storage.signals import POLL_S

TOPIC = "live"
NEWS_EVERY_S = 0.5  # for each page at most: people do not read faster, and every page costs a few reads
MAX_STREAMS = 500  # each is one connection of those that the server has; pages beyond it look by themselves
LIFE_S = 600.0  # the next request of the browser shows whether its session still holds
QUIET_S = 20.0  # without news a comment keeps proxies from closing the connection


class News:
    """What this process heard, for all open pages."""

    def __init__(self, runtime: Runtime, headers: Mapping[str, str]) -> None:
        """`headers`: what every answer of the console carries; a stream has begun before it could be added."""
        self._runtime = runtime
        self._headers = headers
        self._heard = asyncio.Event()  # replaced with every news: who waits for the old one wakes once
        self._streams = 0
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def start(self, _app: web.Application) -> None:
        """Begins to listen."""
        self._task = asyncio.create_task(self._listen())

    async def end(self, _app: web.Application) -> None:
        """Lets every page go, so that a stop waits for none."""
        self._closing = True
        self._tell()

    async def close(self, _app: web.Application) -> None:
        """Ends listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self._streams >= MAX_STREAMS or self._closing:
            return web.Response(status=503, headers={"Retry-After": "60", **self._headers})
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", **self._headers}
        )
        self._streams += 1
        try:
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(LIFE_S):
                    await response.prepare(request)
                    await self._feed(response)
        finally:
            self._streams -= 1
        return response

    async def _feed(self, response: web.StreamResponse) -> None:
        # Before the first word: what changes from here on is not missed by a page that reads it.
        heard = self._heard
        await response.write(b"retry: 2000\n\n")
        while not self._closing:
            try:
                async with asyncio.timeout(QUIET_S):
                    await heard.wait()
            except TimeoutError:
                await response.write(b":\n\n")
                continue
            heard = self._heard
            if not self._closing:
                await response.write(b"event: news\ndata:\n\n")

    async def _listen(self) -> None:
        while True:
            if await self._runtime.signals.wait(TOPIC, POLL_S):
                self._tell()
                await asyncio.sleep(NEWS_EVERY_S)

    def _tell(self) -> None:
        heard, self._heard = self._heard, asyncio.Event()
        heard.set()


NEWS = web.AppKey("console_news", News)


@access("console")
async def tell(request: web.Request) -> web.StreamResponse:
    """Tells one page of news until it goes, or for `LIFE_S`."""
    return await request.app[NEWS]._stream(request)
