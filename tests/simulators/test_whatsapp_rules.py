"""The rules of the simulated WhatsApp: windows, limits, identities, failures, prices, faults - each as documented."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from tests.simulators.whatsapp_shop import (
    ACCOUNT,
    ANNA,
    NUMBER,
    PROMO_TEMPLATE,
    SHOP_PHONE,
    START,
    TEXT_TEMPLATE,
    TOKEN,
    Shop,
    open_shop,
    promo_part,
    template_part,
)

HELLO: dict[str, Any] = {"type": "text", "text": {"body": "Hi"}}
ORDER: dict[str, Any] = {"type": "template", "template": template_part("order_update", "en_US", "Ann", "A-1")}
PROMO: dict[str, Any] = {"type": "template", "template": promo_part()}


async def plant(shop: Shop, *templates: dict[str, Any]) -> None:
    for template in templates:
        await shop.control("templates", {**template, "business_account_id": ACCOUNT})


async def outcome(shop: Shop, wamid: str) -> dict[str, Any]:
    """The last status of a message once all of them are in."""
    await shop.after(120)
    await shop.until(lambda: shop.receiver.statuses(wamid))
    return [item for item in shop.receiver.items("statuses") if item["id"] == wamid][-1]


def code_of(answer: Any) -> int:
    return int(answer["error"]["code"])


# --- the 24-hour window ----------------------------------------------------------------------------------------------


async def test_outside_the_window_a_free_message_fails_later_by_default() -> None:
    """Accepted, then 131047; the window opens with a message and closes 24 hours after it."""
    async with open_shop() as shop:
        failed = await outcome(shop, await shop.say_hello())
        assert (failed["status"], failed["errors"][0]["code"]) == ("failed", 131047)
        await shop.act("say", text="ciao")
        assert (await outcome(shop, await shop.say_hello()))["status"] == "read"
        await shop.after(24 * 3600)
        assert (await outcome(shop, await shop.say_hello()))["status"] == "failed"


async def test_the_window_can_be_checked_at_once_or_not_at_all() -> None:
    """sync: 400 131047; off: anything goes."""
    async with open_shop() as shop:
        await shop.knobs(window_check="sync")
        status, answer = await shop.send(**HELLO)
        assert (status, code_of(answer)) == (400, 131047)
        await shop.knobs(window_check="off")
        assert (await outcome(shop, await shop.say_hello()))["status"] == "read"


async def test_a_template_goes_outside_the_window_but_does_not_open_it() -> None:
    """Only the person's answer opens the window."""
    async with open_shop() as shop:
        await plant(shop, TEXT_TEMPLATE)
        status, answer = await shop.send(**ORDER)
        assert status == 200
        assert (await outcome(shop, answer["messages"][0]["id"]))["status"] == "read"
        assert (await outcome(shop, await shop.say_hello()))["errors"][0]["code"] == 131047


# --- limits ----------------------------------------------------------------------------------------------------------


async def test_a_pair_takes_45_messages_at_once_and_then_one_in_six_seconds() -> None:
    """131056 past the burst; another person is not concerned."""
    async with open_shop() as shop:
        await shop.act("say", text="ciao")
        codes = [(await shop.send(**HELLO))[0] for _ in range(46)]
        assert codes == [200] * 45 + [400]
        assert code_of((await shop.send(**HELLO))[1]) == 131056
        assert (await shop.send("447700900999", **HELLO))[0] == 200
        await shop.after(6.1)
        assert (await shop.send(**HELLO))[0] == 200
        assert (await shop.send(**HELLO))[0] == 400


async def test_a_number_sends_80_messages_a_second() -> None:
    """130429 past it, for whomever; received messages count too; a second later it goes on."""
    async with open_shop() as shop:
        for index in range(10):
            await shop.act("say", text=f"{index}")
        statuses = [(await shop.send(f"4477009{index:05d}", **HELLO)) for index in range(71)]
        assert [status for status, _ in statuses] == [200] * 70 + [400]
        assert code_of(statuses[-1][1]) == 130429
        await shop.after(1)
        assert (await shop.send(**HELLO))[0] == 200


