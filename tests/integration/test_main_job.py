"""The main job over real sockets: somebody writes, is led through a flow, consents, and becomes a contact."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from tests.support.town import APP_SECRET, BOT, BUSINESS, NUMBER, WEBHOOK_SECRET, Town, until

PHONE = "+15550100777"


async def tap_last(town: Town, person: int, count: int, title: str) -> None:
    """Taps a button of the bot's newest message."""
    message = (await town.telegram_messages(person, count))[-1]
    buttons = [b for row in message["reply_markup"]["inline_keyboard"] for b in row]
    data = next(b["callback_data"] for b in buttons if b["text"] == title)
    await town.simulators.telegram_act(BOT, person, "tap", message_id=message["message_id"], data=data)


async def walk_lead_form(town: Town) -> int:
    """One person through the whole lead form on Telegram; gives their id there."""
    person = await town.simulators.telegram_person(first_name="Anna", language_code="it")
    for words, count in (
        ("ciao", 2),
        ("Anna Prova", 3),
        ("anna@@example", 4),
        ("anna@example.com", 5),
        (PHONE, 6),
    ):
        await town.simulators.telegram_act(BOT, person, "say", text=words)
        await town.telegram_messages(person, count)
    await tap_last(town, person, 6, "Prezzi")
    await tap_last(town, person, 7, "Sì")
    await tap_last(town, person, 8, "Sì, confermo")
    await town.telegram_messages(person, 9)
    await town.settle()
    return person


async def check_lead(town: Town) -> None:
    """The contact, its answers and the proof of consent."""
    [contact] = await town.rows("SELECT name, email, phone, fields FROM contact")
    assert tuple(contact)[:3] == ("Anna Prova", "anna@example.com", PHONE)
    assert msgspec.json.decode(contact.fields) == {"interest": "price"}
    actions = [r.action for r in await town.rows("SELECT action FROM consent_entry ORDER BY position")]
    assert actions == ["asked", "granted", "confirmed"]
    [state] = await town.rows("SELECT purpose, state, mailable FROM consent_state")
    assert tuple(state) == ("marketing", "confirmed", 1)


async def test_lead_form_over_a_telegram_webhook(any_town: Town) -> None:
    """A newcomer becomes a contact with proof of consent, on both databases."""
    await any_town.telegram()
    await any_town.publish_lead()
    await walk_lead_form(any_town)
    await check_lead(any_town)


async def test_lead_form_over_long_polling(town: Town) -> None:
    """An owner without a public URL gets the same."""
    await town.telegram(mode="polling")
    await town.publish_lead()
    await walk_lead_form(town)
    await check_lead(town)


async def whatsapp_texts(town: Town, person: str, count: int) -> list[dict[str, Any]]:
    """The business's messages to a person, once there are that many."""
    found: list[dict[str, Any]] = []

    async def enough() -> bool:
        nonlocal found
        messages = await town.simulators.whatsapp_messages(NUMBER, person)
        found = [m for m in messages if m["direction"] == "out"]
        return len(found) >= count

    await until(enough, f"{count} WhatsApp messages", lambda: f"there are {[m.get('text') for m in found]}")
    return found


async def test_lead_form_over_whatsapp_for_a_person_without_a_phone_number(any_town: Town) -> None:
    """Somebody whom WhatsApp names only by a business-scoped id is led through the whole form."""
    town = any_town
    await town.whatsapp()
    await town.publish_lead()
    await town.simulators.whatsapp_knobs(bsuid_mode="bsuid", status_delay_ms=5)
    person = await town.simulators.whatsapp_person(bsuid="IT.13490000000000000001", name="Anna")
    act = town.simulators.whatsapp_act
    for words, count in (("ciao", 2), ("Anna Prova", 3), ("anna@example.com", 4), (PHONE, 5)):
        await act(NUMBER, person, "say", text=words)
        await whatsapp_texts(town, person, count)
    for title, count in (("Prezzi", 6), ("Sì", 7), ("Sì, confermo", 8)):
        await act(NUMBER, person, "tap", title=title)
        await whatsapp_texts(town, person, count)
    await town.settle()
    await check_lead(town)

    async def all_arrived() -> bool:
        sql = "SELECT count(*) FROM message WHERE direction = 'out' AND delivered_at IS NULL"
        return bool(await town.value(sql) == 0)

    await until(all_arrived, "delivered statuses on every message")


