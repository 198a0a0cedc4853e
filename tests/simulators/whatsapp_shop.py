"""A small shop on the simulated WhatsApp for the tests: one number, its token, and a receiver of its webhooks."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from simulators import whatsapp
from simulators.clock import Clock
from simulators.whatsapp.network import WhatsApp
from simulators.wire import Handler
from simulators.world import WORLD, ControlError, World

NUMBER, ACCOUNT, APP = "106540352240001", "102290129340001", "900100200300"
TOKEN, SECRET, VERIFY = "EAAG-TEST-token", "test-app-secret", "test-verify"
SHOP_PHONE = "15550100001"
ANNA = "447700900123"
START = 1_790_000_000.0  # September 2026: before free-form messages are charged


@web.middleware
async def refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """ControlError as the whole application words it."""
    try:
        return await handler(request)
    except ControlError as error:
        return web.json_response({"error": str(error)}, status=error.status)


class Receiver:
    """What the shop's server would be: keeps raw bodies, answers as the test wants."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.raw: list[tuple[bytes, str]] = []
        self.answers: list[int] = []
        self.verify_token = VERIFY
        self.url = ""

    async def handshake(self, request: web.Request) -> web.Response:
        if request.query.get("hub.verify_token") != self.verify_token:
            return web.Response(status=403)
        return web.Response(text=request.query["hub.challenge"])

    async def receive(self, request: web.Request) -> web.Response:
        raw = await request.read()
        self.raw.append((raw, request.headers.get("X-Hub-Signature-256", "")))
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            self.bodies.append(json.loads(raw))
        return web.Response(status=status)

    def values(self) -> list[tuple[str, dict[str, Any]]]:
        """(field, value) of every change, in the order of arrival."""
        return [
            (change["field"], change["value"])
            for body in self.bodies
            for entry in body["entry"]
            for change in entry["changes"]
        ]

    def items(self, kind: str) -> list[dict[str, Any]]:
        """All elements of `messages`, `statuses`, … in the order of arrival."""
        return [item for _, value in self.values() for item in value.get(kind, [])]

    def statuses(self, wamid: str) -> list[str]:
        return [item["status"] for item in self.items("statuses") if item["id"] == wamid]


class Shop:
    """The simulator, its control routes and the receiver in one hand."""

    def __init__(self, world: World, session: aiohttp.ClientSession, origin: str, receiver: Receiver) -> None:
        self.world = world
        self.session = session
        self.origin = origin
        self.receiver = receiver
        network = world.networks["whatsapp"]
        assert isinstance(network, WhatsApp)
        self.network = network

    async def graph(
        self, verb: str, path: str, body: Any = None, *, token: str | None = TOKEN, **query: str
    ) -> tuple[int, Any]:
        """One call of the Graph API → (HTTP status, JSON)."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"{self.origin}/v25.0/{path}"
        async with self.session.request(verb, url, json=body, params=query, headers=headers) as response:
            return response.status, await response.json()

    async def send(self, to: str = ANNA, **parts: Any) -> tuple[int, Any]:
        """`send(type="text", text={"body": "Hi"})`; `to` may be overridden by `recipient`."""
        body: dict[str, Any] = {"messaging_product": "whatsapp", **parts}
        if "recipient" not in body:
            body["to"] = to
        return await self.graph("POST", f"{NUMBER}/messages", body)

    async def say_hello(self, to: str = ANNA, text: str = "Hello", **parts: Any) -> str:
        """Send a text that must be accepted → wamid."""
        status, answer = await self.send(to, type="text", text={"body": text}, **parts)
        assert status == 200, answer
        return str(answer["messages"][0]["id"])

    async def control(self, path: str, body: Any) -> Any:
        async with self.session.post(f"{self.origin}/sim/whatsapp/{path}", json=body) as response:
            answer = await response.json()
            assert response.status == 200, answer
            return answer

    async def act(self, do: str, person: str = ANNA, **details: Any) -> Any:
        return await self.control("act", {"number": NUMBER, "person": person, "do": do, **details})

    async def knobs(self, **knobs: Any) -> None:
        await self.control("knobs", knobs)

    async def until(self, holds: Callable[[], object], timeout_s: float = 5.0) -> None:
        """Wait in real time for what real sockets bring."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline, f"waited {timeout_s} s in vain"
            await asyncio.sleep(0.005)

    async def after(self, seconds: float) -> None:
        await self.world.clock.advance(seconds)

    def log(self, kind: str) -> list[dict[str, Any]]:
        return self.world.log.read(limit=100_000, kind=kind)[1]