async def test_a_portfolio_reaches_so_many_new_people_a_day() -> None:
    """131048 as a later failure; people within their window do not count; a day later there is room again."""
    async with open_shop(messaging_limit="TIER_250", mps=1000) as shop:
        await plant(shop, TEXT_TEMPLATE)
        await shop.knobs(status_delay_ms=0)
        for index in range(250):
            assert (await shop.send(f"4477008{index:05d}", **ORDER))[0] == 200
        _, answer = await shop.send("447700899999", **ORDER)
        failed = await outcome(shop, answer["messages"][0]["id"])
        assert failed["errors"][0]["code"] == 131048
        await shop.act("say", text="ciao")
        _, answer = await shop.send(ANNA, **ORDER)
        assert (await outcome(shop, answer["messages"][0]["id"]))["status"] == "read"
        await shop.after(24 * 3600)
        _, answer = await shop.send("447700899999", **ORDER)
        assert (await outcome(shop, answer["messages"][0]["id"]))["status"] == "read"


async def test_set_up_calls_are_limited_by_the_hour() -> None:
    """80007 past the account's allowance; sends are not concerned; the usage header says how much is used."""
    async with open_shop() as shop:
        shop.network.set_limits({"management_per_h": 10})
        assert [(await shop.graph("GET", ACCOUNT))[0] for _ in range(11)] == [200] * 10 + [400]
        assert code_of((await shop.graph("GET", NUMBER))[1]) == 80007
        assert (await shop.send(**HELLO))[0] == 200
        await shop.after(370)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with shop.session.get(f"{shop.origin}/v25.0/{NUMBER}", headers=headers) as response:
            assert response.status == 200
            usage = json.loads(response.headers["X-Business-Use-Case-Usage"])
            assert usage[ACCOUNT][0]["call_count"] > 90


async def test_a_number_that_was_deregistered_cannot_send() -> None:
    """133010 until it is registered again."""
    async with open_shop() as shop:
        await shop.graph("POST", f"{NUMBER}/deregister", {})
        assert code_of((await shop.send(**HELLO))[1]) == 133010
        await shop.graph("POST", f"{NUMBER}/register", {"messaging_product": "whatsapp", "pin": "123456"})
        assert (await shop.send(**HELLO))[0] == 200


async def test_limits_can_be_switched_off() -> None:
    """For load runs: no bucket refuses anything."""
    async with open_shop() as shop:
        limits = shop.network.set_limits({"enabled": False})
        assert limits["enabled"] is False
        assert {(await shop.send(**HELLO))[0] for _ in range(120)} == {200}


# --- who people are --------------------------------------------------------------------------------------------------


async def test_a_person_without_a_phone_is_known_and_reached_by_bsuid_alone() -> None:
    """No `from`, no `wa_id`, no `recipient_id` anywhere; sending to `recipient` works."""
    async with open_shop() as shop:
        bsuid = "IT.1349120865530274191"
        await shop.control("people", {"bsuid": bsuid, "name": "Bea", "id": "bea"})
        await shop.act("say", person="bea", text="ciao")
        status, answer = await shop.send(recipient=bsuid, **HELLO)
        assert status == 200
        assert answer["contacts"] == [{"input": bsuid, "user_id": bsuid}]
        read = await outcome(shop, answer["messages"][0]["id"])
        assert (read["status"], read["recipient_user_id"]) == ("read", bsuid)
        assert "recipient_id" not in read
        (message,) = shop.receiver.items("messages")
        assert message["from_user_id"] == bsuid
        assert "from" not in message
        value = shop.receiver.values()[0][1]
        assert value["contacts"] == [{"profile": {"name": "Bea"}, "user_id": bsuid}]


async def test_a_person_with_a_username_hides_the_number_until_it_was_used() -> None:
    """The number shows for 30 days after the business wrote to it."""
    async with open_shop() as shop:
        await shop.control(f"people/{ANNA}", {"username": "anna.esempio"})
        await shop.act("say", text="one")
        await shop.say_hello()
        await shop.act("say", text="two")
        await shop.after(31 * 24 * 3600)
        await shop.act("say", text="three")
        await shop.until(lambda: len(shop.receiver.items("messages")) == 3)
        assert [item.get("from") for item in shop.receiver.items("messages")] == [None, ANNA, None]
        assert len({item["from_user_id"] for item in shop.receiver.items("messages")}) == 1


