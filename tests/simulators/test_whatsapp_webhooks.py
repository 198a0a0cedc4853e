"""How the simulated WhatsApp tells a business: handshake, signature, retries, order, company, addresses."""

from __future__ import annotations

import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from simulators.whatsapp.webhooks import RETRY_DELAYS_S, encode, sign
from tests.simulators.whatsapp_shop import (
    ACCOUNT,
    ANNA,
    APP,
    NUMBER,
    TOKEN,
    VERIFY,
    Receiver,
    open_shop,
    signature_of,
)


def test_the_signature_is_that_of_the_published_example() -> None:
    """HMAC-SHA256 with the app secret over the raw bytes."""
    raw = b'{"object":"whatsapp_business_account","entry":[]}'
    assert (
        sign("testsecret", raw) == "sha256=9b2d8b19c705a607026e5f0cc6d90279cb03844286e03d40b296d99c9a3a9504"
    )


def test_bodies_are_escaped_so_that_only_raw_bytes_verify() -> None:
    """Non-ASCII as \\u escapes in lower case, slashes escaped; the same JSON for any parser."""
    raw = encode({"text": "perché no / 😀"})
    assert raw == b'{"text":"perch\\u00e9 no \\/ \\ud83d\\ude00"}'
    assert json.loads(raw) == {"text": "perché no / 😀"}


async def test_what_is_not_answered_200_is_repeated_until_it_is() -> None:
    """At once, then after ever longer waits, the same bytes each time; other updates are not held up."""
    async with open_shop() as shop:
        shop.receiver.answers = [500, 503, 404, 202]
        await shop.act("say", text="first")
        await shop.after(0.1)
        await shop.until(lambda: len(shop.receiver.raw) == 2)
        await shop.act("say", text="second")
        await shop.after(RETRY_DELAYS_S[1] - 0.2)
        assert len(shop.receiver.raw) == 4
        await shop.after(3600)
        await shop.until(lambda: len(shop.receiver.bodies) == 2)
        texts = [item["text"]["body"] for item in shop.receiver.items("messages")]
        assert sorted(texts) == ["first", "second"]
        firsts = {raw for raw, _ in shop.receiver.raw if b"first" in raw}
        assert len(firsts) == 1
        attempts = [entry["attempt"] for entry in shop.log("delivery") if entry["status"] != 200]
        assert max(attempts) >= 2


@pytest.mark.parametrize(("span_s", "name"), [(7 * 24 * 3600, "a week"), (36 * 3600, "36 hours")])
async def test_after_the_retry_span_it_gives_up(span_s: int, name: str) -> None:
    """Seven days by default, 36 hours by the other page of the documentation."""
    async with open_shop() as shop:
        await shop.knobs(retry_span_s=span_s)
        shop.receiver.answers = [500] * 1000
        await shop.act("say", text="lost")
        await shop.after(span_s + 24 * 3600)
        last = shop.log("delivery")[-1]
        assert last["error"] == "given up"
        tried = len(shop.receiver.raw)
        await shop.after(30 * 24 * 3600)
        assert len(shop.receiver.raw) == tried, name


async def test_a_callback_that_hangs_is_given_up_after_its_timeout() -> None:
    """The attempt counts as failed and is repeated."""
    hang = True
    seen: list[bytes] = []

    async def receive(request: web.Request) -> web.Response:
        seen.append(await request.read())
        if hang:
            await shop.world.clock.sleep(1000)
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", receive)
    async with open_shop() as shop, TestServer(app) as server:
        shop.network.state.apps[APP].callback_url = str(server.make_url("/hook"))
        await shop.act("say", text="ciao")
        await shop.until(lambda: seen)
        hang = False
        await shop.after(30)
        assert [entry["error"] for entry in shop.log("delivery")] == ["timeout", None]
        assert len(seen) == 2


async def test_knobs_repeat_and_reorder() -> None:
    """Every item twice; and each held back until one that came after it."""
    async with open_shop() as shop:
        await shop.act("say", text="ciao")
        await shop.knobs(status_delay_ms=1000, duplicate_p=1)
        wamid = await shop.say_hello()
        await shop.after(10)
        await shop.until(lambda: len(shop.receiver.statuses(wamid)) == 6)
        assert shop.receiver.statuses(wamid) == ["sent", "sent", "delivered", "delivered", "read", "read"]
        await shop.knobs(duplicate_p=0, status_delay_ms=10)
        shop.world.rng.seed(3)
        orders = set()
        await shop.knobs(reorder_p=0.5)
        for _ in range(12):
            wamid = await shop.say_hello()
            await shop.after(10)
            statuses = shop.receiver.statuses(wamid)
            assert sorted(statuses) == ["delivered", "read", "sent"]
            orders.add(tuple(statuses))
        assert len(orders) > 1


async def test_a_status_can_come_before_the_answer_to_its_send() -> None:
    """By the knob the `sent` status has been delivered when the send returns."""
    async with open_shop() as shop:
        await shop.act("say", text="ciao")
        await shop.knobs(status_before_response_p=1)
        wamid = await shop.say_hello()
        assert shop.receiver.statuses(wamid) == ["sent"]
        await shop.after(60)
        await shop.until(lambda: len(shop.receiver.statuses(wamid)) == 3)
        assert len(shop.log("message")) == 1


async def test_a_wrong_signature_can_be_asked_for() -> None:
    """What an attacker, or a changed app secret, would look like."""
    async with open_shop() as shop:
        await shop.knobs(bad_signature_p=1)
        await shop.act("say", text="ciao")
        await shop.until(lambda: shop.receiver.raw)
        raw, signature = shop.receiver.raw[0]
        assert signature.startswith("sha256=")
        assert signature != signature_of(raw)


