"""What the contact sent, as the session remembers it: one plain form for whatever came."""

from __future__ import annotations

import json

from domain.messages import (
    FormAnswer,
    Received,
    ReceivedAlbum,
    ReceivedContact,
    ReceivedLocation,
    ReceivedMedia,
    ReceivedText,
    Tap,
)
from flows.state import Input

MAX_TEXT = 4_096  # characters that are remembered: one message
MAX_PAYLOAD = 8_000  # bytes of a form's answers, as JSON


def heard(content: Received, at: int) -> Input:
    """The remembered form. `at` in ms UTC. Files are written `<mime or kind>:<address or id>`, places `geo:lat,lon`."""
    match content:
        case ReceivedText(text=text):
            return Input("text", text[:MAX_TEXT], at=at)
        case Tap(option_id=option, title=title):
            return Input("tap", (title or option)[:MAX_TEXT], option=option, at=at)
        case ReceivedMedia(caption=caption):
            return Input("media", caption[:MAX_TEXT], attachments=(_file(content),), at=at)
        case ReceivedAlbum(items=items, caption=caption):
            return Input(
                "album", caption[:MAX_TEXT], attachments=tuple(_file(item) for item in items[:10]), at=at
            )
        case ReceivedLocation(latitude=latitude, longitude=longitude):
            return Input("location", attachments=(f"geo:{latitude:.6f},{longitude:.6f}",), at=at)
        case ReceivedContact(phone=phone, name=name):
            return Input("contact", (phone or name)[:MAX_TEXT], at=at)
        case FormAnswer(data=data):
            fits = len(json.dumps(data, default=str)) <= MAX_PAYLOAD
            return Input("form", payload=data if fits else {}, at=at)
    return Input("other", at=at)


def _file(item: ReceivedMedia) -> str:
    return f"{item.mime or item.media.value}:{item.url or item.platform_id}"[:2_000]
