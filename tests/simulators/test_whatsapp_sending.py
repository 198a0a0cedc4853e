"""Sending on the simulated WhatsApp: what is accepted, how it looks to the person, which statuses come back."""

from __future__ import annotations

import json

from tests.simulators.whatsapp_shop import (
    ACCOUNT,
    ANNA,
    NUMBER,
    PROMO_TEMPLATE,
    TEXT_TEMPLATE,
    open_shop,
    promo_part,
    signature_of,
    template_part,
)


async def test_a_text_reaches_the_person_and_its_statuses_come_back_signed() -> None:
    """Within the window: accepted, sent, delivered, read, each with our own data and a true signature."""
    async with open_shop() as shop:
        await shop.act("say", text="ciao è già aperto?")
        wamid = await shop.say_hello(biz_opaque_callback_data="msg_42")
        await shop.after(120)
        await shop.until(lambda: len(shop.receiver.statuses(wamid)) == 3)
        assert shop.receiver.statuses(wamid) == ["sent", "delivered", "read"]
        for item in shop.receiver.items("statuses"):
            assert item["biz_opaque_callback_data"] == "msg_42"
            assert item["recipient_id"] == ANNA
        for raw, signature in shop.receiver.raw:
            assert signature == signature_of(raw)
            assert raw.isascii()
        (message,) = shop.log("message")
        assert (message["to"], message["text"], message["external_id"]) == (ANNA, "Hello", wamid)
        assert message["biz_opaque_callback_data"] == "msg_42"
        assert shop.receiver.items("messages")[0]["text"] == {"body": "ciao è già aperto?"}
        assert b"\\u00e8" in shop.receiver.raw[0][0]


async def test_the_answer_names_the_person_in_both_ways() -> None:
    """`input` is what we sent, `wa_id` and `user_id` are the person's."""
    async with open_shop() as shop:
        status, answer = await shop.send(f"+{ANNA}", type="text", text={"body": "Hi"})
        assert status == 200
        (contact,) = answer["contacts"]
        assert contact["input"] == f"+{ANNA}"
        assert contact["wa_id"] == ANNA
        assert contact["user_id"].startswith("GB.")
        assert answer["messages"][0]["id"].startswith("wamid.")


async def test_buttons_can_be_tapped_by_text_or_id() -> None:
    """A tap comes back as button_reply with the id that we gave, in the context of our message."""
    async with open_shop() as shop:
        await shop.act("say", text="ciao")
        buttons = [{"type": "reply", "reply": {"id": f"opt:{n}", "title": f"Scelta {n}"}} for n in (1, 2, 3)]
        interactive = {"type": "button", "body": {"text": "Quale?"}, "action": {"buttons": buttons}}
        status, answer = await shop.send(type="interactive", interactive=interactive)
        assert status == 200
        await shop.after(30)
        await shop.act("tap", button="Scelta 2")
        await shop.act("tap", button="opt:3")
        await shop.until(lambda: len(shop.receiver.items("messages")) == 3)
        second, third = shop.receiver.items("messages")[1:]
        assert second["interactive"] == {
            "type": "button_reply",
            "button_reply": {"id": "opt:2", "title": "Scelta 2"},
        }
        assert second["context"]["id"] == answer["messages"][0]["id"]
        assert third["interactive"]["button_reply"]["id"] == "opt:3"


async def test_a_row_of_a_list_can_be_chosen() -> None:
    """A list comes back as list_reply with title and description."""
    async with open_shop() as shop:
        await shop.act("say", text="ciao")
        rows = [{"id": f"row:{n}", "title": f"Riga {n}", "description": f"Numero {n}"} for n in range(1, 6)]
        action = {"button": "Scegli", "sections": [{"rows": rows}]}
        interactive = {"type": "list", "body": {"text": "Quale?"}, "action": action}
        assert (await shop.send(type="interactive", interactive=interactive))[0] == 200
        await shop.after(30)
        await shop.act("list", button="row:4")
        await shop.until(lambda: len(shop.receiver.items("messages")) == 2)
        reply = shop.receiver.items("messages")[1]["interactive"]["list_reply"]
        assert reply == {"id": "row:4", "title": "Riga 4", "description": "Numero 4"}


async def test_a_template_is_filled_and_its_quick_reply_carries_our_payload() -> None:
    """Named parameters, quick reply payload, URL suffix; the tap is a `button` message."""
    async with open_shop() as shop:
        await shop.control("templates", {**PROMO_TEMPLATE, "business_account_id": ACCOUNT})
        status, answer = await shop.send(type="template", template=promo_part())
        assert status == 200
        assert answer["messages"][0]["message_status"] == "accepted"
        await shop.after(60)
        (message,) = shop.log("message")
        assert message["text"] == "Ciao Anna, abbiamo una novità per te."
        assert message["buttons"][1]["url"] == "https://example.com/x1"
        await shop.act("tap", button="Basta")
        await shop.until(lambda: shop.receiver.items("messages"))
        tapped = shop.receiver.items("messages")[0]
        assert tapped["type"] == "button"
        assert tapped["button"] == {"payload": "stop:1", "text": "Basta"}


async def test_a_new_template_is_reviewed_and_can_then_be_sent() -> None:
    """PENDING cannot be sent (132001); the review's webhook says APPROVED; then it can."""
    async with open_shop() as shop:
        status, made = await shop.graph("POST", f"{ACCOUNT}/message_templates", TEXT_TEMPLATE)
        assert (status, made["status"]) == (200, "PENDING")
        part = template_part("order_update", "en_US", "Ann", "A-1")
        status, answer = await shop.send(type="template", template=part)
        assert (status, answer["error"]["code"]) == (404, 132001)
        await shop.after(10)
        await shop.until(lambda: shop.receiver.values())
        field, value = shop.receiver.values()[0]
        assert (field, value["event"]) == ("message_template_status_update", "APPROVED")
        assert value["message_template_id"] == int(made["id"])
        assert (await shop.send(type="template", template=part))[0] == 200


async def test_every_call_is_in_the_log() -> None:
    """Method, status, recipient, body, result and whether it was executed."""
    async with open_shop() as shop:
        wamid = await shop.say_hello()
        await shop.send(type="text", text={})
        accepted, refused = shop.log("call")
        assert (accepted["method"], accepted["status"], accepted["endpoint"]) == ("messages", 200, NUMBER)
        assert (accepted["to"], accepted["result_id"], accepted["executed"]) == (ANNA, wamid, True)
        assert accepted["params"]["text"] == {"body": "Hello"}
        assert (refused["status"], refused["result_id"], refused["executed"]) == (400, None, False)
        json.dumps(shop.world.log.read()[1])
