"""A good body for every route of the API that takes one: what the matrices of its tests are made from."""

from __future__ import annotations

from typing import Any

from tests.support.shop import FLOW

TEST = "flow: hello\ndialogue:\n  - user: hello\n  - bot: Hello!\n"
PREDICATE = {"subject": "contact.tags", "op": "has_tag", "value": "lead"}


def bodies(ids: dict[str, str]) -> dict[tuple[str, str], Any]:
    """A body for every route that takes one; every id that a body can hold is there."""
    draft = {"name": "New", "channel_id": ids["channel"], "content": {"en": _picture(ids["media"])}}
    return {
        ("POST", "/channels"): {
            "kind": "telegram",
            "name": "second",
            "settings": {"token": "220201543:TEST-abcdefghijklmnopqrstuvwxyz0123456"},
        },
        ("POST", "/contacts"): {"first_name": "Bruno"},
        ("PATCH", "/contacts/{contact_id}"): {"first_name": "Bruno"},
        ("POST", "/flows"): {"document": FLOW.replace("Hello!", "Hi!"), "channel_ids": [ids["channel"]]},
        ("POST", "/flows/check"): {"document": FLOW},
        ("POST", "/flows/drafts"): {"document": FLOW.replace("flow: hello", "flow: fresh")},
        ("PUT", "/flows/{flow_id}/draft"): {"document": FLOW, "revision": 1},
        ("PUT", "/flows/{flow_id}/tests"): {"tests": [{"name": "a.test.yaml", "document": TEST}]},
        ("POST", "/flows/{flow_id}/publish"): {"document": FLOW.replace("Hello!", "Hey!")},
        ("POST", "/flows/{flow_id}/start"): {"conversation_id": ids["conversation"]},
        ("POST", "/contacts/{contact_id}/events"): {"name": "order_paid", "data": {"order": "4711"}},
        ("POST", "/flows/{flow_id}/rollback"): {"number": 1},
        ("POST", "/conversations/{conversation_id}/replay"): {},
        ("POST", "/campaigns"): draft,
        ("PUT", "/campaigns/{campaign_id}"): draft,
        ("POST", "/campaigns/{campaign_id}/start"): {},
        ("POST", "/posts"): {"outlet_id": ids["outlet"], "content": "Open"},
        ("PATCH", "/posts/{post_id}"): {"content": "Closed"},
        ("POST", "/messages"): {"identity_id": ids["identity"], "content": "Hello"},
        ("POST", "/conversations/{conversation_id}/commands"): {"what": "take_over"},
        ("POST", "/segments"): {"name": "All", "predicate": PREDICATE},
        ("POST", "/segments/count"): {"predicate": PREDICATE},
        ("POST", "/parked/retry"): {"event_ids": [ids["event"]]},
        ("POST", "/notifications/seen"): {"notification_ids": [ids["notification"]]},
        ("POST", "/stops"): {"scope": "channel", "target_id": ids["channel"], "what": "marketing"},
    }


def _picture(media: str) -> dict[str, Any]:
    return {"kind": "media", "media": "image", "source": {"media_id": media, "mime": "image/jpeg"}}
