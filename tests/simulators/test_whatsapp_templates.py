"""Templates of the simulated WhatsApp: definition, review, quality, pauses, and filling them in."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from simulators.whatsapp.errors import GraphError
from simulators.whatsapp.templates import Template, check_definition, fill
from tests.simulators.whatsapp_shop import (
    ACCOUNT,
    PROMO_TEMPLATE,
    TEXT_TEMPLATE,
    open_shop,
    promo_part,
    template_part,
)


def changed(**parts: Any) -> dict[str, Any]:
    return {**copy.deepcopy(TEXT_TEMPLATE), **parts}


def body(text: str, *examples: str) -> list[dict[str, Any]]:
    return [{"type": "BODY", "text": text, "example": {"body_text": [list(examples)]}}]


QUICK = {"type": "QUICK_REPLY", "text": "Yes"}
URL = {"type": "URL", "text": "Go", "url": "https://example.com"}


def with_buttons(*buttons: dict[str, Any]) -> list[dict[str, Any]]:
    return [*body("Hello there, how are you?"), {"type": "BUTTONS", "buttons": list(buttons)}]


BAD: dict[str, tuple[dict[str, Any], int | None]] = {
    "name with capitals": (changed(name="Order"), None),
    "no such category": (changed(category="NEWS"), None),
    "language by name": (changed(language="english"), None),
    "no body": (changed(components=[{"type": "FOOTER", "text": "x"}]), 2388072),
    "variable at the end": (changed(components=body("Your order is {{1}}", "x")), 2388299),
    "variable at the start": (changed(components=body("{{1}} is your order", "x")), 2388299),
    "variables side by side": (changed(components=body("Your order {{1}} {{2}} ships today", "x", "y")), 2388072),
    "too many variables": (changed(components=body("Hi {{1}} and {{2}} x {{3}} ok", "x", "y", "z")), 2388293),
    "variables out of order": (changed(components=body("Your order {{2}} ships today.", "x")), 2388072),
    "no sample": (changed(components=[{"type": "BODY", "text": "Your order {{1}} ships today."}]), 2388072),
    "long body": (changed(components=body("x" * 1025)), 2388040),
    "footer with a variable": (changed(components=[*body("Hello"), {"type": "FOOTER", "text": "{{1}}"}]), 2388073),
    "long footer": (changed(components=[*body("Hello"), {"type": "FOOTER", "text": "x" * 61}]), 2388040),
    "header without sample": (changed(components=[*body("Hello"), {"type": "HEADER", "format": "IMAGE"}]), 2388047),
    "two bodies": (changed(components=[*body("Hello"), *body("Hello")]), None),
    "eleven buttons": (changed(components=with_buttons(*[QUICK] * 11)), None),
    "three links": (changed(components=with_buttons(URL, URL, URL)), None),
    "replies apart": (changed(components=with_buttons(QUICK, URL, QUICK)), None),
    "long button": (changed(components=with_buttons({"type": "QUICK_REPLY", "text": "x" * 26})), 2388040),
    "link with two variables": (
        changed(components=with_buttons({**URL, "url": "https://example.com/{{1}}/{{2}}", "example": ["x"]})),
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_definitions_against_the_rules_are_refused(name: str) -> None:
    """Error 100 with the rule's subcode."""
    spec, subcode = BAD[name]
    with pytest.raises(GraphError) as refused:
        check_definition(spec)
    assert (refused.value.code, refused.value.subcode) == (100, subcode)


def template(spec: dict[str, Any]) -> Template:
    return Template(id="1", account_id="2", **check_definition(copy.deepcopy(spec)))


def test_positional_and_named_parameters_are_filled_in() -> None:
    """By order, or by name in any order; button values too."""
    part = template_part("order_update", "en_US", "Ann", "A-1")
    assert fill(template(TEXT_TEMPLATE), part["components"]).text == "Hi Ann, order A-1 ships today."
    filled = fill(template(PROMO_TEMPLATE), promo_part("Bea")["components"])
    assert filled.text == "Ciao Bea, abbiamo una novità per te."
    assert [button.get("id") or button.get("url") for button in filled.buttons] == [
        "stop:1",
        "https://example.com/x1",
    ]


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        (["Ann"], 132000),
        (["Ann", "A-1", "more"], 132000),
        (["Ann", "A\n1"], 132008),
        (["Ann", "A     1"], 132008),
        (["Ann", "x" * 1024], 132005),
        (["Ann", ""], 131008),
    ],
)
def test_bad_parameters_are_refused(parameters: list[str], code: int) -> None:
    """Count, forbidden white space, length, emptiness."""
    with pytest.raises(GraphError) as refused:
        fill(template(TEXT_TEMPLATE), template_part("order_update", "en_US", *parameters)["components"])
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("component", "code"),
    [
        ({"type": "header", "parameters": [{"type": "text", "text": "x"}]}, 132000),
        ({"type": "button", "sub_type": "quick_reply", "index": 7, "parameters": []}, 132012),
        ({"type": "button", "sub_type": "url", "index": 0, "parameters": []}, 132012),
        ({"type": "hologram"}, 132012),
    ],
)
def test_parameters_for_what_is_not_there_are_refused(component: dict[str, Any], code: int) -> None:
    """A header, a button, a component that the template does not have."""
    components = [one for one in promo_part()["components"] if one.get("index") != component.get("index")]
    with pytest.raises(GraphError) as refused:
        fill(template(PROMO_TEMPLATE), [*components, component])
    assert refused.value.code == code


