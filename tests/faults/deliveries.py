"""Deliveries as the platforms write them, for tests that deliver by hand."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import msgspec

from tests.support.town import APP_SECRET, BUSINESS, NUMBER, WEBHOOK_SECRET

TELEGRAM_HEADERS = {"X-Telegram-Bot-Api-Secret-Token": WEBHOOK_SECRET, "Content-Type": "application/json"}


def telegram_text(update_id: int, person: int, text: Any) -> dict[str, Any]:
    """An update with a private text; its message id follows from the update's."""
    user = {"id": person, "first_name": "Anna", "language_code": "it"}
    return {
        "update_id": update_id,
        "message": {
            "message_id": update_id % 1_000_000,
            "from": {**user, "is_bot": False},
            "chat": {"id": person, "type": "private", "first_name": "Anna"},
            "date": 1_790_000_000,
            "text": text,
        },
    }


def whatsapp_text(number: int, person: str, text: Any) -> dict[str, Any]:
    """A delivery with one text message."""
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15555550001", "phone_number_id": NUMBER},
        "contacts": [{"profile": {"name": "Anna"}, "wa_id": person}],
        "messages": [
            {
                "from": person,
                "id": f"wamid.TESTFAULT{number:06d}",
                "timestamp": "1790000000",
                "type": "text",
                "text": {"body": text},
            }
        ],
    }
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": BUSINESS, "changes": [{"field": "messages", "value": value}]}],
    }


def signed(body: bytes, secret: str = APP_SECRET) -> dict[str, str]:
    """The headers with which Meta sends these bytes."""
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={signature}", "Content-Type": "application/json"}


def encoded(body: Any) -> bytes:
    return msgspec.json.encode(body)
