"""WhatsApp within the whole application: control client, scripted people, seed, live stream, phone page."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from simulators import app as simulators_app
from simulators.control import SimulatorControl, SimulatorError
from simulators.seed import plant
from simulators.world import WORLD
from tests.simulators.whatsapp_shop import ACCOUNT, ANNA, NUMBER, TEXT_TEMPLATE, TOKEN, template_part

PHONE = Path(simulators_app.__file__).parent / "phone"
NUMBER_SPEC = {
    "phone_number_id": NUMBER,
    "business_account_id": ACCOUNT,
    "display_phone_number": "+15550100001",
    "access_token": TOKEN,
    "app_secret": "test-app-secret",
}


@asynccontextmanager
async def whole() -> AsyncIterator[tuple[SimulatorControl, web.Application]]:
    app = simulators_app.build_app(seed=7)
    async with TestServer(app) as server, SimulatorControl(str(server.make_url(""))) as sim:
        yield sim, app


async def send(sim: SimulatorControl, to: str, **parts: Any) -> str:
    """Send as the business → wamid."""
    body = {"messaging_product": "whatsapp", "to": to, **parts}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{sim.base_url}/v25.0/{NUMBER}/messages", json=body, headers=headers) as response,
    ):
        answer = await response.json()
        assert response.status == 200, answer
        return str(answer["messages"][0]["id"])


async def test_the_control_client_leads_a_conversation() -> None:
    """Number, person, message, answer, both sides in order, all over HTTP."""
    async with whole() as (sim, _):
        await sim.whatsapp_number(**NUMBER_SPEC)
        await sim.whatsapp_knobs(status_delay_ms=0)
        anna = await sim.whatsapp_person(phone=ANNA, name="Anna")
        await sim.whatsapp_act(NUMBER, anna, "say", text="ciao")
        wamid = await send(sim, ANNA, type="text", text={"body": "Hello"}, biz_opaque_callback_data="m1")
        entry = await sim.wait_for("message", network="whatsapp", to=anna)
        assert (entry["external_id"], entry["biz_opaque_callback_data"]) == (wamid, "m1")
        messages = await sim.whatsapp_messages(NUMBER, anna)
        assert [(one["direction"], one["text"]) for one in messages] == [("in", "ciao"), ("out", "Hello")]
        await sim.whatsapp_template(ACCOUNT, **TEXT_TEMPLATE)
        await sim.whatsapp_change_person(anna, on_whatsapp=False)
        lost = await send(
            sim, ANNA, type="template", template=template_part("order_update", "en_US", "Ann", "A-1")
        )
        await asyncio.sleep(0.05)
        last = (await sim.whatsapp_messages(NUMBER, anna))[-1]
        assert (last["external_id"], last["status"], last["error_code"]) == (lost, "failed", 131026)
        with pytest.raises(SimulatorError, match="number"):
            await sim.whatsapp_act("none", anna, "say", text="x")


async def test_scripted_people_walk_through_a_dialogue() -> None:
    """They say, wait for words and buttons, and tap; the business here answers by webhook."""

    async def shop(request: web.Request) -> web.Response:
        body = await request.json()
        for entry in body["entry"]:
            for change in entry["changes"]:
                for message in change["value"].get("messages", ()):
                    await answer(message)
        return web.Response()

    async def answer(message: dict[str, Any]) -> None:
        reply = {"type": "reply", "reply": {"id": "price", "title": "Prezzi"}}
        choice = {
            "type": "button",
            "body": {"text": "Che cosa ti interessa?"},
            "action": {"buttons": [reply]},
        }
        if message["type"] == "text":
            await send(sim, message["from"], type="interactive", interactive=choice)
        else:
            await send(sim, message["from"], type="text", text={"body": "Grazie!"})

    own = web.Application()
    own.router.add_post("/hook", shop)
    async with whole() as (sim, _), TestServer(own) as server:
        await sim.whatsapp_number(**NUMBER_SPEC, callback_url=str(server.make_url("/hook")))
        await sim.whatsapp_knobs(status_delay_ms=0)
        script: list[dict[str, Any]] = [
            {"do": "say", "text": "ciao {n}"},
            {"wait_for": {"button": "Prezzi"}, "do": "tap", "text": "prezzi"},
            {"wait_for": "grazie"},
        ]
        play = await sim.play("whatsapp", NUMBER, script, people=5)
        report = await sim.play_finished(play, timeout_s=10)
        assert (report["done"], report["failed"]) == (5, 0), report["failures"]
        await sim.whatsapp_webhooks_done()


async def test_a_seed_makes_numbers_people_and_templates() -> None:
    """What the demo starts with."""
    async with whole() as (sim, app):
        seed = {
            "numbers": [NUMBER_SPEC],
            "people": [{"phone": ANNA, "name": "Anna"}, {"name": "No number given"}],
            "templates": [{**TEXT_TEMPLATE, "business_account_id": ACCOUNT}],
            "knobs": {"status_delay_ms": 5},
        }
        plant(app[WORLD], {"whatsapp": seed})
        assert (await sim.call("GET", "/whatsapp/numbers"))["numbers"][0]["phone_number_id"] == NUMBER
        people = (await sim.call("GET", "/whatsapp/people"))["people"]
        assert [person["name"] for person in people] == ["Anna", "No number given"]
        assert people[1]["phone"].startswith("1555")
        assert (await sim.call("GET", "/whatsapp/templates"))["templates"][0]["status"] == "APPROVED"


async def test_the_live_stream_tells_the_phone_page() -> None:
    """said when the person wrote, typing, then message."""
    async with whole() as (sim, _), aiohttp.ClientSession() as session:
        await sim.whatsapp_number(**NUMBER_SPEC)
        await sim.whatsapp_knobs(status_delay_ms=0)
        anna = await sim.whatsapp_person(phone=ANNA, name="Anna")
        async with session.get(f"{sim.base_url}/sim/stream") as stream:
            said = await sim.whatsapp_act(NUMBER, anna, "say", text="ciao")
            body = {"messaging_product": "whatsapp", "status": "read", "message_id": said["external_id"]}
            headers = {"Authorization": f"Bearer {TOKEN}"}
            path = f"{sim.base_url}/v25.0/{NUMBER}/messages"
            async with session.post(
                path, json={**body, "typing_indicator": {"type": "text"}}, headers=headers
            ):
                pass
            await send(sim, ANNA, type="text", text={"body": "Hello"})
            kinds: list[str] = []
            while "message" not in kinds:
                line = (await asyncio.wait_for(stream.content.readline(), 5)).decode()
                if line.startswith("event: "):
                    kinds.append(line.removeprefix("event: ").strip())
                elif line.startswith("data: "):
                    assert json.loads(line.removeprefix("data: "))["network"] == "whatsapp"
        wanted = [kind for kind in kinds if kind in ("said", "typing", "message")]
        assert wanted == ["said", "typing", "message"]


# --- the phone page ---------------------------------------------------------------------------------------------------


async def test_the_phone_page_is_served_and_needs_nothing_from_elsewhere() -> None:
    """Every file it names is there; no address of another host stands in any of them."""
    async with whole() as (sim, _), aiohttp.ClientSession() as session:
        async with session.get(f"{sim.base_url}/") as response:
            assert response.status == 200
            page = await response.text()
        named = set(re.findall(r'(?:src|href)="(/[^"]+)"', page))
        assert named == {"/phone/phone.css", "/phone/phone.js"}
        for path in [*named, *(f"/phone/{file.name}" for file in PHONE.iterdir())]:
            async with session.get(f"{sim.base_url}{path}") as response:
                assert response.status == 200
                text = await response.text()
                assert not re.findall(r"""["'(]https?://[a-z0-9.]+""", text), path