@pytest.mark.parametrize(
    ("mode", "keys"), [("phone", {"from"}), ("both", {"from", "from_user_id"}), ("bsuid", {"from_user_id"})]
)
async def test_the_bsuid_mode_decides_for_all(mode: str, keys: set[str]) -> None:
    """phone: as before 2026; both; bsuid: as for everybody with a username."""
    async with open_shop() as shop:
        await shop.knobs(bsuid_mode=mode)
        await shop.act("say", text="ciao")
        await shop.until(lambda: shop.receiver.items("messages"))
        (message,) = shop.receiver.items("messages")
        assert {key for key in message if key.startswith("from")} == keys


async def test_a_new_number_brings_new_ids() -> None:
    """A system message names the new number, `user_id_update` the new BSUID; both lead to the same person."""
    async with open_shop() as shop:
        await shop.act("say", text="ciao")
        await shop.act("change_number", phone="+447700900555")
        await shop.until(lambda: len(shop.receiver.values()) == 3)
        values = dict(shop.receiver.values()[1:])
        system = values["messages"]["messages"][0]
        assert (system["from"], system["system"]["wa_id"]) == (ANNA, "447700900555")
        assert "contacts" not in values["messages"]
        update = values["user_id_update"]["user_id_update"][0]
        before = shop.receiver.items("messages")[0]["from_user_id"]
        assert update["user_id"]["previous"] == before
        assert (await shop.send(recipient=update["user_id"]["current"], **HELLO))[0] == 200
        _, answer = await shop.send("447700900555", **HELLO)
        assert answer["contacts"][0]["user_id"] == update["user_id"]["current"]


async def test_authentication_templates_need_a_phone_number() -> None:
    """131062 to a BSUID."""
    async with open_shop() as shop:
        otp = {
            "name": "code",
            "language": "en",
            "category": "AUTHENTICATION",
            "components": [
                {"type": "BODY", "add_security_recommendation": True},
                {"type": "BUTTONS", "buttons": [{"type": "OTP", "otp_type": "COPY_CODE", "text": "Copy"}]},
            ],
        }
        await plant(shop, otp)
        components = [
            {"type": "body", "parameters": [{"type": "text", "text": "123456"}]},
            {
                "type": "button",
                "sub_type": "url",
                "index": "0",
                "parameters": [{"type": "text", "text": "123456"}],
            },
        ]
        part = {"name": "code", "language": {"code": "en"}, "components": components}
        await shop.control("people", {"bsuid": "IT.77", "name": "Bea"})
        status, answer = await shop.send(recipient="IT.77", type="template", template=part)
        assert (status, code_of(answer)) == (400, 131062)
        assert (await shop.send(type="template", template=part))[0] == 200


# --- who cannot be reached -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("person", "code"),
    [
        ({"on_whatsapp": False}, 131026),
        ({"stopped_marketing": True}, 131050),
        ({"marketing_capped": True}, 131049),
        ({"fails_with": 130472}, 130472),
    ],
)
async def test_some_people_do_not_get_marketing(person: dict[str, Any], code: int) -> None:
    """Accepted, then failed with the code of the reason, never shown to the person."""
    async with open_shop() as shop:
        await plant(shop, PROMO_TEMPLATE)
        await shop.control(f"people/{ANNA}", person)
        status, answer = await shop.send(**PROMO)
        assert status == 200
        failed = await outcome(shop, answer["messages"][0]["id"])
        assert (failed["status"], failed["errors"][0]["code"]) == ("failed", code)
        assert shop.log("message") == []


async def test_people_in_the_united_states_get_no_marketing() -> None:
    """131049 for +1 650, but not for Canada; utility goes."""
    async with open_shop() as shop:
        await plant(shop, PROMO_TEMPLATE, TEXT_TEMPLATE)
        expected = {
            "16505550111": (PROMO, "failed"),
            "14165550111": (PROMO, "read"),
            "16505550112": (ORDER, "read"),
        }
        for phone, (message, status) in expected.items():
            _, answer = await shop.send(phone, **message)
            assert (await outcome(shop, answer["messages"][0]["id"]))["status"] == status