async def test_fifty_parallel_duplicates_have_one_effect(any_town: Town) -> None:
    """The same update, delivered fifty times at once, starts the form once."""
    town = any_town
    channel = await town.telegram()
    await town.publish_lead()
    person = await town.simulators.telegram_person(first_name="Anna", language_code="it")
    update = {
        "update_id": 900_000_001,
        "message": {
            "message_id": 77,
            "from": {"id": person, "is_bot": False, "first_name": "Anna", "language_code": "it"},
            "chat": {"id": person, "type": "private", "first_name": "Anna"},
            "date": 1_790_000_000,
            "text": "ciao",
        },
    }
    await town.simulators.telegram_act(BOT, person, "start")
    await town.telegram_messages(person, 2)
    headers = {"X-Telegram-Bot-Api-Secret-Token": WEBHOOK_SECRET}

    async def deliver() -> int:
        async with town.app.session.post(town.webhook(channel), json=update, headers=headers) as response:
            return response.status

    assert set(await asyncio.gather(*(deliver() for _ in range(50)))) == {200}
    await town.settle()
    assert len(await town.telegram_messages(person, 4)) == 4
    assert await town.value("SELECT count(*) FROM message WHERE direction = 'in'") == 2


async def test_a_malformed_item_in_a_batch_of_a_hundred_is_kept_aside(any_town: Town) -> None:
    """Ninety-nine messages of a WhatsApp delivery are handled, the bad one is parked and visible."""
    town = any_town
    channel = await town.whatsapp()
    await town.publish_lead()
    messages: list[dict[str, Any]] = [
        {
            "from": f"1555010{n:04d}",
            "id": f"wamid.TESTBATCH{n:03d}",
            "timestamp": "1790000000",
            "type": "text",
            "text": {"body": "buongiorno"},
        }
        for n in range(100)
    ]
    messages[40]["text"] = {"body": 42}
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15555550001", "phone_number_id": NUMBER},
        "contacts": [{"profile": {"name": "Anna"}, "wa_id": m["from"]} for m in messages],
        "messages": messages,
    }
    body = msgspec.json.encode(
        {
            "object": "whatsapp_business_account",
            "entry": [{"id": BUSINESS, "changes": [{"field": "messages", "value": value}]}],
        }
    )
    signature = hmac.new(APP_SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={signature}", "Content-Type": "application/json"}
    async with town.app.session.post(town.webhook(channel), data=body, headers=headers) as response:
        assert response.status == 200

    async def all_handled() -> bool:
        return bool(await town.value("SELECT count(*) FROM intake WHERE state = 0") == 0)

    await until(all_handled, "every event handled")
    assert await town.value("SELECT count(*) FROM message WHERE direction = 'in'") == 99
    [parked] = await town.rows("SELECT problem FROM intake WHERE state = 1")
    assert "text" in parked.problem


async def test_unsigned_or_badly_signed_deliveries_leave_nothing(town: Town) -> None:
    """401, and not a row."""
    telegram, whatsapp = await town.telegram(), await town.whatsapp()
    attempts: list[tuple[int, dict[str, str]]] = [
        (telegram, {}),
        (telegram, {"X-Telegram-Bot-Api-Secret-Token": "wrong"}),
        (telegram, {"X-Telegram-Bot-Api-Secret-Token": "sègreto"}),
        (whatsapp, {}),
        (whatsapp, {"X-Hub-Signature-256": "sha256=" + "0" * 64}),
        (whatsapp, {"X-Hub-Signature-256": "sha1=" + "0" * 40}),
    ]
    for channel, headers in attempts:
        async with town.app.session.post(town.webhook(channel), data=b"{}", headers=headers) as response:
            assert response.status == 401, headers
    unknown = town.webhook(telegram)[:-3] + "zzz"
    async with town.app.session.post(unknown, data=b"{}") as response:
        assert response.status == 401
    assert await town.value("SELECT count(*) FROM intake") == 0


async def test_stop_ends_consent_and_the_form_at_once(town: Town) -> None:
    """STOP in the middle of anything: the consent is withdrawn with proof, the address suppressed, a word goes back."""
    await town.telegram()
    await town.publish_lead()
    person = await walk_lead_form(town)
    await town.simulators.telegram_act(BOT, person, "say", text="Stop!")
    texts = await town.telegram_texts(person, 10)
    assert "non ti mandiamo più novità" in texts[-1]
    await town.settle()
    [state] = await town.rows("SELECT state, mailable FROM consent_state")
    assert tuple(state) == ("withdrawn", 0)
    assert await town.value("SELECT count(*) FROM suppression WHERE reason = 'stop_word'") >= 1


async def test_blocking_the_bot_is_noticed(town: Town) -> None:
    """A person who blocks the bot is not reachable any more; one who comes back is."""
    await town.telegram()
    await town.publish_lead()
    person = await town.simulators.telegram_person(first_name="Anna", language_code="it")
    await town.simulators.telegram_act(BOT, person, "say", text="ciao")
    await town.telegram_messages(person, 2)
    await town.simulators.telegram_act(BOT, person, "block")

    async def state(wanted: str) -> None:
        async def reached() -> bool:
            return bool(await town.value("SELECT state FROM identity") == wanted)

        await until(reached, f"identity is {wanted}")

    await state("blocked")
    await town.simulators.telegram_act(BOT, person, "unblock")
    await state("reachable")


async def test_an_album_is_one_message(town: Town) -> None:
    """Three pictures sent together reach the conversation as one message with three files."""
    await town.telegram()
    await town.publish_lead()
    person = await town.simulators.telegram_person(first_name="Anna", language_code="it")
    await town.simulators.telegram_act(BOT, person, "start")
    await town.telegram_messages(person, 2)
    await town.simulators.telegram_act(BOT, person, "album", items=[{"kind": "photo"}] * 3, caption="eccole")

    async def joined() -> bool:
        found = await town.rows(
            "SELECT content FROM message WHERE direction = 'in' AND content LIKE '%album%'"
        )
        return len(found) == 1 and len(msgspec.json.decode(found[0].content)["items"]) == 3

    await until(joined, "one album of three")

    async def copied() -> bool:
        content = await town.value(
            "SELECT content FROM message WHERE direction = 'in' AND content LIKE '%album%'"
        )
        return all(item.get("media_id") for item in msgspec.json.decode(content)["items"])

    await until(copied, "our own copies of the pictures")


async def test_a_second_tap_on_an_answered_question_changes_nothing(town: Town) -> None:
    """Both consent questions have a "No": a double tap on the first must not answer the second."""
    await town.telegram()
    await town.publish_lead()
    person = await town.simulators.telegram_person(first_name="Anna", language_code="it")
    for words, count in (("ciao", 2), ("Anna Prova", 3), ("anna@example.com", 4), (PHONE, 5)):
        await town.simulators.telegram_act(BOT, person, "say", text=words)
        await town.telegram_messages(person, count)
    await tap_last(town, person, 5, "Prezzi")
    question = (await town.telegram_messages(person, 6))[-1]
    yes, no = (b["callback_data"] for row in question["reply_markup"]["inline_keyboard"] for b in row)
    for data in (yes, no, yes):
        await town.simulators.telegram_act(BOT, person, "tap", message_id=question["message_id"], data=data)
    await town.telegram_messages(person, 7)
    await town.settle()
    assert len(await town.telegram_messages(person, 7)) == 7
    await tap_last(town, person, 7, "Sì, confermo")
    await town.telegram_messages(person, 8)
    await town.settle()
    assert await town.value("SELECT state FROM consent_state") == "confirmed"


TWO_TURNS = """
flow: order
languages: [en]
triggers: [{keyword: [go]}]
start: first
steps:
  first: {send: {en: First}, next: second}
  second: {ask: text, text: {en: Second}, save: session.answer, next: third}
  third: {send: {en: Third}, next: fourth}
  fourth: {send: {en: Fourth}, next: end}
"""


async def test_turns_of_one_conversation_do_not_overtake_each_other(any_town: Town) -> None:
    """Somebody who answers before the question has left still reads everything in order."""
    town = any_town
    channel = await town.telegram()
    await town.publish(TWO_TURNS, "order")
    await town.simulators.latency("telegram", 30)
    people = [await town.simulators.telegram_person(first_name=f"P{n}", language_code="en") for n in range(8)]
    headers = {"X-Telegram-Bot-Api-Secret-Token": WEBHOOK_SECRET}
    for n, person in enumerate(people):
        await town.simulators.telegram_act(BOT, person, "start")
        for part, words in enumerate(("go", "answer")):
            update = {
                "update_id": 910_000_000 + 2 * n + part,
                "message": {
                    "message_id": 500 + part,
                    "from": {"id": person, "is_bot": False, "first_name": "P", "language_code": "en"},
                    "chat": {"id": person, "type": "private", "first_name": "P"},
                    "date": 1_790_000_000,
                    "text": words,
                },
            }
            async with town.app.session.post(town.webhook(channel), json=update, headers=headers) as response:
                assert response.status == 200
    for person in people:
        assert await town.telegram_texts(person, 4) == ["First", "Second", "Third", "Fourth"]


async def test_a_form_asks_for_consent_though_nobody_wrote_a_purpose(town: Town) -> None:
    """A channel and a flow are enough: without a business file the built-in wording is asked and proven."""
    await town.app.database.write(_forget_the_business)
    await town.telegram()
    await town.publish_lead()
    await walk_lead_form(town)
    await check_lead(town)
    wording = await town.value("SELECT wording FROM consent_entry WHERE action = 'confirmed'")
    assert "novità e offerte da Bottega Esempio" in wording


def _forget_the_business(connection: Connection) -> None:
    connection.execute(text("UPDATE workspace SET business = '{}'"))
