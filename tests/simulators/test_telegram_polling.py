"""getUpdates of the simulated Telegram: confirmation, waiting, rivals, and the answers that keep a poller honest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.simulators.telegram_shop import Json, Shop, open_shop


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with open_shop() as opened:
        yield opened


def texts(updates: list[Json]) -> list[str]:
    return [update["message"]["text"] for update in updates]


async def test_an_offset_confirms_what_is_below_it(shop: Shop) -> None:
    """What was not confirmed comes again; a negative offset forgets all but the last."""
    for text in ("a", "b", "c", "d"):
        await shop.act("say", text=text)
    updates = await shop.call("getUpdates")
    assert texts(updates) == ["a", "b", "c", "d"]
    rest = await shop.call("getUpdates", offset=updates[1]["update_id"])
    assert texts(rest) == ["b", "c", "d"]
    assert texts(await shop.call("getUpdates", offset=updates[1]["update_id"] + 1, limit=1)) == ["c"]
    assert texts(await shop.call("getUpdates", offset=-1)) == ["d"]
    await shop.after(5)
    assert texts(await shop.call("getUpdates")) == ["d"]


async def test_an_empty_queue_is_waited_for(shop: Shop) -> None:
    """The open request gets the next update at once, or an empty list at its timeout."""
    waiting = asyncio.create_task(shop.call("getUpdates", timeout=30))
    await shop.until(lambda: shop.network.bots_by_id)
    await asyncio.sleep(0.05)
    await shop.act("say", text="hello")
    assert texts(await waiting) == ["hello"]
    shop.network.bots_by_id[110201543].updates.clear()
    waiting = asyncio.create_task(shop.call("getUpdates", offset=1, timeout=500))
    await asyncio.sleep(0.05)
    await shop.after(51)  # the server waits 50 s at most
    assert await waiting == []


async def test_asking_again_at_once_is_slowed_down(shop: Shop) -> None:
    """The same offset within half a second gives one update; an empty answer is held back for 3 s."""
    for text in ("a", "b"):
        await shop.act("say", text=text)
    assert len(await shop.call("getUpdates")) == 2
    assert len(await shop.call("getUpdates")) == 1
    shop.network.bots_by_id[110201543].updates.clear()
    held = asyncio.create_task(shop.call("getUpdates"))
    await asyncio.sleep(0.05)
    assert not held.done()
    await shop.after(3)
    assert await held == []


async def test_a_second_poller_ends_the_first(shop: Shop) -> None:
    """409 for the one that waited."""
    first = asyncio.create_task(shop.raw("getUpdates", {"timeout": 30}))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(shop.raw("getUpdates", {"timeout": 30, "offset": 5}))
    status, answer = await first
    assert status == 409
    assert answer["description"] == (
        "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
    )
    await shop.call("setWebhook", url=shop.receiver.url)
    status, answer = await second
    assert (status, answer["description"]) == (409, "Conflict: terminated by setWebhook request")


async def test_polling_beside_a_webhook_is_refused_and_then_slowly(shop: Shop) -> None:
    """409, the second time only after 3 s."""
    await shop.webhook()
    status, answer = await shop.raw("getUpdates")
    assert status == 409
    assert answer["description"] == (
        "Conflict: can't use getUpdates method while webhook is active; "
        "use deleteWebhook to delete the webhook first"
    )
    again = asyncio.create_task(shop.raw("getUpdates"))
    await asyncio.sleep(0.05)
    assert not again.done()
    await shop.after(3)
    assert (await again)[0] == 409