def test_the_phone_page_says_everything_in_both_languages() -> None:
    """The same words in Italian and English, and no word asked for that is not there."""
    source = (PHONE / "words.js").read_text("utf-8")
    italian, english = source.split("\n  en: {", 1)

    def keys(text: str) -> set[str]:
        return set(re.findall(r'\b(\w+): "', text))

    assert keys(italian) == keys(english)
    files = [file.read_text("utf-8") for file in PHONE.iterdir() if file.suffix in (".js", ".html")]
    asked = {word for text in files for word in re.findall(r'(?:say\(|data-word=)"(\w+)"', text)}
    assert asked <= keys(italian)
    assert "innerHTML" not in "".join(text for text in files if "words" not in text)


async def test_a_file_on_the_phone_page_never_runs_there() -> None:
    """Media is shown from an address that a browser will not treat as a page of this origin."""
    async with whole() as (sim, _), aiohttp.ClientSession() as session:
        await sim.whatsapp_number(**NUMBER_SPEC)
        anna = await sim.whatsapp_person(phone=ANNA, name="Anna")
        html = {"mime_type": "text/html", "content_base64": "PHNjcmlwdD4="}
        await sim.whatsapp_act(NUMBER, anna, "media", kind="document", **html)
        media_id = (await sim.whatsapp_messages(NUMBER, anna))[0]["content"]["document"]["id"]
        async with session.get(f"{sim.base_url}/sim/whatsapp/media/{media_id}") as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Content-Security-Policy"] == "sandbox"
