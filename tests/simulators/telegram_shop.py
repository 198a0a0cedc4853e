"""A small shop on the simulated Telegram for the tests: the whole server, one bot, and a receiver of its webhooks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from telegram import Bot
from telegram.error import TimedOut
from telegram.request import BaseRequest, RequestData

from simulators.app import build_app
from simulators.clock import Clock
from simulators.control import SimulatorControl
from simulators.telegram.network import Telegram
from simulators.world import WORLD, World

TOKEN = "110201543:TEST-shop"
ANNA = 1111111
START = 1_790_000_000.0

Json = dict[str, Any]
Answer = Callable[[Json], Awaitable[web.StreamResponse]]


class AiohttpRequest(BaseRequest):
    """python-telegram-bot's transport over aiohttp, so that its Bot is an independent client here."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    @property
    def read_timeout(self) -> float | None:
        return 30.0

    async def initialize(self) -> None:
        self._session = self._session or aiohttp.ClientSession()

    async def shutdown(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def do_request(
        self,
        url: str,
        method: str,
        request_data: RequestData | None = None,
        *_: Any,
        **__: Any,
    ) -> tuple[int, bytes]:
        assert self._session is not None
        form: aiohttp.FormData | dict[str, str] | None = None
        if request_data is not None and request_data.multipart_data:
            form = aiohttp.FormData()
            for name, value in request_data.json_parameters.items():
                form.add_field(name, value)
            for name, (filename, content, mime_type) in request_data.multipart_data.items():
                form.add_field(name, content, filename=filename, content_type=mime_type)
        elif request_data is not None:
            form = request_data.json_parameters
        try:
            async with self._session.request(method, url, data=form) as response:
                return response.status, await response.read()
        except TimeoutError as error:
            raise TimedOut from error


class Receiver:
    """What the shop's server would be: keeps the updates, answers what the test wants (200 unless told otherwise)."""

    def __init__(self) -> None:
        self.updates: list[Json] = []
        self.tries: list[Json] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Answer | None = None
        self.url = ""

    async def receive(self, request: web.Request) -> web.StreamResponse:
        update = await request.json()
        self.tries.append(update)
        self.headers.append(dict(request.headers))
        response: web.StreamResponse = web.Response()
        if self.answer is not None:
            response = await self.answer(update)
        if 200 <= response.status < 300:
            self.updates.append(update)
        return response

    def texts(self) -> list[str]:
        return [update["message"]["text"] for update in self.updates if "message" in update]


class Shop:
    """The simulator, its control client, the receiver and the bot in one hand."""

    def __init__(self, world: World, origin: str, sim: SimulatorControl, receiver: Receiver) -> None:
        self.world = world
        self.origin = origin
        self.sim = sim
        self.receiver = receiver
        self.session = aiohttp.ClientSession()
        network = world.networks["telegram"]
        assert isinstance(network, Telegram)
        self.network = network

    async def raw(self, method: str, params: Json | None = None, *, token: str = TOKEN) -> tuple[int, Json]:
        """One call with a JSON body → (HTTP status, answer)."""
        async with self.session.post(f"{self.origin}/bot{token}/{method}", json=params or {}) as response:
            answer: Json = await response.json()
            assert answer.get("error_code", response.status) == response.status
            return response.status, answer

    async def call(self, method: str, **params: Any) -> Any:
        """One call that must succeed → its result."""
        status, answer = await self.raw(method, params)
        assert status == 200, answer
        return answer["result"]

    async def refused(self, method: str, **params: Any) -> str:
        """One call that must fail → "400 Bad Request: …"."""
        status, answer = await self.raw(method, params)
        assert not answer["ok"], answer
        return f"{status} {answer['description']}"

    async def act(self, do: str, person: int = ANNA, **details: Any) -> list[int]:
        return await self.sim.telegram_act(TOKEN, person, do, **details)

    async def updates(self, **params: Any) -> list[Json]:
        """All updates that wait, confirmed at once."""
        await self.after(4)  # asking again at once is answered with one update only
        found: list[Json] = await self.call("getUpdates", **params)
        if found:
            self.network.bots[TOKEN].updates.clear()
        return found

    async def webhook(self, **params: Any) -> None:
        await self.call("setWebhook", url=self.receiver.url, **params)

    async def until(self, holds: Callable[[], object], timeout_s: float = 5.0) -> None:
        """Wait in real time for what real sockets bring."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline, f"waited {timeout_s} s in vain"
            await asyncio.sleep(0.005)

    async def after(self, seconds: float) -> None:
        await self.world.clock.advance(seconds)

    def log(self, kind: str) -> list[Json]:
        return self.world.log.read(limit=100_000, network="telegram", kind=kind)[1]

    def client(self) -> Bot:
        """python-telegram-bot's Bot, pointed here."""
        return Bot(
            TOKEN,
            base_url=f"{self.origin}/bot",
            base_file_url=f"{self.origin}/file/bot",
            request=AiohttpRequest(),
            get_updates_request=AiohttpRequest(),
        )


@asynccontextmanager
async def open_shop(
    *, virtual: bool = True, limits: bool = False, started: bool = True
) -> AsyncIterator[Shop]:
    """A running simulator with the bot and Anna, who has pressed Start; nothing waits to be fetched."""
    receiver = Receiver()
    hook = web.Application()
    hook.router.add_post("/hook", receiver.receive)
    hook_server = TestServer(hook)
    await hook_server.start_server(access_log=None)
    receiver.url = str(hook_server.make_url("/hook"))
    app = build_app(clock=Clock(START) if virtual else None, seed=7)
    server = TestServer(app)
    await server.start_server(access_log=None)
    origin = str(server.make_url("")).rstrip("/")
    async with SimulatorControl(origin) as sim:
        shop = Shop(app[WORLD], origin, sim, receiver)
        await sim.limits("telegram", enabled=limits)
        await sim.telegram_bot(TOKEN, name="Shop", username="shop_example_bot")
        await sim.telegram_person(
            id=ANNA, first_name="Ann", last_name="Lee", username="annlee", language_code="en"
        )
        if started:
            await shop.act("start")
            shop.network.bots[TOKEN].updates.clear()
        try:
            yield shop
        finally:
            await shop.session.close()
            await server.close()
            await hook_server.close()
