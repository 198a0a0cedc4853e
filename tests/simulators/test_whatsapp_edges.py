"""Everything of the simulated Graph API that is not sending: media, fields, profile, QR links, blocking, resets."""

from __future__ import annotations

import functools
import hashlib
import io
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.simulators.whatsapp_shop import ACCOUNT, ANNA, APP, NUMBER, TOKEN, Shop, open_shop

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 100
BEARER = {"Authorization": f"Bearer {TOKEN}"}


async def upload(shop: Shop, data: bytes, mime_type: str) -> tuple[int, Any]:
    form = aiohttp.FormData()
    form.add_field("messaging_product", "whatsapp")
    form.add_field("type", mime_type)
    form.add_field("file", io.BytesIO(data), filename="file", content_type=mime_type)
    async with shop.session.post(
        f"{shop.origin}/v25.0/{NUMBER}/media", data=form, headers=BEARER
    ) as response:
        return response.status, await response.json()


async def test_uploaded_media_can_be_looked_up_sent_and_deleted() -> None:
    """An id, an address that needs the token and lives five minutes, and success on deletion."""
    async with open_shop() as shop:
        status, answer = await upload(shop, PNG, "image/png")
        assert status == 200
        media_id = answer["id"]
        _, shown = await shop.graph("GET", media_id, phone_number_id=NUMBER)
        assert shown["file_size"] == len(PNG)
        assert shown["sha256"] == hashlib.sha256(PNG).hexdigest()
        async with shop.session.get(shown["url"]) as response:
            assert response.status == 401
        async with shop.session.get(shown["url"], headers=BEARER) as response:
            assert (response.status, await response.read()) == (200, PNG)
        await shop.act("say", text="ciao")
        assert (await shop.send(type="image", image={"id": media_id, "caption": "here"}))[0] == 200
        await shop.after(301)
        async with shop.session.get(shown["url"], headers=BEARER) as response:
            assert response.status == 404
        assert await shop.graph("DELETE", media_id) == (200, {"success": True})
        assert (await shop.graph("GET", media_id))[0] == 400
        status, answer = await shop.send(type="image", image={"id": media_id})
        assert (status, answer["error"]["code"]) == (400, 131009)


async def test_media_ids_expire() -> None:
    """Uploaded ones after 30 days, received ones after 7."""
    async with open_shop() as shop:
        _, answer = await upload(shop, PNG, "image/png")
        await shop.act("media", kind="photo")
        await shop.until(lambda: shop.receiver.items("messages"))
        received = shop.receiver.items("messages")[0]["image"]["id"]
        await shop.after(6.9 * 24 * 3600)
        assert (await shop.graph("GET", received))[0] == 200
        await shop.after(0.2 * 24 * 3600)
        assert (await shop.graph("GET", received))[0] == 400
        assert (await shop.graph("GET", answer["id"]))[0] == 200
        await shop.after(24 * 24 * 3600)
        assert (await shop.graph("GET", answer["id"]))[0] == 400


@pytest.mark.parametrize(
    ("data", "mime_type"),
    [(b"", "image/png"), (b"x" * (5 * 1024 * 1024 + 1), "image/png"), (b"x" * 512_001, "image/webp")],
)
async def test_media_past_the_limits_are_refused(data: bytes, mime_type: str) -> None:
    """131053 for an empty file, an image over 5 MB, a sticker over 500 KB."""
    async with open_shop() as shop:
        status, answer = await upload(shop, data, mime_type)
        assert (status, answer["error"]["code"]) == (400, 131053)


async def test_received_media_comes_with_a_direct_address() -> None:
    """The webhook's url works for five minutes, with the token; the hash is base64 of the same bytes."""
    async with open_shop() as shop:
        await shop.act("media", kind="document", name="menu.pdf", content_base64="JVBERi0xLjQ=")
        await shop.until(lambda: shop.receiver.items("messages"))
        part = shop.receiver.items("messages")[0]["document"]
        assert (part["filename"], part["mime_type"]) == ("menu.pdf", "application/pdf")
        async with shop.session.get(part["url"], headers=BEARER) as response:
            assert await response.read() == b"%PDF-1.4"


