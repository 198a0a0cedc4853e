"""The webhooks that the simulated WhatsApp emits have the keys and types of recorded ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.simulators.whatsapp_shop import ACCOUNT, NUMBER, TEXT_TEMPLATE, Shop, open_shop

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples" / "whatsapp"

# Keys that newer or richer payloads have and older ones lack, either way.
OPTIONAL = {
    "address", "birthday", "caption", "context", "contacts", "conversation", "addresses", "description", "emails",
    "errors", "expiration_timestamp", "flow_token", "from_user_id", "href", "message_template_category", "name", "org",
    "other_info", "parent_user_id", "pricing", "previous_category", "recipient_user_id", "rejection_info", "time",
    "type", "unsupported", "url", "urls", "user_id", "username", "biz_opaque_callback_data", "video_url", "image_url",
    "last_name", "filename",
}  # fmt: skip


def differences(ours: object, theirs: object, path: str = "$") -> Iterator[str]:
    """Where the two differ in keys or JSON types; of lists the first elements are compared."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(set(ours) ^ set(theirs)):
            if key not in OPTIONAL:
                yield f"{path}.{key} only in {'ours' if key in ours else 'theirs'}"
        for key in set(ours) & set(theirs):
            yield from differences(ours[key], theirs[key], f"{path}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list):
        if ours and theirs:
            yield from differences(ours[0], theirs[0], f"{path}[0]")
    elif _kind(ours) != _kind(theirs):
        yield f"{path}: {_kind(ours)} against {_kind(theirs)}"


def _kind(value: object) -> str:
    """The JSON type; whole and broken numbers are one."""
    return "number" if type(value) in (int, float) else type(value).__name__


def sample(name: str) -> Any:
    path = SAMPLES / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"recorded webhooks are not at hand: {path.name}")
    return json.loads(path.read_text("utf-8"))


REFERRAL = {
    "source_url": "https://example.com/ad",
    "source_id": "120200",
    "source_type": "ad",
    "headline": "Spring",
    "body": "Come in",
    "media_type": "image",
    "image_url": "https://example.com/a.jpg",
    "thumbnail_url": "https://example.com/t.jpg",
    "ctwa_clid": "clid-1",
}
# sample: what Anna does to cause it
ACTS: dict[str, dict[str, Any]] = {
    "messages_text-text": {"do": "say", "text": "ciao"},
    "messages_text-forwarded": {"do": "say", "text": "ciao", "forwarded": True},
    "messages_text-forwarded_many_times": {"do": "say", "text": "ciao", "forwarded": "often"},
    "messages_text-reply": {"do": "say", "text": "ciao", "reply_to": "wamid.X"},
    "messages_text_referral-referral": {"do": "say", "text": "ciao", "referral": REFERRAL},
    "messages_image-image": {"do": "media", "kind": "image"},
    "messages_image-media_with_url": {"do": "media", "kind": "image"},
    "messages_video-video": {"do": "media", "kind": "video", "caption": "look"},
    "messages_audio-audio": {"do": "media", "kind": "audio", "voice": False},
    "messages_audio-voice": {"do": "media", "kind": "voice"},
    "messages_document-document": {"do": "media", "kind": "document", "caption": "here", "name": "a.pdf"},
    "messages_sticker-static_sticker": {"do": "media", "kind": "sticker"},
    "messages_sticker-animated_sticker": {"do": "media", "kind": "sticker", "animated": True},
    "messages_location-current_location": {"do": "location"},
    "messages_location-chosen_location": {
        "do": "location",
        "name": "Bar",
        "address": "Via Prova 1",
        "url": "https://example.com",
    },
    "messages_contacts-contacts": {"do": "contact"},
    "messages_reaction-reaction": {"do": "react", "message_id": "wamid.X", "emoji": "😮"},
    "messages_reaction-unreaction_empty": {"do": "react", "message_id": "wamid.X", "emoji": ""},
    "messages_reaction-unreaction_no_emoji": {"do": "react", "message_id": "wamid.X", "emoji": None},
    "messages_order-order": {"do": "order"},
    "messages_interactive_nfm_reply-completion": {"do": "nfm", "response": {"flow_token": "t", "stars": "4"}},
    "messages_interactive_call_permission_reply-accept": {"do": "call_permission"},
    "messages_interactive_call_permission_reply-reject": {"do": "call_permission", "accept": False},
    "messages_unsupported-unsupported": {"do": "unsupported"},
    "messages_unsupported-unsupported_with_type": {"do": "unsupported", "type": "poll"},
    "messages_request_welcome": {"do": "welcome"},
    "messages_revoke-revoke": {"do": "revoke", "message_id": "wamid.X"},
    "messages_system_user_changed_number-phone_number_change": {
        "do": "change_number",
        "phone": "+447700900777",
    },
    "messages_system_customer_identity_changed-identity_change": {"do": "change_identity"},
    "messages-unknown-type-future": {"do": "raw", "message": {"type": "hologram", "hologram": {"id": "1"}}},
    "user_preferences-resume": {"do": "resume_marketing"},
}


