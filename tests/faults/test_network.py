"""The platforms' bad days: refusals, lost answers, statuses that come too early. Nothing is lost, and twice is said."""

from __future__ import annotations

import asyncio
import time

import pytest

from campaigns.drafts import Draft
from tests.integration.test_campaigns_end_to_end import run_campaign
from tests.integration.test_main_job import walk_lead_form, whatsapp_texts
from tests.support.town import BOT, NUMBER, Town, until

ECHO = """
flow: echo
title: {it: Eco, en: Echo}
languages: [it, en]
triggers: [{keyword: [eco], interrupts: true}, fallback]
start: first
steps:
  first: {send: {it: Primo, en: First}, next: second}
  second: {send: {it: Secondo, en: Second}, next: third}
  third: {send: {it: Terzo, en: Third}, next: end}
"""


async def echoing(town: Town) -> int:
    """A bot that answers everything with three messages, and somebody who talks with it."""
    await town.telegram()
    await town.publish(ECHO, "echo")
    return await town.simulators.telegram_person(first_name="Anna", language_code="it")


async def test_a_reply_whose_answer_was_lost_goes_once_more_and_says_so(any_town: Town) -> None:
    """The platform sent it, the connection broke: the person may see it twice, marked, in order; never thrice."""
    town = any_town
    person = await echoing(town)
    await town.simulators.fault("telegram", "reset", when="after", method="sendMessage", target=str(person))
    await town.simulators.telegram_act(BOT, person, "say", text="eco")
    assert await town.telegram_texts(person, 4) == ["Primo", "Primo", "Secondo", "Terzo"]
    await town.settle()
    marks = await town.rows("SELECT possibly_twice, status FROM message WHERE direction = 'out' ORDER BY id")
    assert [tuple(row) for row in marks] == [(1, "sent"), (0, "sent"), (0, "sent")]


async def test_a_reply_that_was_refused_before_still_goes_once_more(town: Town) -> None:
    """Being told to wait uses up nothing: the lost answer of the second attempt is the first that nobody knows."""
    person = await echoing(town)
    spec = {"method": "sendMessage", "target": str(person)}
    await town.simulators.fault("telegram", "429", retry_after=1, **spec)
    await town.simulators.fault("telegram", "reset", when="after", **spec)
    await town.simulators.telegram_act(BOT, person, "say", text="eco")
    assert await town.telegram_texts(person, 4) == ["Primo", "Primo", "Secondo", "Terzo"]


async def test_a_reply_whose_answer_is_lost_twice_stays_unknown(town: Town) -> None:
    """Twice is the limit: then nobody knows, it is listed, and the rest of the turn goes on."""
    person = await echoing(town)
    await town.simulators.fault(
        "telegram", "reset", when="after", times=2, target=str(person), method="sendMessage"
    )
    await town.simulators.telegram_act(BOT, person, "say", text="eco")
    assert await town.telegram_texts(person, 4) == ["Primo", "Primo", "Secondo", "Terzo"]
    await town.settle()
    statuses = await town.rows("SELECT status FROM message WHERE direction = 'out' ORDER BY id")
    assert [row.status for row in statuses] == ["unknown", "sent", "sent"]


async def test_a_campaign_message_whose_answer_was_lost_is_unknown_and_never_sent_again(
    any_town: Town,
) -> None:
    """Marketing is never repeated on a guess: one message reached the person, the report says that nobody knows."""
    town = any_town
    channel = await town.telegram()
    await town.publish_lead()
    person = await walk_lead_form(town)
    before = len(await town.telegram_messages(person, 9))
    await town.simulators.fault("telegram", "reset", when="after", method="sendMessage", target=str(person))
    progress = await run_campaign(town, Draft(name="Saldi", channel_id=channel, content={"it": "Saldi!"}))
    assert (progress.unknown, progress.sent, progress.total) == (1, 0, 1)
    assert len(await town.telegram_messages(person, before + 1)) == before + 1
    assert await town.value("SELECT possibly_twice FROM message WHERE run_id <> 0") == 0


async def test_a_refused_connection_is_no_doubt(town: Town) -> None:
    """What was certainly not executed is tried again and comes once, unmarked."""
    person = await echoing(town)
    await town.simulators.fault("telegram", "502_html", method="sendMessage", target=str(person), times=1)
    await town.simulators.fault(
        "telegram", "429", retry_after=1, method="sendMessage", target=str(person), times=1
    )
    await town.simulators.telegram_act(BOT, person, "say", text="eco")
    texts = await town.telegram_texts(person, 3)
    await town.settle()
    assert texts[-2:] == ["Secondo", "Terzo"]
    assert await town.value("SELECT count(*) FROM message WHERE direction = 'out' AND status <> 'sent'") == 0


