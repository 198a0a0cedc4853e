"""Open pages of the console are told to look again, whichever process changed something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from console import live
from console.live import NEWS, TOPIC, News
from storage.signals import Signals
from storage.signals.local import LocalSignals
from storage.signals.redis import RedisSignals
from tests.support.shop import Shop
from tests.support.town import until


@pytest.fixture
async def shop(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with Shop(sqlite_url, tmp_path) as shop:
        yield shop


async def news(answer: aiohttp.ClientResponse) -> bytes:
    """What the stream says next, comments left out."""
    async with asyncio.timeout(20):
        while True:
            said = await answer.content.readuntil(b"\n\n")
            if not said.startswith(b":"):
                return said


async def test_a_page_is_told_of_news_and_of_nothing_else(shop: Shop) -> None:
    """The event carries no word: what changed is read by the page itself."""
    browser = await shop.sign_in("viewer")
    async with browser, browser.get("/console/live") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Content-Security-Policy" in answer.headers
        assert await news(answer) == b"retry: 2000\n\n"
        shop.runtime.signals.notify(TOPIC)
        assert await news(answer) == b"event: news\ndata:\n\n"


async def test_only_who_is_signed_in_is_told(shop: Shop) -> None:
    async with shop.client.get("/console/live", allow_redirects=False) as answer:
        assert answer.status == 303
        assert answer.headers["Location"] == "/console/sign-in"


async def test_past_the_limit_pages_look_by_themselves(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page more than the process keeps is told to come back; one that goes makes room."""
    monkeypatch.setattr(live, "MAX_STREAMS", 1)
    browser = await shop.sign_in("viewer")
    async with browser:
        async with browser.get("/console/live") as first:
            await news(first)
            async with browser.get("/console/live") as second:
                assert second.status == 503
                assert second.headers["Retry-After"]
            first.close()

        async def room() -> bool:
            shop.runtime.signals.notify(TOPIC)  # the server notices at its next word that nobody is there
            async with browser.get("/console/live") as third:
                return third.status == 200

        await until(room, "room for a page")


async def test_a_stream_ends_after_its_time(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The browser asks anew, and a session that has ended is noticed."""
    monkeypatch.setattr(live, "LIFE_S", 0.1)
    browser = await shop.sign_in("viewer")
    async with browser, browser.get("/console/live") as answer:
        async with asyncio.timeout(20):
            assert await answer.content.read() == b"retry: 2000\n\n"


async def test_a_stop_waits_for_no_page(shop: Shop) -> None:
    """Open pages are let go at once."""
    browser = await shop.sign_in("viewer")
    async with browser, browser.get("/console/live") as answer:
        await news(answer)
        server = shop._server
        assert server is not None
        async with asyncio.timeout(5):
            await server.close()


Make = Callable[[], Signals]


@pytest.fixture(params=["one process", "two processes and a Redis"])
def processes(request: pytest.FixtureRequest) -> tuple[Make, Make]:
    """How the process that changes something and the one with the console get their signals."""
    if request.param == "one process":
        same = LocalSignals()
        return lambda: same, lambda: same
    url = request.getfixturevalue("redis_url")
    return lambda: RedisSignals(url), lambda: RedisSignals(url)


async def test_news_from_another_process_reaches_the_page(shop: Shop, processes: tuple[Make, Make]) -> None:
    """The worker of another process handled an event: the console of this one tells its pages."""
    worker, here = processes[0](), processes[1]()
    app = web.Application()
    told = app[NEWS] = News(replace(shop.runtime, signals=here), {})
    app.router.add_get("/live", live.tell)
    app.on_startup.append(told.start)
    app.on_shutdown.append(told.end)
    app.on_cleanup.append(told.close)
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession() as browser,
        browser.get(server.make_url("/live")) as answer,
    ):
        await news(answer)
        heard = asyncio.ensure_future(news(answer))

        async def arrives() -> bool:
            worker.notify(TOPIC)  # again and again: who listens only now has missed what was said before
            await asyncio.wait([heard], timeout=0.05)
            return heard.done()

        await until(arrives, "news from the other process")
        assert await heard == b"event: news\ndata:\n\n"
    await worker.close()
    await here.close()
