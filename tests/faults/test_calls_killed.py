"""Calls to services from end to end: a real server, the Telegram simulator, a service that counts who asks; with the
server killed in the middle, the service down, and people who do not wait."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from bot import flow_store, secret_store
from config.bootstrap import App, build
from config.settings import Settings
from simulators.control import SimulatorControl
from tests.canary import CANARY_SECRET
from tests.faults import load
from tests.support.canary_server import CanaryServer, canary_server, plain
from tests.support.processes import Server, Simulators
from tests.support.run import Run
from tests.support.town import until

CASES = ("calls.before_request:1", "calls.after_answer:1")
PERSON = load.AUDIENCE.start
FLOW = """
flow: orders
languages: [it]
triggers: [{keyword: [ordine], interrupts: true}]
start: look_up
steps:
  look_up:
    http: http://127.0.0.1:PORT/orders/12
    method: METHOD
    headers: {Authorization: {secret: shop_key, prefix: "Bearer "}}
    save: {status: session.status}
    error: failed
    next: found
  found: {ask: text, text: "Il tuo ordine è {{ session.status }}. Altro?", save: session.more, next: thanks}
  thanks: {send: "Va bene: {{ session.more }}", next: end}
  failed: {send: Riprova più tardi, next: end}
"""
FOUND, MORE, FAILED = "Il tuo ordine è spedito. Altro?", "Va bene: ci siete?", "Riprova più tardi"


@dataclass
class Street:
    """The server, the network, and the service beside it."""

    server: Server
    control: SimulatorControl
    canary: CanaryServer

    async def start(self, crash_at: str = "") -> Any:
        child = await self.server.start(crash_at=crash_at)

        async def registered() -> bool:
            return bool((await self.control.counters()).get("telegram.calls.setWebhook.200"))

        await until(registered, "the platform knows where to deliver")
        return child

    async def says(self, *words: str) -> None:
        for one in words:
            await self.control.telegram_act(load.BOT, PERSON, "say", text=one)

    async def said(self) -> list[str]:
        return [one["text"] for one in await self.control.messages_to(PERSON)]

    async def hears(self, *expected: str) -> None:
        """Exactly this was said, and nothing more."""

        async def complete() -> bool:
            return len(await self.said()) >= len(expected)

        await until(complete, f"{expected} is said")
        assert await self.said() == list(expected)


@asynccontextmanager
async def street(run: Run, tmp_path: Path, *, method: str = "GET") -> AsyncIterator[Street]:
    async with canary_server() as canary, Simulators(run, tmp_path, load.SEED) as simulators:
        canary.answers["/orders/12"] = plain(b'{"status": "spedito"}')
        folder = tmp_path / "data"
        await prepare(folder, FLOW.replace("PORT", str(canary.port)).replace("METHOD", method))
        settings = {"PASSAPAROLA_OUTGOING_ALLOW": f"127.0.0.1:{canary.port}"}
        async with Server(run, folder, simulators.origin, settings=settings) as server:
            yield Street(server, simulators.control, canary)


async def prepare(folder: Path, flow: str) -> None:
    """The data of a shop with a bot, the flow, and the key of its service."""
    await load.prepare_mirror(folder)
    settings = Settings(
        data_dir=folder, database_url=f"sqlite:///{folder / 'passaparola.sqlite3'}", _env_file=None
    )
    async with build(settings, roles=()) as app:
        await app.database.write(lambda connection: fill(connection, app, flow))


def fill(connection: Connection, app: App, flow: str) -> None:
    workspace_id = int(connection.execute(text("SELECT min(id) FROM workspace")).scalar_one())
    new_id, now = app.runtime.new_id, app.clock()
    secret_store.put(
        connection,
        workspace_id=workspace_id,
        name="shop_key",
        value=CANARY_SECRET,
        by="test",
        sealer=app.sealer,
        new_id=new_id,
        now=now,
    )
    flow_store.publish(
        connection, workspace_id=workspace_id, source=flow, name="orders", new_id=new_id, now=now
    )
    connection.execute(text("UPDATE flow SET state = 'archived' WHERE key = 'mirror'"))


async def test_a_flow_asks_a_service_and_goes_on(run: Run, tmp_path: Path) -> None:
    """What the person writes before the answer is there is heard after it."""
    async with street(run, tmp_path) as shop:
        await shop.start()
        await shop.says("ordine", "ci siete?")
        await shop.hears(FOUND, MORE)
        [asked] = shop.canary.asked
        assert asked.headers["authorization"] == f"Bearer {CANARY_SECRET}"


async def test_a_service_that_is_down_takes_the_error_exit(run: Run, tmp_path: Path) -> None:
    """At once, not after the call's time."""
    async with street(run, tmp_path) as shop:
        shop.server.environment["PASSAPAROLA_OUTGOING_ALLOW"] = ""
        await shop.start()
        await shop.says("ordine")
        await shop.hears(FAILED)
        assert shop.canary.hits == 0


@pytest.mark.parametrize("crash_at", CASES)
async def test_a_question_is_asked_again_after_a_crash(crash_at: str, run: Run, tmp_path: Path) -> None:
    """GET: whether it was asked or not, the person gets one answer, and what they wrote meanwhile comes after it."""
    async with street(run, tmp_path) as shop:
        child = await shop.start(crash_at)
        await shop.says("ordine", "ci siete?")
        assert await child.ended() == 137, child.printed[-4000:]
        asked_before = shop.canary.hits
        await shop.start()
        await shop.hears(FOUND, MORE)
        assert (asked_before, shop.canary.hits) == ((0, 1) if crash_at == CASES[0] else (1, 2))
        assert len({asked.headers["idempotency-key"] for asked in shop.canary.asked}) == 1


@pytest.mark.parametrize("crash_at", CASES)
async def test_an_order_is_never_placed_twice(crash_at: str, run: Run, tmp_path: Path) -> None:
    """POST: nobody knows whether it arrived, so the flow goes the way of an error."""
    async with street(run, tmp_path, method="POST") as shop:
        child = await shop.start(crash_at)
        await shop.says("ordine")
        assert await child.ended() == 137, child.printed[-4000:]
        asked_before = shop.canary.hits
        await shop.start()
        await shop.hears(FAILED)
        assert shop.canary.hits == asked_before == (0 if crash_at == CASES[0] else 1)