async def test_stopping_marketing_tells_the_business_and_lasts_until_resumed() -> None:
    """user_preferences stop, then 131050; resume, then it is delivered."""
    async with open_shop() as shop:
        await plant(shop, PROMO_TEMPLATE)
        await shop.act("stop_marketing")
        _, answer = await shop.send(**PROMO)
        assert (await outcome(shop, answer["messages"][0]["id"]))["errors"][0]["code"] == 131050
        await shop.act("resume_marketing")
        _, answer = await shop.send(**PROMO)
        assert (await outcome(shop, answer["messages"][0]["id"]))["status"] == "read"
        preferences = shop.receiver.items("user_preferences")
        assert [item["value"] for item in preferences] == ["stop", "resume"]
        assert all(isinstance(item["timestamp"], int) for item in preferences)


async def test_a_phone_that_is_off_gets_its_messages_later() -> None:
    """sent only; delivered and shown, in order, when it is on again."""
    async with open_shop() as shop:
        await shop.act("say", text="ciao")
        await shop.act("phone_off")
        wamids = [await shop.say_hello(text=f"{index}") for index in range(3)]
        await shop.after(3600)
        assert [shop.receiver.statuses(wamid) for wamid in wamids] == [["sent"]] * 3
        assert shop.log("message") == []
        await shop.act("phone_on")
        await shop.after(120)
        await shop.until(lambda: all(len(shop.receiver.statuses(wamid)) == 3 for wamid in wamids))
        assert [entry["text"] for entry in shop.log("message")] == ["0", "1", "2"]


async def test_without_receipts_nothing_is_read() -> None:
    """delivered is the last status."""
    async with open_shop() as shop:
        await shop.control(f"people/{ANNA}", {"receipts": False})
        await shop.act("say", text="ciao")
        wamid = await shop.say_hello()
        await shop.after(600)
        await shop.until(lambda: len(shop.receiver.statuses(wamid)) == 2)
        assert shop.receiver.statuses(wamid) == ["sent", "delivered"]


async def test_a_reaction_only_gets_sent() -> None:
    """And one to a message that nobody knows fails with 131009."""
    async with open_shop() as shop:
        said = await shop.act("say", text="ciao")
        reaction = {"message_id": said["external_id"], "emoji": "👍"}
        _, answer = await shop.send(type="reaction", reaction=reaction)
        assert (await outcome(shop, answer["messages"][0]["id"]))["status"] == "sent"
        _, answer = await shop.send(type="reaction", reaction={"message_id": "wamid.none", "emoji": "👍"})
        assert (await outcome(shop, answer["messages"][0]["id"]))["errors"][0]["code"] == 131009


# --- prices ----------------------------------------------------------------------------------------------------------


async def pricing(shop: Shop, **message: Any) -> tuple[str, str]:
    status, answer = await shop.send(**message)
    assert status == 200, answer
    wamid = answer["messages"][0]["id"]
    await shop.after(0.5)
    await shop.until(lambda: shop.receiver.statuses(wamid))
    sent = next(item for item in shop.receiver.items("statuses") if item["id"] == wamid)
    return sent["pricing"]["type"], sent["pricing"]["category"]


async def test_prices_change_with_october_2026() -> None:
    """Before: service and utility in the window are free. After: service past its allowance and all utility cost."""
    async with open_shop() as shop:
        await plant(shop, TEXT_TEMPLATE, PROMO_TEMPLATE)
        assert await pricing(shop, **ORDER) == ("regular", "utility")
        await shop.act("say", text="ciao")
        assert await pricing(shop, **ORDER) == ("free_customer_service", "utility")
        assert await pricing(shop, **HELLO) == ("free_customer_service", "service")
        assert await pricing(shop, **PROMO) == ("regular", "marketing")
    async with open_shop(at=START + 30 * 24 * 3600) as shop:
        await plant(shop, TEXT_TEMPLATE)
        await shop.knobs(service_allowance=1)
        await shop.act("say", text="ciao")
        assert await pricing(shop, **ORDER) == ("regular", "utility")
        assert await pricing(shop, **HELLO) == ("free_customer_service", "service")
        assert await pricing(shop, **HELLO) == ("regular", "service")


