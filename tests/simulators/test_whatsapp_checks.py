"""What `POST /{phone}/messages` accepts and how it words a refusal, also for the vendor's own examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simulators.whatsapp.checks import check_read, check_send
from simulators.whatsapp.errors import KNOWN, GraphError

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples" / "whatsapp-api"
ERRORS = Path(__file__).parents[2].parent / "shared" / "samples" / "whatsapp-errors.json"
TO = {"messaging_product": "whatsapp", "to": "+447700900123"}


def reply(number: int, title: str = "") -> dict[str, Any]:
    return {"type": "reply", "reply": {"id": f"b{number}", "title": title or f"Button {number}"}}


def buttons(*given: dict[str, Any], **more: Any) -> dict[str, Any]:
    interactive = {"type": "button", "body": {"text": "?"}, "action": {"buttons": list(given)}, **more}
    return {"type": "interactive", "interactive": interactive}


def rows(count: int, **more: Any) -> dict[str, Any]:
    found = [{"id": f"r{number}", "title": f"Row {number}", **more} for number in range(count)]
    action = {"button": "Open", "sections": [{"rows": found}]}
    return {"type": "interactive", "interactive": {"type": "list", "body": {"text": "?"}, "action": action}}


def interactive(kind: str, action: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "interactive",
        "interactive": {"type": kind, "body": {"text": "?"}, "action": action, **more},
    }


def card(number: int, *, buttons: int = 0) -> dict[str, Any]:
    if buttons:
        replies = [
            {"type": "quick_reply", "quick_reply": {"id": f"{n}", "title": f"T{n}"}} for n in range(buttons)
        ]
        action: dict[str, Any] = {"buttons": replies}
    else:
        action = {"name": "cta_url", "parameters": {"display_text": "Open", "url": "https://example.com"}}
    image = {"type": "image", "image": {"link": "https://example.com/a.png"}}
    return {"card_index": number, "type": "cta_url", "header": image, "action": action}


GOOD: dict[str, dict[str, Any]] = {
    "text without a type": {"text": {"body": "Hi"}},
    "4096 characters": {"type": "text", "text": {"body": "x" * 4096}},
    "image by id": {"type": "image", "image": {"id": "1", "caption": "c"}},
    "voice": {"type": "audio", "audio": {"id": "1", "voice": True}},
    "location with texts for numbers": {
        "type": "location",
        "location": {"latitude": "45.1", "longitude": "9.2"},
    },
    "reaction taken back": {"type": "reaction", "reaction": {"message_id": "wamid.X", "emoji": ""}},
    "three buttons with a header": buttons(
        reply(1), reply(2), reply(3), header={"type": "text", "text": "Head"}
    ),
    "ten rows": rows(10, description="x" * 72),
    "link button": interactive(
        "cta_url", {"name": "cta_url", "parameters": {"display_text": "Go", "url": "https://example.com"}}
    ),
    "location request": interactive("location_request_message", {"name": "send_location"}),
    "contact request": interactive("contact_request", {"name": "request_contact_info"}),
    "carousel": interactive("carousel", {"cards": [card(0), card(1)]}),
    "carousel with replies": interactive("carousel", {"cards": [card(0, buttons=2), card(1, buttons=2)]}),
    "reply": {"text": {"body": "Hi"}, "context": {"message_id": "wamid.X"}},
    "512 characters of our own": {"text": {"body": "Hi"}, "biz_opaque_callback_data": "x" * 512},
}

BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "unknown type": ({"type": "hologram", "hologram": {}}, 100, "hologram"),
    "no part": ({"type": "image"}, 131008, "image"),
    "no body": ({"type": "text", "text": {}}, 131008, "text['body']"),
    "empty body": ({"type": "text", "text": {"body": ""}}, 131008, "text['body']"),
    "4097 characters": ({"type": "text", "text": {"body": "x" * 4097}}, 131009, "text['body']"),
    "body no text": ({"type": "text", "text": {"body": 5}}, 100, "text['body']"),
    "id and link": ({"type": "image", "image": {"id": "1", "link": "https://example.com"}}, 131008, "image"),
    "caption of a sticker": ({"type": "sticker", "sticker": {"id": "1", "caption": "c"}}, 131009, "caption"),
    "long caption": ({"type": "image", "image": {"id": "1", "caption": "x" * 1025}}, 131009, "caption"),
    "off the earth": ({"type": "location", "location": {"latitude": 91, "longitude": 0}}, 131009, "latitude"),
    "contact with one name": (
        {"type": "contacts", "contacts": [{"name": {"formatted_name": "A"}, "phones": []}]},
        131008,
        "first_name",
    ),
    "four buttons": (buttons(*(reply(number) for number in range(4))), 131009, "1 to 3"),
    "long title": (buttons(reply(1, "x" * 21)), 131009, "title"),
    "same title twice": (buttons(reply(1, "A"), reply(2, "A")), 131009, "unique"),
    "long header": (buttons(reply(1), header={"type": "text", "text": "x" * 61}), 131009, "header"),
    "long footer": (buttons(reply(1), footer={"text": "x" * 61}), 131009, "footer"),
    "eleven rows": (rows(11), 131009, "at most 10 rows"),
    "long row": (rows(1, title="x" * 25), 131009, "title"),
    "long description": (rows(1, description="x" * 73), 131009, "description"),
    "link of a wrong scheme": (
        interactive(
            "cta_url", {"name": "cta_url", "parameters": {"display_text": "Go", "url": "ftp://example.com"}}
        ),
        131009,
        "url",
    ),
    "one card": (interactive("carousel", {"cards": [card(0)]}), 131009, "2 to 10"),
    "unlike cards": (
        interactive("carousel", {"cards": [card(0), card(1, buttons=1)]}),
        131009,
        "same number",
    ),
    "carousel with footer": (
        interactive("carousel", {"cards": [card(0), card(1)]}, footer={"text": "f"}),
        131009,
        "footer",
    ),
    "unknown interactive": (interactive("hologram", {}), 131009, "hologram"),
    "513 characters of our own": (
        {"text": {"body": "Hi"}, "biz_opaque_callback_data": "x" * 513},
        131009,
        "biz_opaque_callback_data",
    ),
    "template without a language": ({"type": "template", "template": {"name": "a"}}, 131008, "language"),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_bodies_pass(name: str) -> None:
    """Everything within the documented limits."""
    check_send({**TO, **GOOD[name]})


@pytest.mark.parametrize("name", BAD)
def test_bad_bodies_are_refused_with_the_field_named(name: str) -> None:
    """131008 for what is missing, 131009 for a bad value, 100 for a wrong type."""
    body, code, words = BAD[name]
    with pytest.raises(GraphError) as refused:
        check_send({**TO, **body})
    assert refused.value.code == code
    assert words in refused.value.details
    assert refused.value.http == 400


@pytest.mark.parametrize(
    "recipient",
    [{}, {"to": ""}, {"to": "anna"}, {"to": 39}, {"recipient": "anna"}, {"recipient": "IT.x!"}],
)
def test_a_recipient_is_needed(recipient: dict[str, Any]) -> None:
    """A phone number in `to` or a BSUID in `recipient`."""
    with pytest.raises(GraphError):
        check_send({"messaging_product": "whatsapp", "text": {"body": "Hi"}, **recipient})


def test_the_product_must_be_named() -> None:
    """messaging_product is asked for before anything else."""
    with pytest.raises(GraphError, match="messaging_product is required"):
        check_send({"to": "+447700900123", "text": {"body": "Hi"}})


def example_sends() -> list[Any]:
    if not SAMPLES.is_dir():
        return [pytest.param(None, marks=pytest.mark.skip(reason="the vendor's examples are not at hand"))]
    pattern = "post-phone-number-id-m*-request-*.json"
    found = []
    for path in sorted(SAMPLES.glob(pattern)):
        example = json.loads(path.read_text("utf-8"))
        if example["path"].endswith(("/messages", "/marketing_messages")):
            found.append(pytest.param(example["body"], id=path.stem))
    return found


def filled(value: Any) -> Any:
    """The example with its placeholders replaced by something usable."""
    if isinstance(value, dict):
        return {key: filled(part) for key, part in value.items()}
    if isinstance(value, list):
        return [filled(part) for part in value]
    if isinstance(value, str):
        if "Recipient" in value:
            return "+447700900123"
        if value.startswith("http(s)://") or "<http(s)://" in value:
            return "https://example.com/file"
        if value == "<HEADER_TYPE>":
            return "text"
        # Placeholders such as <LIST_SECTION_1_ROW_1_TITLE> are longer than what they stand for may be.
        if value.startswith("<"):
            return value.strip("<>")[-18:]
    return value


@pytest.mark.parametrize("body", example_sends())
def test_the_vendors_examples_are_accepted(body: dict[str, Any]) -> None:
    """Except those that leave out the type of something that is not a text."""
    body = filled(body)
    if body.get("status") == "read":
        check_read(body)
        return
    if "type" not in body and "text" not in body:
        # Some examples leave `type` out; the platform then expects a text.
        with pytest.raises(GraphError) as refused:
            check_send(body)
        assert refused.value.code == 131008
        return
    assert check_send(body) == body.get("type", "text")


def test_error_codes_have_the_documented_http_status() -> None:
    """Every code that we know is answered as the vendor's table says."""
    if not ERRORS.is_file():
        pytest.skip("the vendor's table of errors is not at hand")
    table = {one["code"]: one["http"] for one in json.loads(ERRORS.read_text("utf-8"))["errors"]}
    for code, (status, _) in KNOWN.items():
        if table.get(code) is not None:
            assert (code, status) == (code, table[code])