async def test_a_media_link_is_fetched_and_can_fail_later() -> None:
    """Reachable and of the right kind: delivered. Missing or of another kind: failed 131053."""
    hits: list[str] = []

    async def file(request: web.Request) -> web.Response:
        hits.append(request.path)
        if request.path == "/good.png":
            return web.Response(body=PNG, content_type="image/png")
        if request.path == "/bad.txt":
            return web.Response(text="no picture")
        return web.Response(status=404)

    own = web.Application()
    own.router.add_get("/{name}", file)
    async with open_shop() as shop, TestServer(own) as server:
        await shop.act("say", text="ciao")
        await shop.knobs(status_delay_ms=0)
        ends = {}
        for name in ("good.png", "bad.txt", "gone.png", "good.png"):
            _, answer = await shop.send(type="image", image={"link": str(server.make_url(f"/{name}"))})
            wamid = answer["messages"][0]["id"]
            await shop.after(1)
            await shop.until(functools.partial(shop.receiver.statuses, wamid))
            last = [item for item in shop.receiver.items("statuses") if item["id"] == wamid][-1]
            ends[name] = last["errors"][0]["code"] if "errors" in last else last["status"]
        assert ends == {"good.png": "read", "bad.txt": 131053, "gone.png": 131053}
        # The result of a link is remembered for ten minutes.
        assert hits.count("/good.png") == 1


async def test_the_fields_of_a_number() -> None:
    """A few by default, others by name, an unknown one refused."""
    async with open_shop() as shop:
        _, shown = await shop.graph("GET", NUMBER)
        assert set(shown) == {"id", "display_phone_number", "verified_name", "quality_rating"}
        fields = "throughput,messaging_limit_tier,name_status,code_verification_status,health_status,status"
        _, shown = await shop.graph("GET", NUMBER, fields=fields)
        assert shown["throughput"] == {"level": "STANDARD"}
        assert shown["messaging_limit_tier"] == "TIER_2K"
        status, answer = await shop.graph("GET", NUMBER, fields="colour")
        assert (status, answer["error"]["code"]) == (400, 100)
        _, page = await shop.graph("GET", f"{ACCOUNT}/phone_numbers")
        assert [one["id"] for one in page["data"]] == [NUMBER]
        _, account = await shop.graph("GET", ACCOUNT, fields="name,whatsapp_business_manager_messaging_limit")
        assert account["whatsapp_business_manager_messaging_limit"] == "TIER_2K"


async def test_quality_and_tier_events_change_the_fields() -> None:
    """The webhook tells what a later look at the fields shows."""
    async with open_shop() as shop:
        await shop.control("events", {"number": NUMBER, "event": "quality", "quality": "RED"})
        await shop.control("events", {"number": NUMBER, "event": "tier", "limit": "TIER_10K"})
        await shop.until(lambda: len(shop.receiver.values()) == 3)
        values = [value for field, value in shop.receiver.values() if field == "phone_number_quality_update"]
        assert [value["event"] for value in values] == ["FLAGGED", "UPGRADE"]
        assert (values[1]["old_limit"], values[1]["current_limit"]) == ("TIER_2K", "TIER_10K")
        capability = next(
            value for field, value in shop.receiver.values() if field == "business_capability_update"
        )
        assert capability["max_daily_conversations_per_business"] == 10000
        _, shown = await shop.graph("GET", NUMBER, fields="quality_rating,messaging_limit_tier")
        assert (shown["quality_rating"], shown["messaging_limit_tier"]) == ("RED", "TIER_10K")


async def test_profile_links_commands_and_names_are_kept() -> None:
    """Plain create, read, change and delete with the documented limits."""
    async with open_shop() as shop:
        profile = {"messaging_product": "whatsapp", "about": "Wines", "websites": ["https://example.com"]}
        assert (await shop.graph("POST", f"{NUMBER}/whatsapp_business_profile", profile))[0] == 200
        _, shown = await shop.graph("GET", f"{NUMBER}/whatsapp_business_profile")
        assert shown["data"][0]["about"] == "Wines"
        long = {**profile, "about": "x" * 140}
        assert (await shop.graph("POST", f"{NUMBER}/whatsapp_business_profile", long))[0] == 400

        _, link = await shop.graph(
            "POST", f"{NUMBER}/message_qrdls", {"prefilled_message": "Hi (ref: spring)"}
        )
        assert link["deep_link_url"] == f"https://wa.me/message/{link['code']}"
        await shop.graph(
            "POST", f"{NUMBER}/message_qrdls", {"code": link["code"], "prefilled_message": "Hello"}
        )
        _, listed = await shop.graph("GET", f"{NUMBER}/message_qrdls")
        assert [one["prefilled_message"] for one in listed["data"]] == ["Hello"]
        assert (await shop.graph("DELETE", f"{NUMBER}/message_qrdls/{link['code']}"))[1] == {"success": True}

        automation = {
            "prompts": ["Prices?"],
            "commands": [{"command_name": "hours", "command_description": "When"}],
        }
        assert (await shop.graph("POST", f"{NUMBER}/conversational_automation", automation))[0] == 200
        _, shown = await shop.graph("GET", NUMBER, fields="conversational_automation")
        assert shown["conversational_automation"]["prompts"] == ["Prices?"]
        many = {"prompts": ["?"] * 5}
        assert (await shop.graph("POST", f"{NUMBER}/conversational_automation", many))[0] == 400

        assert (await shop.graph("POST", f"{NUMBER}/username", {"username": "bottega"}))[0] == 200
        assert (await shop.graph("GET", f"{NUMBER}/username"))[1]["username"] == "bottega"
        assert (await shop.graph("POST", NUMBER, {"pin": "12"}))[0] == 400
        assert (await shop.graph("POST", NUMBER, {"pin": "123456"}))[0] == 200
        status, answer = await shop.graph("POST", f"{NUMBER}/register", {"pin": "000000"})
        assert (status, answer["error"]["code"]) == (400, 133005)