async def first_body(shop: Shop) -> Any:
    await shop.until(lambda: shop.receiver.bodies)
    return shop.receiver.bodies[0]


@pytest.mark.parametrize("name", ACTS)
async def test_what_people_do_looks_like_recorded_webhooks(name: str) -> None:
    """Envelope, contacts and message part have the same keys and types."""
    theirs = sample(name)
    async with open_shop() as shop:
        action = dict(ACTS[name])
        await shop.act(action.pop("do"), **action)
        ours = await first_body(shop)
    assert list(differences(ours, theirs)) == []


async def test_taps_look_like_recorded_webhooks() -> None:
    """button_reply, list_reply and the template's button."""
    async with open_shop() as shop:
        await shop.act("say", text="ciao")
        reply = {"type": "reply", "reply": {"id": "a", "title": "A"}}
        button = {"type": "button", "body": {"text": "?"}, "action": {"buttons": [reply]}}
        rows = [{"id": "b", "title": "B", "description": "more"}]
        listed = {
            "type": "list",
            "body": {"text": "?"},
            "action": {"button": "Open", "sections": [{"rows": rows}]},
        }
        for interactive in (button, listed):
            assert (await shop.send(type="interactive", interactive=interactive))[0] == 200
        await shop.after(60)
        await shop.act("tap", button="a")
        await shop.act("tap", button="b")
        await shop.until(lambda: len(shop.receiver.items("messages")) == 3)
        bodies = [
            body for body in shop.receiver.bodies if "messages" in body["entry"][0]["changes"][0]["value"]
        ]
    for ours, name in (
        (bodies[1], "messages_interactive_button_reply-button"),
        (bodies[2], "messages_interactive_list_reply-description"),
    ):
        assert list(differences(ours, sample(name))) == []


async def test_statuses_look_like_recorded_webhooks() -> None:
    """sent with callback data, delivered, read, failed; the failed one without contacts."""
    async with open_shop() as shop:
        await shop.act("say", text="ciao")
        wamid = await shop.say_hello(biz_opaque_callback_data="x")
        await shop.control("people", {"phone": "447700900124", "name": "B", "on_whatsapp": False})
        await shop.act("say", person="447700900124", text="hi")
        lost = await shop.say_hello("447700900124")
        await shop.after(120)
        await shop.until(lambda: len(shop.receiver.items("statuses")) == 4)
        found = {item["status"]: item for item in shop.receiver.items("statuses")}
        assert found["failed"]["id"] == lost
        assert found["read"]["id"] == wamid
        values = {
            item["status"]: value for _, value in shop.receiver.values() for item in value.get("statuses", ())
        }
    assert "contacts" not in values["failed"]
    for status, name in (
        ("sent", "status_sent-with_tracker"),
        ("delivered", "status_delivered-delivered"),
        ("read", "status_read-read"),
        ("failed", "status_failed-failed"),
    ):
        theirs = sample(name)["entry"][0]["changes"][0]["value"]
        theirs["statuses"][0].setdefault("pricing", {})["type"] = "regular"
        assert list(differences(values[status], theirs)) == [], status