async def test_a_batch_stays_under_a_thousand_items_and_three_megabytes() -> None:
    """1,200 items make two bodies by count; 2,000 long ones more by size."""
    async with open_shop() as shop:
        shop.network.set_limits({"enabled": False})
        await shop.knobs(batch_window_ms=1000)
        number, anna = shop.network.need_number(NUMBER), shop.network.need_person(ANNA)
        for index in range(1200):
            shop.network.acts.act(number, anna, {"do": "say", "text": f"{index}"})
        await shop.after(2)
        await shop.until(lambda: len(shop.receiver.items("messages")) == 1200)
        assert len(shop.receiver.bodies) == 2
        shop.receiver.raw.clear()
        for _ in range(900):
            shop.network.acts.act(number, anna, {"do": "say", "text": "è" * 4096})
        await shop.after(2)
        await shop.until(lambda: len(shop.receiver.items("messages")) == 2100, timeout_s=20)
        sizes = [len(raw) for raw, _ in shop.receiver.raw]
        assert len(sizes) > 1
        assert max(sizes) <= 3 * 1024 * 1024


# --- where to ---------------------------------------------------------------------------------------------------------


async def other_receiver() -> tuple[TestServer, Receiver]:
    receiver = Receiver()
    app = web.Application(client_max_size=4 * 1024 * 1024)
    app.router.add_get("/hook", receiver.handshake)
    app.router.add_post("/hook", receiver.receive)
    server = TestServer(app)
    await server.start_server()
    receiver.url = str(server.make_url("/hook"))
    return server, receiver


async def test_a_callback_is_saved_only_after_its_handshake() -> None:
    """Right challenge and token: saved and used. Wrong token: 400 code 2200, the old one stays."""
    async with open_shop() as shop:
        server, receiver = await other_receiver()
        try:
            path = f"{ACCOUNT}/subscribed_apps"
            wrong = {"override_callback_uri": receiver.url, "verify_token": "wrong"}
            status, answer = await shop.graph("POST", path, wrong)
            assert (status, answer["error"]["code"]) == (400, 2200)
            assert "403" in answer["error"]["message"]
            right = {"override_callback_uri": receiver.url, "verify_token": VERIFY}
            assert await shop.graph("POST", path, right) == (200, {"success": True})
            _, shown = await shop.graph("GET", path)
            assert shown["data"][0]["override_callback_uri"] == receiver.url
            await shop.act("say", text="ciao")
            await shop.until(lambda: receiver.bodies)
            assert shop.receiver.bodies == []
            raw, signature = receiver.raw[0]
            assert signature == signature_of(raw)
        finally:
            await server.close()


async def test_the_numbers_callback_goes_before_the_accounts_and_the_apps() -> None:
    """Set by `webhook_configuration`, taken away by an empty one."""
    async with open_shop() as shop:
        server, receiver = await other_receiver()
        try:
            configuration = {"override_callback_uri": receiver.url, "verify_token": VERIFY}
            assert (await shop.graph("POST", NUMBER, {"webhook_configuration": configuration}))[0] == 200
            await shop.act("say", text="one")
            await shop.until(lambda: receiver.bodies)
            _, fields = await shop.graph("GET", NUMBER, fields="webhook_configuration")
            assert fields["webhook_configuration"]["phone_number"] == receiver.url
            empty = {"override_callback_uri": "", "verify_token": ""}
            await shop.graph("POST", NUMBER, {"webhook_configuration": empty})
            await shop.act("say", text="two")
            await shop.until(lambda: shop.receiver.bodies)
        finally:
            await server.close()


async def test_without_a_subscription_nothing_is_told() -> None:
    """DELETE subscribed_apps ends it; messages are counted as untold; POST takes it up again."""
    async with open_shop() as shop:
        await shop.graph("DELETE", f"{ACCOUNT}/subscribed_apps")
        assert (await shop.graph("GET", f"{ACCOUNT}/subscribed_apps"))[1] == {"data": []}
        await shop.act("say", text="one")
        assert shop.world.log.counters["whatsapp.untold"] == 1
        await shop.graph("POST", f"{ACCOUNT}/subscribed_apps", {})
        await shop.act("say", text="two")
        await shop.until(lambda: shop.receiver.items("messages"))
        assert [item["text"]["body"] for item in shop.receiver.items("messages")] == ["two"]


async def test_the_app_gets_its_callback_by_subscription() -> None:
    """`POST /{app}/subscriptions` runs the handshake too."""
    async with open_shop() as shop:
        server, receiver = await other_receiver()
        try:
            spec = {
                "object": "whatsapp_business_account",
                "callback_url": receiver.url,
                "verify_token": VERIFY,
                "fields": "messages",
            }
            assert await shop.graph("POST", f"{APP}/subscriptions", spec) == (200, {"success": True})
            assert shop.network.state.apps[APP].callback_url == receiver.url
            assert shop.log("handshake")[-1]["ok"] is True
        finally:
            await server.close()


async def test_a_reset_silences_the_old_world() -> None:
    """Timers of before touch nothing of after."""
    async with open_shop() as shop:
        await shop.act("say", text="ciao")
        await shop.say_hello()
        shop.receiver.answers = [500] * 10
        await shop.until(lambda: shop.receiver.raw)
        clock = shop.world.clock
        await shop.world.reset()
        clock.go_virtual()
        seen = len(shop.receiver.raw)
        await clock.advance(7 * 24 * 3600)
        assert len(shop.receiver.raw) == seen
        assert shop.log("message") == []
        assert (await shop.graph("GET", NUMBER, token=TOKEN))[0] == 401
