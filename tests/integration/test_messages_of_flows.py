"""What flows send, over real sockets on both networks; quick replies later on; idle sessions that end."""

from __future__ import annotations

import base64
import time
from pathlib import Path

from domain import ids
from tests.integration.test_main_job import whatsapp_texts
from tests.support.town import BOT, BUSINESS, NUMBER, Town, until

FORMS = """
flow: forms
languages: [it, en]
triggers: [{keyword: [forme]}]
expires: 2 days
start: words
steps:
  words:
    send: {it: Ecco, en: Here}
    buttons:
      - {id: menu, text: {it: Menù, en: Menu}, description: {it: Di oggi, en: Of the day}}
      - {id: who, text: {it: Chi, en: Who}}
    list: {it: Apri, en: Open}
    links: [{text: {it: Sito, en: Site}, url: https://example.com}]
    next: photos
  photos:
    send:
      album:
        - {kind: image, file: FIRST, caption: {it: La sala, en: The room}}
        - {kind: image, file: SECOND}
    next: where
  where: {send: {location: {latitude: 41.9, longitude: 12.5, name: Bottega, address: Via Roma 1}}, next: card}
  card: {send: {card: {name: Anna Esempio, phone: "+15550100"}}, next: opinion}
  opinion:
    send: {poll: {question: {it: Ti piace?, en: Do you like it?}, options: [{it: Sì, en: Yes}, No]}}
    next: ready
  ready:
    send:
      template:
        name: order_ready
        category: utility
        body: ["{{ contact.first_name | default('cliente') }}"]
        text: {it: Il tuo ordine è pronto., en: Your order is ready.}
    next: email
  email: {ask: text, text: {it: Come va?, en: How are you?}, next: choice}
  choice:
    choose: {it: Che cosa?, en: What?}
    options: [{id: menu, text: {it: Carta, en: List}}, {id: other, text: {it: Altro, en: Other}}]
    next: thanks
  thanks: {send: "{{ result.choice }}!", next: last}
  last: {ask: text, text: {it: Altro?, en: Anything else?}, next: end}
"""


PICTURES = [
    base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    ),
    base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
    ),
]


async def publish_forms(town: Town) -> None:
    """The flow, with two stored pictures."""
    source = FORMS
    for name, data in zip(("FIRST", "SECOND"), PICTURES, strict=True):
        media_id = await town.app.live.media.save(town.workspace_id, data, filename="a.png", mime="image/png")
        source = source.replace(name, ids.to_text("media", media_id))
    await town.publish(source, "forms")


async def test_every_form_arrives_on_telegram_and_a_quick_reply_counts_later(any_town: Town) -> None:
    """Text with buttons, album, place, card, poll, a template's text; the old button answers a later question."""
    town = any_town
    await town.telegram()
    await publish_forms(town)
    person = await town.simulators.telegram_person(first_name="Anna", language_code="it")
    await town.simulators.telegram_act(BOT, person, "say", text="forme")
    messages = await town.telegram_messages(person, 8)
    shown = [next(k for k in ("text", "photo", "venue", "contact", "poll") if k in m) for m in messages]
    assert shown == ["text", "photo", "photo", "venue", "contact", "poll", "text", "text"]
    assert messages[0]["text"] == "Ecco\n\nMenù: Di oggi"
    assert messages[6]["text"] == "Il tuo ordine è pronto."
    await town.simulators.telegram_act(BOT, person, "say", text="bene")
    await town.telegram_messages(person, 9)
    rows = messages[0]["reply_markup"]["inline_keyboard"]
    data = next(b["callback_data"] for row in rows for b in row if b["text"] == "Menù")
    await town.simulators.telegram_act(BOT, person, "tap", message_id=messages[0]["message_id"], data=data)
    messages = await town.telegram_messages(person, 11)
    assert messages[9]["text"] == "menu!"
    choice = messages[8]
    data = choice["reply_markup"]["inline_keyboard"][0][0]["callback_data"]
    await town.simulators.telegram_act(BOT, person, "tap", message_id=choice["message_id"], data=data)
    await town.settle()
    assert len(await town.telegram_messages(person, 11)) == 11  # a button of a question that was answered
    other = await town.simulators.telegram_person(first_name="Ann", language_code="en-GB")
    await town.simulators.telegram_act(BOT, other, "say", text="forme")
    messages = await town.telegram_messages(other, 8)
    assert messages[0]["text"] == "Here\n\nMenu: Of the day"  # the language that the platform says


async def test_every_form_arrives_on_whatsapp(town: Town) -> None:
    """A list, pictures one by one, a place, a card, a poll as buttons, the approved template."""
    await town.whatsapp()
    await publish_forms(town)
    await town.simulators.call(
        "POST",
        "/whatsapp/templates",
        {
            "business_account_id": BUSINESS,
            "name": "order_ready",
            "language": "it",
            "category": "UTILITY",
            "components": [
                {
                    "type": "BODY",
                    "text": "Ciao {{1}}, il tuo ordine è pronto da noi.",
                    "example": {"body_text": [["Anna"]]},
                }
            ],
        },
    )
    await town.simulators.whatsapp_knobs(status_delay_ms=5)
    person = await town.simulators.whatsapp_person(name="Anna")
    await town.simulators.whatsapp_act(NUMBER, person, "say", text="forme")
    messages = await whatsapp_texts(town, person, 8)
    assert [m["type"] for m in messages] == [
        "interactive",
        "image",
        "image",
        "location",
        "contacts",
        "interactive",
        "template",
        "text",
    ]


async def test_an_idle_session_ends_by_its_timer(tmp_path: Path, sqlite_url: str) -> None:
    """One timer a session, moved on when it came too early; what is written after the end starts anew."""
    ahead = [0]

    def clock() -> int:
        return time.time_ns() // 1_000_000 + ahead[0]

    async with Town(tmp_path, sqlite_url, clock=clock) as town:
        await town.telegram()
        await publish_forms(town)
        person = await town.simulators.telegram_person(first_name="Anna", language_code="it")
        await town.simulators.telegram_act(BOT, person, "say", text="forme")
        await town.telegram_messages(person, 8)
        await town.settle()
        assert [r.purpose for r in await town.rows("SELECT purpose FROM timer")] == ["expire"]
        ahead[0] += 47 * 3_600_000
        await town.simulators.telegram_act(BOT, person, "say", text="bene")
        await town.telegram_messages(person, 9)
        [before] = await town.rows("SELECT due_at FROM timer")
        ahead[0] += 3 * 3_600_000

        async def moved() -> bool:
            rows = await town.rows("SELECT due_at FROM timer")
            return len(rows) == 1 and rows[0].due_at > before.due_at

        await until(moved, "the timer came too early and waits on")
        assert await town.value("SELECT status FROM flow_session") == "waiting"
        ahead[0] += 48 * 3_600_000

        async def expired() -> bool:
            return bool(await town.value("SELECT status FROM flow_session") == "expired")

        await until(expired, "the idle session has ended")
        assert await town.rows("SELECT id FROM timer") == []