async def test_a_media_header_needs_its_medium() -> None:
    """Format mismatch 132012 without or with another kind; the vendor's example of one is accepted."""
    image = {"type": "HEADER", "format": "IMAGE", "example": {"header_handle": ["4::x"]}}
    made = template(changed(components=[image, *body("Hello")]))
    link = {"link": "https://example.com/a.png"}
    assert fill(made, [{"type": "header", "parameters": [{"type": "image", "image": link}]}]).header == {
        "type": "image",
        "image": link,
    }
    for parameters in ([], [{"type": "video", "video": link}]):
        with pytest.raises(GraphError) as refused:
            fill(made, [{"type": "header", "parameters": parameters}])
        assert refused.value.code == 132012


async def test_red_quality_pauses_for_three_hours_then_six_then_for_good() -> None:
    """PAUSED cannot be sent (132015), the pause ends by itself, the third time is DISABLED (132016)."""
    async with open_shop() as shop:
        made = await shop.control("templates", {**PROMO_TEMPLATE, "business_account_id": ACCOUNT})
        path = f"templates/{made['id']}"
        for hours in (3, 6):
            assert (await shop.control(path, {"quality": "RED"}))["status"] == "PAUSED"
            status, answer = await shop.send(type="template", template=promo_part())
            assert (status, answer["error"]["code"]) == (400, 132015)
            await shop.after(hours * 3600 + 1)
            assert (await shop.send(type="template", template=promo_part()))[0] == 200
        assert (await shop.control(path, {"quality": "RED"}))["status"] == "DISABLED"
        assert (await shop.send(type="template", template=promo_part()))[1]["error"]["code"] == 132016
        events = [
            value.get("event") for field, value in shop.receiver.values() if field.endswith("status_update")
        ]
        assert events == ["PAUSED", "APPROVED", "PAUSED", "APPROVED", "DISABLED"]
        titles = [
            value.get("other_info", {}).get("title")
            for _, value in shop.receiver.values()
            if "other_info" in value
        ]
        assert titles[:2] == ["FIRST_PAUSE", "UNPAUSE"]


async def test_templates_are_listed_edited_and_deleted_over_the_api() -> None:
    """Paging by cursor, filters, one edit a day, deletion of all languages of a name."""
    async with open_shop() as shop:
        for language in ("en", "it", "de"):
            status, _ = await shop.graph("POST", f"{ACCOUNT}/message_templates", changed(language=language))
            assert status == 200
        status, answer = await shop.graph("POST", f"{ACCOUNT}/message_templates", changed(language="it"))
        assert (status, answer["error"]["error_subcode"]) == (400, 2388024)
        await shop.after(10)
        seen: list[str] = []
        query = {"limit": "2", "fields": "name,language,status"}
        status, page = await shop.graph("GET", f"{ACCOUNT}/message_templates", None, **query)
        while page["data"]:
            assert {one["status"] for one in page["data"]} == {"APPROVED"}
            assert "components" not in page["data"][0]
            seen += [one["language"] for one in page["data"]]
            after = page["paging"]["cursors"]["after"]
            status, page = await shop.graph("GET", f"{ACCOUNT}/message_templates", None, **query, after=after)
        assert seen == ["en", "it", "de"]
        status, answer = await shop.graph("GET", f"{ACCOUNT}/message_templates", None, after="???")
        assert (status, answer["error"]["code"]) == (400, 131059)
        _, page = await shop.graph("GET", f"{ACCOUNT}/message_templates", None, language="it")
        identifier = page["data"][0]["id"]
        edit = {"components": body("Hello {{1}}, something else ships today.", "Ann")}
        assert await shop.graph("POST", identifier, edit) == (200, {"success": True})
        assert (await shop.graph("GET", identifier))[1]["status"] == "PENDING"
        await shop.after(10)
        assert (await shop.graph("POST", identifier, edit))[0] == 400
        assert (await shop.graph("DELETE", f"{ACCOUNT}/message_templates", None, name="order_update"))[
            0
        ] == 200
        assert (await shop.graph("GET", f"{ACCOUNT}/message_templates"))[1]["data"] == []


async def test_a_review_can_reject_or_wait() -> None:
    """REJECTED with its reason; manual: PENDING until somebody decides."""
    async with open_shop() as shop:
        await shop.knobs(template_review="reject")
        _, made = await shop.graph("POST", f"{ACCOUNT}/message_templates", changed(language="en"))
        await shop.after(10)
        _, shown = await shop.graph("GET", made["id"])
        assert (shown["status"], shown["rejected_reason"]) == ("REJECTED", "INVALID_FORMAT")
        await shop.knobs(template_review="manual")
        _, made = await shop.graph("POST", f"{ACCOUNT}/message_templates", changed(language="it"))
        await shop.after(3600)
        assert (await shop.graph("GET", made["id"]))[1]["status"] == "PENDING"
        await shop.control(f"templates/{made['id']}", {"status": "APPROVED"})
        assert (await shop.graph("GET", made["id"]))[1]["status"] == "APPROVED"


async def test_marketing_messages_takes_marketing_templates_only() -> None:
    """131055 for text, 134100 for utility, success for marketing."""
    async with open_shop() as shop:
        for one in (PROMO_TEMPLATE, TEXT_TEMPLATE):
            await shop.control("templates", {**one, "business_account_id": ACCOUNT})
        path = "106540352240001/marketing_messages"
        base = {"messaging_product": "whatsapp", "to": "447700900123"}
        order = template_part("order_update", "en_US", "Ann", "A-1")
        for body_part, code in (
            ({"type": "text", "text": {"body": "Hi"}}, 131055),
            ({"type": "template", "template": order}, 134100),
        ):
            assert (await shop.graph("POST", path, {**base, **body_part}))[1]["error"]["code"] == code
        status, answer = await shop.graph(
            "POST", path, {**base, "type": "template", "template": promo_part()}
        )
        assert (status, answer["success"]) == (200, True)