async def test_a_group_that_says_wait_stops_only_itself(town: Town) -> None:
    """A storm of 429 from one group: people are answered meanwhile, then the group is, and nothing is lost."""
    person = await echoing(town)
    group = await town.simulators.telegram_chat("supergroup", "Amici della bottega", owner=person)
    await town.simulators.telegram_admin(group, BOT)
    await town.simulators.fault("telegram", "429", retry_after=1, target=str(group), times=2)
    await town.simulators.telegram_act(BOT, person, "say", text="eco", chat=group)

    async def refused() -> bool:
        return bool((await town.simulators.counters()).get("telegram.calls.sendMessage.429"))

    await until(refused, "the group was told to wait")
    started = time.monotonic()
    await town.simulators.telegram_act(BOT, person, "say", text="eco")
    assert await town.telegram_texts(person, 3) == ["Primo", "Secondo", "Terzo"]
    assert time.monotonic() - started < 1.0

    async def group_answered() -> bool:
        messages = await town.simulators.telegram_messages(BOT, group)
        texts = [m["text"] for m in messages if m.get("from", {}).get("is_bot")]
        return texts == [
            "Primo",
            "Secondo",
            "Terzo",
        ]

    await until(group_answered, "the group got its answer, in order")


async def test_a_campaign_that_is_told_to_wait_lets_replies_go_on(town: Town) -> None:
    """The platform slows bulk down: a customer who writes meanwhile is answered at once; the campaign ends complete."""
    channel = await town.telegram()
    await town.publish_lead()
    agreed = await walk_lead_form(town)
    other = await town.simulators.telegram_person(first_name="Bruno", language_code="it")
    await town.simulators.fault(
        "telegram", "429", retry_after=2, target=str(agreed), method="sendMessage", times=1
    )
    app = town.app
    refused = (await town.simulators.counters()).get("telegram.calls.sendMessage.429", 0)

    async def write_meanwhile() -> float:
        async def told() -> bool:
            counters = await town.simulators.counters()
            return bool(counters.get("telegram.calls.sendMessage.429", 0) > refused)

        await until(told, "the campaign was told to wait")
        started = time.monotonic()
        await town.simulators.telegram_act(BOT, other, "say", text="ciao")
        await town.telegram_messages(other, 2)
        return time.monotonic() - started

    meanwhile = asyncio.create_task(write_meanwhile())
    progress = await run_campaign(town, Draft(name="Saldi", channel_id=channel, content={"it": "Saldi!"}))
    assert await meanwhile < 1.5
    assert (progress.sent, progress.unknown) == (1, 0)
    assert app.live.sender.refusals["rate_limited"] == 1


@pytest.mark.parametrize("batch_window_ms", [0, 20])
async def test_statuses_that_come_before_the_answer_find_their_message(
    any_town: Town, batch_window_ms: int
) -> None:
    """`sent` is told before the send is answered, all doubled and shuffled: each message ends with its statuses."""
    town = any_town
    await town.whatsapp()
    await town.publish_lead()
    await town.simulators.whatsapp_knobs(
        status_before_response_p=1.0,
        duplicate_p=0.5,
        reorder_p=0.3,
        status_delay_ms=5,
        batch_window_ms=batch_window_ms,
    )
    person = await town.simulators.whatsapp_person(name="Anna")
    for text, count in (("ciao", 2), ("Anna Prova", 3), ("anna@example.com", 4)):
        await town.simulators.whatsapp_act(NUMBER, person, "say", text=text)
        await whatsapp_texts(town, person, count)
    await town.settle()

    async def all_known() -> bool:
        open_ = await town.value(
            "SELECT count(*) FROM message WHERE direction = 'out' AND (delivered_at IS NULL OR external_id = '')"
        )
        return bool(open_ == 0)

    await until(all_known, "every message delivered")
    assert await town.value("SELECT count(*) FROM status_orphan") == 0
    assert (
        await town.value("SELECT count(*) FROM message WHERE direction = 'out' AND possibly_twice = 1") == 0
    )
    assert len(await whatsapp_texts(town, person, 4)) == 4