async def test_only_sent_and_one_later_status_carry_the_price() -> None:
    """delivered has it, or read when delivered was left out."""
    async with open_shop() as shop:
        await shop.act("say", text="ciao")
        await shop.knobs(status_delay_ms=100)
        usual = await shop.say_hello()
        await shop.after(10)
        await shop.knobs(skip_delivered_p=1)
        skipping = await shop.say_hello()
        await shop.after(10)
        await shop.until(lambda: len(shop.receiver.items("statuses")) == 5)
        priced = [
            (item["id"] == usual, item["status"])
            for item in shop.receiver.items("statuses")
            if "pricing" in item
        ]
        assert priced == [(True, "sent"), (True, "delivered"), (False, "sent"), (False, "read")]
        assert shop.receiver.statuses(skipping) == ["sent", "read"]


# --- who asks --------------------------------------------------------------------------------------------------------


async def test_tokens_are_checked_first() -> None:
    """104 without, 190 unknown, 190/463 expired, 200 without the permission, 100/33 for what belongs to others."""
    async with open_shop() as shop:
        body = {"messaging_product": "whatsapp", "to": ANNA, **HELLO}
        path = f"{NUMBER}/messages"
        status, answer = await shop.graph("POST", path, body, token=None)
        assert (status, code_of(answer)) == (401, 104)
        status, answer = await shop.graph("POST", path, body, token="EAAG-other")
        assert (status, code_of(answer)) == (401, 190)
        status, answer = await shop.graph("POST", "4711/messages", body)
        assert (status, code_of(answer), answer["error"]["error_subcode"]) == (400, 100, 33)
        other = {"phone_number_id": "9", "business_account_id": "8", "access_token": "T-8"}
        await shop.control("numbers", other)
        assert (await shop.graph("POST", path, body, token="T-8"))[1]["error"]["error_subcode"] == 33
        shop.network.state.tokens["T-8"].expires_at = int(START) - 1
        status, answer = await shop.graph("POST", "9/messages", body, token="T-8")
        assert (status, answer["error"]["error_subcode"]) == (401, 463)
        scopes = {**other, "access_token": "T-9", "scopes": ["whatsapp_business_management"]}
        await shop.control("numbers", scopes)
        status, answer = await shop.graph("POST", "9/messages", body, token="T-9")
        assert (status, code_of(answer)) == (403, 200)


async def test_debug_token_tells_validity_and_permissions() -> None:
    """A good one with scopes and accounts, an unknown one as not valid."""
    async with open_shop() as shop:
        status, answer = await shop.graph("GET", "debug_token", input_token=TOKEN)
        assert status == 200
        assert answer["data"]["is_valid"] is True
        assert "whatsapp_business_messaging" in answer["data"]["scopes"]
        assert answer["data"]["granular_scopes"][0]["target_ids"] == [ACCOUNT]
        _, answer = await shop.graph("GET", "debug_token", input_token="nonsense")
        assert answer["data"]["is_valid"] is False


async def test_the_sender_and_strangers_of_a_test_number_are_refused() -> None:
    """131021 to oneself; 131030 outside the allowed list."""
    async with open_shop() as shop:
        assert code_of((await shop.send(SHOP_PHONE, **HELLO))[1]) == 131021
        number = {"phone_number_id": NUMBER, "business_account_id": ACCOUNT, "access_token": TOKEN}
        await shop.control(
            "numbers",
            {**number, "display_phone_number": SHOP_PHONE, "allowed": [ANNA], "app_id": "900100200300"},
        )
        assert code_of((await shop.send("447700900555", **HELLO))[1]) == 131030
        assert (await shop.send(ANNA, **HELLO))[0] == 200


async def test_a_restricted_account_cannot_send_until_it_is_lifted() -> None:
    """The restriction's code at once, the event by webhook, health_status BLOCKED meanwhile."""
    async with open_shop() as shop:
        await shop.control("events", {"number": NUMBER, "event": "restriction", "code": 368})
        status, answer = await shop.send(**HELLO)
        assert (status, code_of(answer)) == (403, 368)
        _, fields = await shop.graph("GET", NUMBER, fields="health_status,quality_rating")
        assert fields["health_status"]["can_send_message"] == "BLOCKED"
        await shop.control("events", {"number": NUMBER, "event": "lift_restriction"})
        assert (await shop.send(**HELLO))[0] == 200