async def test_a_free_entry_point_status_names_its_conversation() -> None:
    """Only such statuses carry `conversation`; everything of the business is free for 72 hours."""
    async with open_shop() as shop:
        await shop.act("say", text="ciao", referral=REFERRAL)
        await shop.say_hello()
        await shop.after(1)
        await shop.until(lambda: shop.receiver.items("statuses"))
        value = next(value for _, value in shop.receiver.values() if "statuses" in value)
    theirs = sample("status_sent-free_entry_point-v24")["entry"][0]["changes"][0]["value"]
    assert list(differences(value, theirs)) == []
    assert value["statuses"][0]["pricing"] == theirs["statuses"][0]["pricing"]


EVENTS: dict[str, dict[str, Any]] = {
    "account_update_account_restriction-account_restriction": {"event": "restriction"},
    "account_update_account_violation-account_violation": {"event": "violation"},
    "account_update_disabled_update-account_disabled": {"event": "lift_restriction"},
    "unknown-field-future": {"field": "some_future_field", "value": {"anything": 1}},
}


@pytest.mark.parametrize("name", EVENTS)
async def test_account_events_look_like_recorded_webhooks(name: str) -> None:
    """entry.id is the account and entry.time is there."""
    theirs = sample(name)
    async with open_shop() as shop:
        await shop.control("events", {"number": NUMBER, **EVENTS[name]})
        ours = await first_body(shop)
    assert ours["entry"][0]["id"] == ACCOUNT
    assert list(differences(ours, theirs)) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (
            {"status": "REJECTED", "reason": "INVALID_FORMAT"},
            "message_template_status_update_rejected-rejected",
        ),
        ({"status": "APPROVED"}, "message_template_status_update_approved-approved"),
        ({"quality": "YELLOW"}, "message_template_quality_update-yellow"),
        ({"category": "MARKETING"}, "template_category_update-marketing"),
    ],
)
async def test_template_events_look_like_recorded_webhooks(change: dict[str, Any], name: str) -> None:
    """Ids of templates are numbers in webhooks, texts in the API."""
    theirs = sample(name)
    async with open_shop() as shop:
        made = await shop.control("templates", {**TEXT_TEMPLATE, "business_account_id": ACCOUNT})
        await shop.control(f"templates/{made['id']}", change)
        ours = await first_body(shop)
    assert list(differences(ours, theirs)) == []


async def test_an_echo_of_the_owner_looks_like_a_recorded_one() -> None:
    """The owner answered from the phone: `message_echoes` under its own field."""
    theirs = sample("echo_text-text")
    async with open_shop() as shop:
        await shop.control(
            "events", {"number": NUMBER, "event": "echo", "person": "447700900123", "text": "hi"}
        )
        ours = await first_body(shop)
    left = [one for one in differences(ours, theirs) if "to_" not in one]
    assert left == []


async def test_a_batch_has_many_entries_changes_and_messages() -> None:
    """With a window several items share a body: neighbours of one kind share a value, their contact stands once."""
    async with open_shop() as shop:
        await shop.knobs(batch_window_ms=500, status_delay_ms=0)
        for text in ("one", "two", "three"):
            await shop.act("say", text=text)
        wamid = await shop.say_hello()
        await shop.after(0.1)
        await shop.control("events", {"number": NUMBER, "field": "account_alerts", "value": {"x": 1}})
        await shop.after(1)
        await shop.until(lambda: shop.receiver.bodies)
        (body,) = shop.receiver.bodies
        assert [item["text"]["body"] for item in shop.receiver.items("messages")] == ["one", "two", "three"]
        assert shop.receiver.statuses(wamid) == ["sent", "delivered", "read"]
        first, second = body["entry"]
        assert len(first["changes"][0]["value"]["contacts"]) == 1
        assert [change["field"] for change in second["changes"]] == ["account_alerts"]
    theirs = sample("batch-2entries-3messages-1status")
    assert list(differences(first["changes"][0], theirs["entry"][0]["changes"][0])) == []