async def test_blocked_people_are_not_heard() -> None:
    """Only who wrote within 24 hours can be blocked; then nothing of theirs arrives until unblocked."""
    async with open_shop() as shop:
        body = {"messaging_product": "whatsapp", "block_users": [{"user": f"+{ANNA}"}]}
        _, answer = await shop.graph("POST", f"{NUMBER}/block_users", body)
        assert "failed_users" in answer["block_users"]
        await shop.act("say", text="one")
        _, answer = await shop.graph("POST", f"{NUMBER}/block_users", body)
        assert answer["block_users"] == {"added_users": [{"input": f"+{ANNA}", "wa_id": ANNA}]}
        await shop.act("say", text="two")
        await shop.graph("DELETE", f"{NUMBER}/block_users", body)
        await shop.act("say", text="three")
        await shop.until(lambda: len(shop.receiver.items("messages")) == 2)
        assert [item["text"]["body"] for item in shop.receiver.items("messages")] == ["one", "three"]


async def test_a_resumable_upload_gives_a_handle() -> None:
    """Session, then the bytes, then `h` for a template's sample."""
    async with open_shop() as shop:
        _, session = await shop.graph(
            "POST",
            f"{APP}/uploads",
            None,
            file_length=str(len(PNG)),
            file_type="image/png",
            file_name="a.png",
        )
        assert session["id"].startswith("upload:")
        headers = {"Authorization": f"OAuth {TOKEN}", "file_offset": "0"}
        async with shop.session.post(
            f"{shop.origin}/v25.0/{session['id']}", data=PNG, headers=headers
        ) as response:
            assert response.status == 200
            assert (await response.json())["h"].startswith("4::")


async def test_calls_have_names_in_the_log() -> None:
    """The edge; read, change and delete for the object itself, whatever its id."""
    async with open_shop() as shop:
        await shop.graph("GET", NUMBER)
        await shop.graph("POST", NUMBER, {"pin": "123456"})
        await shop.graph("GET", "debug_token", input_token=TOKEN)
        await shop.graph("GET", f"{ACCOUNT}/phone_numbers")
        assert [entry["method"] for entry in shop.log("call")] == [
            "read",
            "change",
            "debug_token",
            "phone_numbers",
        ]


async def test_bodies_that_are_no_json_and_unknown_paths_are_refused() -> None:
    """Always the error envelope, never a stack trace."""
    async with open_shop() as shop:
        url = f"{shop.origin}/v25.0/{NUMBER}/messages"
        for raw in (b"{", b"[1]", b"null", b"\xff"):
            async with shop.session.post(
                url, data=raw, headers={**BEARER, "Content-Type": "application/json"}
            ) as response:
                assert response.status == 400
                assert (await response.json())["error"]["code"] == 100
        assert (await shop.graph("POST", f"{NUMBER}/hologram", {}))[0] == 400
        assert (await shop.graph("PUT", f"{NUMBER}/messages", {}))[0] == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("people", {"phone": f"+{ANNA}"}),
        ("knobs", {"colour": 1}),
        ("knobs", {"duplicate_p": 2}),
        ("knobs", {"window_check": "never"}),
        ("act", {"number": NUMBER, "person": "nobody", "do": "say", "text": "x"}),
        ("act", {"number": NUMBER, "person": ANNA, "do": "dance"}),
        ("act", {"number": NUMBER, "person": ANNA, "do": "tap", "button": "none"}),
        ("numbers", {"phone_number_id": "1"}),
        ("templates", {"business_account_id": "none"}),
        ("events", {"event": "quality"}),
    ],
)
async def test_control_requests_without_sense_are_explained(path: str, body: dict[str, Any]) -> None:
    """4xx with a sentence that names what is wrong."""
    async with (
        open_shop() as shop,
        shop.session.post(f"{shop.origin}/sim/whatsapp/{path}", json=body) as response,
    ):
        assert 400 <= response.status < 500
        assert (await response.json())["error"]


async def test_many_people_are_made_at_once() -> None:
    """`count` people with numbers one after the other."""
    async with open_shop() as shop:
        assert (await shop.control("people", {"phone": "+15550300001", "name": "Load", "count": 1000}))[
            "id"
        ] == "15550300001"
        assert shop.network.need_person("15550301000").name == "Load 1000"