# --- faults ----------------------------------------------------------------------------------------------------------


def fault(shop: Shop, **spec: Any) -> None:
    shop.world.faults.add({"network": "whatsapp", "method": "messages", **spec})


async def test_a_fault_before_executes_nothing_and_one_after_does() -> None:
    """500 before: no message. 502 after: the message goes although the answer is HTML."""
    async with open_shop() as shop:
        await shop.act("say", text="ciao")
        fault(shop, kind="500")
        status, answer = await shop.send(**HELLO)
        assert (status, code_of(answer)) == (500, 131000)
        fault(shop, kind="502_html", when="after")
        url = f"{shop.origin}/v25.0/{NUMBER}/messages"
        body = {"messaging_product": "whatsapp", "to": ANNA, **HELLO}
        async with shop.session.post(
            url, json=body, headers={"Authorization": f"Bearer {TOKEN}"}
        ) as response:
            assert (response.status, response.content_type) == (502, "text/html")
        await shop.after(60)
        assert len(shop.log("message")) == 1
        assert [entry["executed"] for entry in shop.log("call")] == [False, True]


async def test_429_tells_when_to_come_back_and_only_hits_its_target() -> None:
    """Code 4 with Retry-After, for the one recipient named."""
    async with open_shop() as shop:
        fault(shop, kind="429", retry_after=7, target=ANNA)
        assert (await shop.send("447700900555", **HELLO))[0] == 200
        status, answer = await shop.send(f"+{ANNA}", **HELLO)
        assert (status, code_of(answer)) == (429, 4)
        assert (await shop.send(**HELLO))[0] == 200


@pytest.mark.parametrize("kind", ["reset", "garbage", "hang"])
async def test_an_outcome_can_stay_unknown(kind: str) -> None:
    """Executed, but the answer is lost, cut off or never comes."""
    async with open_shop() as shop:
        await shop.act("say", text="ciao")
        fault(shop, kind=kind, when="after")
        with pytest.raises((aiohttp.ClientError, ValueError, TimeoutError)):
            await asyncio.wait_for(shop.send(**HELLO), 0.5)
        await shop.after(60)
        assert len(shop.log("message")) == 1


# --- pacing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("knob", "last", "code"), [("release", "read", None), ("drop", "failed", 132015)])
async def test_pacing_holds_marketing_and_then_decides(knob: str, last: str, code: int | None) -> None:
    """held_for_quality_assessment; an hour later released, or dropped with 132015."""
    async with open_shop() as shop:
        await plant(shop, PROMO_TEMPLATE)
        await shop.knobs(pacing=knob)
        _, answer = await shop.send(**PROMO)
        assert answer["messages"][0]["message_status"] == "held_for_quality_assessment"
        wamid = answer["messages"][0]["id"]
        await shop.after(3500)
        assert shop.receiver.statuses(wamid) == []
        final = await outcome(shop, wamid)
        assert final["status"] == last
        assert (final.get("errors") or [{"code": None}])[0]["code"] == code


async def test_reading_marks_and_types() -> None:
    """A read mark needs a message that was received; typing ends with the next message."""
    async with open_shop() as shop:
        said = await shop.act("say", text="ciao")
        body = {
            "messaging_product": "whatsapp",
            "status": "read",
            "message_id": said["external_id"],
            "typing_indicator": {"type": "text"},
        }
        assert await shop.graph("POST", f"{NUMBER}/messages", body) == (200, {"success": True})
        thread = shop.network.state.threads[NUMBER, ANNA]
        assert thread.typing_until > shop.world.clock.now()
        assert thread.messages[0].status == "read"
        await shop.say_hello()
        await shop.after(5)
        assert thread.typing_until == 0
        status, answer = await shop.graph("POST", f"{NUMBER}/messages", {**body, "message_id": "wamid.none"})
        assert (status, code_of(answer)) == (400, 131009)
