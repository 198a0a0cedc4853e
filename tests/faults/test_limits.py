"""Too much at once, and events that no handler survives: bounded, visible, and only their own problem."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, cast

import pytest
from sqlalchemy import Connection

from bot import claiming, handlers, intake, parked
from domain.events import MessageReceived
from domain.messages import ReceivedText
from storage.database import Queue
from tests.faults.deliveries import TELEGRAM_HEADERS, encoded, telegram_text
from tests.support.town import Town, until


async def deliver(town: Town, channel: int, number: int, person: int, text: str = "ciao") -> tuple[int, str]:
    """One Telegram text; gives (status, Retry-After)."""
    body = encoded(telegram_text(number, person, text))
    async with town.app.session.post(town.webhook(channel), data=body, headers=TELEGRAM_HEADERS) as response:
        return response.status, response.headers.get("Retry-After", "")


async def test_more_than_can_be_stored_is_sent_away_and_arrives_later(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk hangs 5 events may wait (in life 10,000); others get 503 with Retry-After; all arrive once."""
    monkeypatch.setattr(intake, "MAX_WAITING", 5)
    channel = await town.telegram()
    await town.publish_lead()
    hanging, over = threading.Event(), threading.Event()

    def hang(connection: Connection) -> None:
        hanging.set()
        over.wait(15)

    disk = asyncio.ensure_future(town.app.database.write(hang, queue=Queue.live))
    await asyncio.to_thread(hanging.wait, 5)
    first = [asyncio.ensure_future(deliver(town, channel, 600_000 + n, 7_200 + n)) for n in range(40)]

    async def some_refused() -> bool:
        return sum(one.done() for one in first) >= 15

    try:
        await until(some_refused, "refusals")
        refused = [n for n, one in enumerate(first) if one.done()]
        assert {first[n].result() for n in refused} == {(503, "2")}
    finally:
        over.set()
    await disk
    answers = await asyncio.gather(*first)
    assert {status for status, _ in answers} == {200, 503}
    refused = [n for n, (status, _) in enumerate(answers) if status == 503]
    for number in refused:  # one after the other, as a platform does that was told to wait
        assert (await deliver(town, channel, 600_000 + number, 7_200 + number))[0] == 200
    await town.settle()
    assert await town.value("SELECT count(*) FROM message WHERE direction = 'in'") == 40


async def test_a_poisonous_event_parks_and_holds_up_nobody_else(
    any_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five tries, then it is parked and listed; its conversation goes on, others never waited; a retry handles it."""
    town = any_town
    monkeypatch.setattr(claiming, "RETRY_MS", (200, 1, 1, 1))
    channel = await town.telegram()
    await town.publish_lead()
    registry = cast(dict[type, Any], handlers.registry())
    healthy = registry[MessageReceived]

    def poisoned(scope: Any, flows: Any, event: MessageReceived) -> None:
        healthy(scope, flows, event)
        if isinstance(event.content, ReceivedText) and event.content.text == "veleno":
            raise RuntimeError("a fault of ours")

    monkeypatch.setitem(registry, MessageReceived, poisoned)
    assert (await deliver(town, channel, 1, 7_301, "veleno"))[0] == 200
    assert (await deliver(town, channel, 2, 7_301))[0] == 200
    assert (await deliver(town, channel, 3, 7_302))[0] == 200

    async def other_answered() -> bool:
        return bool(await town.value("SELECT count(*) FROM message WHERE direction = 'in'"))

    await until(other_answered, "the other person's message was handled")
    parked_by_then = await town.value("SELECT count(*) FROM intake WHERE state = 1")
    assert parked_by_then == 0  # the other one did not wait for the end of the first
    await town.settle()
    assert await town.value("SELECT count(*) FROM message WHERE direction = 'in'") == 2
    database, sealer = town.app.database, town.app.sealer
    [listed] = await database.read(lambda c: parked.parked(c, town.workspace_id, sealer=sealer))
    assert (listed.what, listed.attempts, listed.problem) == ("message", 5, "RuntimeError")
    assert await town.value("SELECT count(*) FROM contact") == 2
    monkeypatch.setitem(registry, MessageReceived, healthy)
    assert await database.write(lambda c: parked.retry(c, town.workspace_id)) == 1
    town.app.runtime.signals.notify("intake")
    await town.settle()
    assert await town.value("SELECT count(*) FROM message WHERE direction = 'in'") == 3


async def test_a_round_that_fails_as_a_whole_finds_the_guilty_event(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that only the commit refuses takes its round back; then each runs alone, and only that one parks."""
    monkeypatch.setattr(claiming, "RETRY_MS", (1, 1, 1, 1))
    channel = await town.telegram()
    await town.publish_lead()
    registry = cast(dict[type, Any], handlers.registry())
    healthy = registry[MessageReceived]

    def refused_later(scope: Any, flows: Any, event: MessageReceived) -> None:
        healthy(scope, flows, event)
        if isinstance(event.content, ReceivedText) and event.content.text == "veleno":
            scope.batch.received[-1]["content"] = None  # the database refuses it at the end of the round

    monkeypatch.setitem(registry, MessageReceived, refused_later)
    bodies = [(n, 7_400 + n, "veleno" if n == 3 else "ciao") for n in range(1, 9)]
    answers = await asyncio.gather(*(deliver(town, channel, *one) for one in bodies))
    assert {status for status, _ in answers} == {200}
    await town.settle()
    assert await town.value("SELECT count(*) FROM message WHERE direction = 'in'") == 7
    assert await town.value("SELECT count(*) FROM intake WHERE state = 1") == 1