@asynccontextmanager
async def open_shop(*, seed: int = 1, at: float = START, **number: Any) -> AsyncIterator[Shop]:
    """A shop with its number made, its callback set, Anna on WhatsApp, and a virtual clock."""
    receiver = Receiver()
    own = web.Application(client_max_size=4 * 1024 * 1024)  # a batch may have 3 MB
    own.router.add_get("/hook", receiver.handshake)
    own.router.add_post("/hook", receiver.receive)
    world = World(clock=Clock(at=at), seed=seed)
    app = web.Application(client_max_size=64 * 1024 * 1024, middlewares=[refusals])
    app[WORLD] = world
    whatsapp.attach(app, world)
    async with TestServer(own) as own_server, TestServer(app) as server, aiohttp.ClientSession() as session:
        receiver.url = str(own_server.make_url("/hook"))
        world.origin = str(server.make_url("")).rstrip("/")
        shop = Shop(world, session, world.origin, receiver)
        spec = {
            "phone_number_id": NUMBER,
            "business_account_id": ACCOUNT,
            "app_id": APP,
            "display_phone_number": f"+{SHOP_PHONE}",
            "access_token": TOKEN,
            "app_secret": SECRET,
            "callback_url": receiver.url,
            "verify_token": VERIFY,
        }
        await shop.control("numbers", {**spec, **number})
        await shop.control("people", {"phone": f"+{ANNA}", "name": "Anna Esempio"})
        try:
            yield shop
        finally:
            await world.close()


def signature_of(raw: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()


TEXT_TEMPLATE: dict[str, Any] = {
    "name": "order_update",
    "language": "en_US",
    "category": "UTILITY",
    "components": [
        {
            "type": "BODY",
            "text": "Hi {{1}}, order {{2}} ships today.",
            "example": {"body_text": [["Ann", "A-1"]]},
        },
        {"type": "FOOTER", "text": "Reply STOP to opt out"},
    ],
}
PROMO_TEMPLATE: dict[str, Any] = {
    "name": "spring_offer",
    "language": "it",
    "category": "MARKETING",
    "parameter_format": "named",
    "components": [
        {
            "type": "BODY",
            "text": "Ciao {{first_name}}, abbiamo una novità per te.",
            "example": {"body_text_named_params": [{"param_name": "first_name", "example": "Anna"}]},
        },
        {
            "type": "BUTTONS",
            "buttons": [
                {"type": "QUICK_REPLY", "text": "Basta"},
                {
                    "type": "URL",
                    "text": "Apri",
                    "url": "https://example.com/{{1}}",
                    "example": ["https://example.com/a"],
                },
            ],
        },
    ],
}


def template_part(name: str, language: str, *texts: str) -> dict[str, Any]:
    """The `template` part of a send with positional body parameters."""
    parameters = [{"type": "text", "text": text} for text in texts]
    components = [{"type": "body", "parameters": parameters}] if parameters else []
    return {"name": name, "language": {"code": language}, "components": components}


def promo_part(first_name: str = "Anna") -> dict[str, Any]:
    """The `template` part for PROMO_TEMPLATE."""
    stop = {"type": "payload", "payload": "stop:1"}
    return {
        "name": "spring_offer",
        "language": {"code": "it"},
        "components": [
            {"type": "body", "parameters": [{"type": "text", "parameter_name": "first_name", "text": first_name}]},
            {"type": "button", "sub_type": "quick_reply", "index": "0", "parameters": [stop]},
            {"type": "button", "sub_type": "url", "index": 1, "parameters": [{"type": "text", "text": "x1"}]},
        ],
    }  # fmt: skip
