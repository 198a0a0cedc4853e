"""The simulated Telegram delivers to webhooks by the official server's queue and retry rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web

from simulators.telegram.updates import KINDS
from tests.simulators.telegram_shop import ANNA, TOKEN, Json, Shop, open_shop


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with open_shop() as opened:
        yield opened


def deliveries(shop: Shop) -> list[Json]:
    return shop.log("delivery")


async def fail_always(status: int = 500, **headers: str) -> web.Response:
    return web.Response(status=status, headers=headers)


async def test_an_update_comes_with_the_secret_as_json(shop: Shop) -> None:
    """Content type and secret header, and the update leaves the queue on any 2xx."""

    async def answer(_: Json) -> web.Response:
        return web.Response(status=204)

    shop.receiver.answer = answer
    await shop.webhook(secret_token="s3cret_-")
    (update_id,) = await shop.act("say", text="ciao")
    await shop.until(lambda: shop.receiver.updates)
    assert shop.receiver.updates[0]["update_id"] == update_id
    assert shop.receiver.headers[0]["X-Telegram-Bot-Api-Secret-Token"] == "s3cret_-"
    assert shop.receiver.headers[0]["Content-Type"] == "application/json"
    await shop.until(lambda: deliveries(shop))
    assert (await shop.call("getWebhookInfo"))["pending_update_count"] == 0


async def test_a_failure_is_retried_at_once_then_after_2_4_8_seconds(shop: Shop) -> None:
    """Attempts of one update on the clock, until it succeeds."""

    async def answer(_: Json) -> web.Response:
        return web.Response(status=500 if len(shop.receiver.tries) < 6 else 200)

    shop.receiver.answer = answer
    start = shop.world.clock.now_ms()
    await shop.webhook()
    await shop.act("say", text="ciao")
    await shop.after(120)
    # The first two fall within one second; new connections are also limited to one per 2 s without a success.
    seconds = [(entry["at"] - start) / 1000 for entry in deliveries(shop)]
    assert seconds == [0, 2, 4, 8, 16, 32]
    assert [entry["attempt"] for entry in deliveries(shop)] == [1, 2, 3, 4, 5, 6]
    assert shop.receiver.texts() == ["ciao"]
    info = await shop.call("getWebhookInfo")
    assert info["last_error_message"] == "Wrong response from the webhook: 500 Internal Server Error"


async def test_the_pause_between_retries_never_exceeds_two_minutes(shop: Shop) -> None:
    """From 64 s on the pause is a random one of 60 to 120 s."""
    shop.receiver.answer = lambda _: fail_always()
    await shop.webhook()
    await shop.act("say", text="ciao")
    await shop.after(1500)
    times = [entry["at"] / 1000 for entry in deliveries(shop)]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert all(60 <= pause <= 120 for pause in pauses[7:])
    assert len(pauses) > 12


@pytest.mark.parametrize(("given", "pause"), [("17", 17), ("0", 2), ("99999", 3600), ("-5", 2)])
async def test_retry_after_of_the_answer_is_obeyed_within_an_hour(shop: Shop, given: str, pause: int) -> None:
    """Clamped to 0..3600 s; a pause of 0 still waits for the next connection, 2 s after the last."""

    async def answer(_: Json) -> web.Response:
        if len(shop.receiver.tries) == 1:
            return web.Response(status=503, headers={"Retry-After": given})
        return web.Response()

    shop.receiver.answer = answer
    await shop.webhook()
    await shop.act("say", text="ciao")
    await shop.after(4000)
    first, second = (entry["at"] / 1000 for entry in deliveries(shop))
    assert second - first == pause


async def test_a_redirect_is_a_failure(shop: Shop) -> None:
    """301 is not followed."""

    async def answer(_: Json) -> web.Response:
        return web.Response(status=301, headers={"Location": shop.receiver.url})

    shop.receiver.answer = answer
    await shop.webhook()
    await shop.act("say", text="ciao")
    await shop.until(lambda: deliveries(shop))
    assert deliveries(shop)[0]["status"] == 301
    assert shop.receiver.updates == []


async def test_no_answer_within_60_seconds_is_a_failure_and_the_update_comes_again(shop: Shop) -> None:
    """A slow handler gets the same update twice."""
    release = asyncio.Event()

    async def answer(_: Json) -> web.Response:
        if len(shop.receiver.tries) == 1:
            await release.wait()
        return web.Response()

    shop.receiver.answer = answer
    await shop.webhook()
    await shop.act("say", text="ciao")
    await shop.until(lambda: shop.receiver.tries)
    await shop.after(59)
    assert deliveries(shop) == []
    await shop.after(2)
    await shop.until(lambda: len(shop.receiver.updates) == 1)
    assert [entry["error"] for entry in deliveries(shop)] == ["Read timeout expired", ""]
    assert shop.receiver.tries[0] == shop.receiver.tries[1]
    release.set()


async def test_only_the_head_of_a_queue_is_in_flight(shop: Shop) -> None:
    """Texts of one chat wait for each other; the same person's tap and other people's texts do not."""
    bob = await shop.sim.telegram_person(first_name="Bob")
    await shop.act("start", bob)
    shop.network.bots[TOKEN].updates.clear()
    markup = {"inline_keyboard": [[{"text": "Yes", "callback_data": "y"}]]}
    await shop.call("sendMessage", chat_id=ANNA, text="?", reply_markup=markup)

    async def answer(update: Json) -> web.Response:
        blocked = update.get("message", {}).get("text") == "stuck"
        return web.Response(status=500 if blocked else 200)

    shop.receiver.answer = answer
    await shop.webhook()
    await shop.act("say", bob, text="warm up")  # a success lets more than one connection be opened
    await shop.until(lambda: shop.receiver.updates)
    await shop.act("say", text="stuck")
    await shop.act("say", text="behind")
    await shop.act("tap", text="Yes")
    await shop.act("say", bob, text="free")
    await shop.until(lambda: len(shop.receiver.updates) == 3)
    await shop.after(30)
    kinds = {update.get("message", {}).get("text", "tap") for update in shop.receiver.updates}
    assert kinds == {"warm up", "tap", "free"}


async def test_a_tap_expires_after_150_seconds_and_a_text_after_a_day(shop: Shop) -> None:
    """What could not be delivered in its time is gone."""
    markup = {"inline_keyboard": [[{"text": "Yes", "callback_data": "y"}]]}
    await shop.call("sendMessage", chat_id=ANNA, text="?", reply_markup=markup)
    shop.receiver.answer = lambda _: fail_always(503, **{"Retry-After": "1800"})
    await shop.webhook()
    await shop.act("tap", text="Yes")
    await shop.act("say", text="ciao")
    await shop.after(149)
    assert (await shop.call("getWebhookInfo"))["pending_update_count"] == 2
    await shop.after(2)
    assert (await shop.call("getWebhookInfo"))["pending_update_count"] == 1
    await shop.after(86_400)
    assert (await shop.call("getWebhookInfo"))["pending_update_count"] == 0


async def test_twice_as_many_stuck_chats_as_connections_stop_everybody(shop: Shop) -> None:
    """With one connection two queues are loaded; a third chat waits until one of them is through."""
    people = [await shop.sim.telegram_person(first_name=f"P{n}") for n in range(3)]
    broken = True

    async def answer(update: Json) -> web.Response:
        return web.Response(status=500 if broken and update["message"]["from"]["id"] in people[:2] else 200)

    shop.receiver.answer = answer
    await shop.webhook(max_connections=1)
    for person in people:
        await shop.act("say", person, text=f"from {person}")
    await shop.after(300)
    assert shop.receiver.updates == []
    broken = False
    await shop.after(300)
    assert sorted(shop.receiver.texts()) == sorted(f"from {person}" for person in people)


async def test_a_chat_past_the_window_of_queues_keeps_its_order(shop: Shop) -> None:
    """Everything arrives, each chat in its order, whatever fails on the way."""
    people = [await shop.sim.telegram_person(first_name=f"P{n}") for n in range(12)]

    async def answer(_: Json) -> web.Response:
        return web.Response(status=500 if shop.world.rng.random() < 0.3 else 200)

    shop.receiver.answer = answer
    await shop.webhook(max_connections=3)
    for number in range(5):
        for person in people:
            await shop.act("say", person, text=str(number))
    await shop.after(3600)
    for person in people:
        texts = [u["message"]["text"] for u in shop.receiver.updates if u["message"]["from"]["id"] == person]
        assert texts == ["0", "1", "2", "3", "4"]


async def test_gone_for_23_hours_removes_the_webhook(shop: Shop) -> None:
    """410 for a day, asked for again every half an hour."""
    shop.receiver.answer = lambda _: fail_always(410, **{"Retry-After": "1800"})
    await shop.webhook()
    await shop.act("say", text="ciao")
    await shop.after(22 * 3600)
    assert (await shop.call("getWebhookInfo"))["url"] == shop.receiver.url
    await shop.after(2 * 3600)
    assert (await shop.call("getWebhookInfo"))["url"] == ""


async def test_an_unreachable_receiver_is_told_in_the_info(shop: Shop) -> None:
    """Nobody listens there."""
    await shop.call("setWebhook", url="http://127.0.0.1:9/hook")
    await shop.act("say", text="ciao")
    await shop.until(lambda: deliveries(shop))
    info = await shop.call("getWebhookInfo")
    assert (info["last_error_message"], info["pending_update_count"]) == ("Connection refused", 1)


async def test_a_call_in_the_answer_is_executed_and_its_result_lost(shop: Shop) -> None:
    """sendMessage in the body works; getMe and setWebhook there do nothing."""

    async def answer(update: Json) -> web.Response:
        body: dict[str, Any] = {"method": "sendMessage", "chat_id": ANNA, "text": "echo"}
        if update["message"]["text"] == "bad":
            body = {"method": "setWebhook", "url": ""}
        return web.json_response(body)

    shop.receiver.answer = answer
    await shop.webhook()
    await shop.act("say", text="hello")
    await shop.act("say", text="bad")
    await shop.until(lambda: len(deliveries(shop)) == 2)
    assert [entry["text"] for entry in shop.log("message")] == ["echo"]
    assert (await shop.call("getWebhookInfo"))["url"] == shop.receiver.url


async def test_what_waited_before_the_webhook_comes_first(shop: Shop) -> None:
    """Pending updates are delivered when a webhook is set, or dropped when asked."""
    await shop.act("say", text="early")
    await shop.webhook()
    await shop.until(lambda: shop.receiver.texts() == ["early"])
    await shop.call("deleteWebhook")
    await shop.act("say", text="lost")
    await shop.call("setWebhook", url=shop.receiver.url, drop_pending_updates=True)
    await shop.act("say", text="late")
    await shop.until(lambda: shop.receiver.texts() == ["early", "late"])


async def test_kinds_on_request_come_only_when_named(shop: Shop) -> None:
    """chat_member and reactions are off by default; an unknown name in the list is ignored."""
    channel = await shop.sim.telegram_chat("channel", "News", admins=[TOKEN])
    bob = await shop.sim.telegram_person(first_name="Bob")
    await shop.webhook()
    await shop.act("join", bob, chat=channel)
    await shop.call("setWebhook", url=shop.receiver.url, allowed_updates=["chat_member", "nonsense"])
    assert (await shop.call("getWebhookInfo"))["allowed_updates"] == ["chat_member"]
    await shop.act("leave", bob, chat=channel)
    await shop.act("say", text="not wanted")
    await shop.until(lambda: any("chat_member" in update for update in shop.receiver.updates))
    assert not any("message" in update for update in shop.receiver.updates)
    await shop.call("setWebhook", url=shop.receiver.url, allowed_updates=["nonsense"])
    assert "allowed_updates" not in await shop.call("getWebhookInfo")
    assert "chat_member" in KINDS


async def test_a_duplicating_network_delivers_twice(shop: Shop) -> None:
    """The knob makes an accepted update come again."""
    await shop.sim.call("POST", "/telegram/knobs", {"duplicate_p": 1})
    await shop.webhook()
    await shop.act("say", text="ciao")
    await shop.until(lambda: len(shop.receiver.updates) == 2)
    assert shop.receiver.updates[0] == shop.receiver.updates[1]
