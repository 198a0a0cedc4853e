"""Order and once, whatever comes over the wire: acceptance order is the order, however the platform shuffles."""

from __future__ import annotations

import asyncio
import random

import msgspec
import pytest

from tests.faults.deliveries import TELEGRAM_HEADERS, encoded, signed, telegram_text, whatsapp_text
from tests.support.town import Town

PEOPLE, EACH = 12, 6

QUIET = """
flow: quiet
title: {it: Quieto, en: Quiet}
languages: [it, en]
triggers: [{keyword: [nessuno]}]
start: only
steps:
  only: {send: {it: Niente, en: Nothing}, next: end}
"""


@pytest.mark.parametrize("kind", ["telegram", "whatsapp"])
async def test_shuffled_and_doubled_deliveries_keep_the_order_of_acceptance(
    any_town: Town, kind: str
) -> None:
    """Twelve people at once, each with six messages in a random order of their numbers, each delivered three times."""
    town = any_town
    channel = await (town.telegram() if kind == "telegram" else town.whatsapp())
    await town.publish(QUIET, "quiet")
    chance = random.Random(17)
    accepted = {7_100 + n: chance.sample(range(EACH), EACH) for n in range(PEOPLE)}

    async def deliver(person: int, number: int) -> None:
        text = f"{person} {number}"
        if kind == "telegram":
            body = encoded(telegram_text(person * 100 + number, person, text))
            headers = TELEGRAM_HEADERS
        else:
            body = encoded(whatsapp_text(person * 100 + number, f"1555010{person}", text))
            headers = signed(body)
        async with town.app.session.post(town.webhook(channel), data=body, headers=headers) as response:
            assert response.status == 200

    async def write(person: int) -> None:
        done: list[int] = []
        for number in accepted[person]:
            await deliver(person, number)
            done.append(number)
            await asyncio.gather(*(deliver(person, chance.choice(done)) for _ in range(2)))

    await asyncio.gather(*(write(person) for person in accepted))
    await town.settle()
    rows = await town.rows("SELECT content FROM message WHERE direction = 'in' ORDER BY id")
    said = [msgspec.json.decode(row.content)["text"].split() for row in rows]
    handled = {person: [int(n) for who, n in said if int(who) == person] for person in accepted}
    assert handled == accepted
    assert await town.value("SELECT count(*) FROM seen") == PEOPLE * EACH


async def test_events_of_one_conversation_never_share_a_turn_with_what_they_change(any_town: Town) -> None:
    """Five answers at once: each is read by the step that the one before has led to; nothing that is said is lost."""
    town = any_town
    channel = await town.telegram()
    await town.publish_lead()
    person = await town.simulators.telegram_person(first_name="Anna", language_code="it")
    await town.simulators.telegram_act("110201543:TEST-abcdefghijklmnopqrstuvwxyz0123456", person, "start")
    await town.telegram_messages(person, 2)
    for number, text in enumerate(("ciao", "Anna Prova", "anna@example.com", "+15550100777", "Prezzi")):
        body = encoded(telegram_text(500_000 + number, person, text))
        async with town.app.session.post(
            town.webhook(channel), data=body, headers=TELEGRAM_HEADERS
        ) as response:
            assert response.status == 200
    await town.settle()
    [contact] = await town.rows("SELECT name, email, phone FROM contact")
    assert tuple(contact) == ("Anna Prova", "anna@example.com", "+15550100777")
    texts = await town.telegram_texts(person, 8)
    assert any(text.startswith("Posso scriverti") for text in texts)
    assert len(texts) == len(set(texts)) + 2  # the form was begun twice: its first two messages
