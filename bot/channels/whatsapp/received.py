"""What somebody sent, by message type: a webhook's `Message` -> `domain.messages.Received`.

A known type without its payload is a `Notice` when Meta says why (an over-large file, an unsupported form);
without a reason it is unreadable, and so is a payload that is not what its type promises (`Unreadable`).
Types: https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/reference/messages
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from bot.channels.whatsapp.payloads import Card, Error, MediaBody, Message
from domain.messages import (
    FormAnswer,
    MediaKind,
    Notice,
    Received,
    ReceivedContact,
    ReceivedLocation,
    ReceivedMedia,
    ReceivedReaction,
    ReceivedText,
    Tap,
)

MAX_DEPTH = 32  # of structured answers; forms and orders are flat
MAX_INTEGER = (1 << 63) - 1  # what a column holds


class Unreadable(Exception):
    """A known kind whose payload is missing or not what it should be; the text says what."""


class UnknownType(Exception):
    """A message type that did not exist when this was written."""


def content_of(message: Message, value_errors: list[Error]) -> Received:
    """The content of a message. `value_errors`: errors that came beside it. Raises Unreadable or UnknownType."""
    read = _READERS.get(message.type)
    if read is None:
        raise UnknownType(message.type)
    content = read(message)
    if content is not None:
        return content
    reasons = message.errors or value_errors
    if not reasons:
        raise Unreadable(f"a message of type {message.type} has no {message.type}")
    return Notice(message.type, explanation(reasons[0]))


def explanation(error: Error) -> str:
    """An error as a person should read it: Meta's details, else its title."""
    details = error.error_data.details if error.error_data else None
    return details or error.message or error.title or str(error.code or "")


def plain(value: Any, depth: int = 0) -> Any:
    """Structured data that every column can hold. Raises Unreadable when nested too deep."""
    if depth > MAX_DEPTH:
        raise Unreadable(f"data is nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict):
        return {key: plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return str(value)
    return value


def phone_of(digits: str | None) -> str | None:
    """E.164 with + for a `wa_id`; None for anything else."""
    if digits is None:
        return None
    digits = digits.removeprefix("+")
    return f"+{digits}" if digits.isascii() and digits.isdigit() and 5 <= len(digits) <= 15 else None


def _text(message: Message) -> Received | None:
    return ReceivedText(message.text.body) if message.text else None


def _media(kind: MediaKind, body: MediaBody | None) -> Received | None:
    if body is None:
        return None
    return ReceivedMedia(
        media=kind,
        platform_id=body.id,
        mime=body.mime_type,
        filename=body.filename,
        caption=body.caption or "",
        sha256=body.sha256,
        url=body.url,
    )


def _audio(message: Message) -> Received | None:
    voice = message.audio is not None and message.audio.voice
    return _media(MediaKind.voice if voice else MediaKind.audio, message.audio)


def _location(message: Message) -> Received | None:
    place = message.location
    if place is None:
        return None
    if not (-90 <= place.latitude <= 90 and -180 <= place.longitude <= 180):
        raise Unreadable("a location lies outside the globe")
    return ReceivedLocation(place.latitude, place.longitude, place.name or "", place.address or "")


def _contacts(message: Message) -> Received | None:
    if not message.contacts:
        return None
    first, *others = [_card(card) for card in message.contacts]
    return msgspec.structs.replace(first, others=tuple(others)) if others else first


def _card(card: Card) -> ReceivedContact:
    name = card.name
    full = name and (
        name.formatted_name or " ".join(part for part in (name.first_name, name.last_name) if part)
    )
    phone = card.phones[0] if card.phones else None
    written = (phone.phone or "") if phone else ""
    digits = "".join(c for c in written if c.isascii() and c.isdigit())
    return ReceivedContact(
        phone=(
            phone_of(phone.wa_id)
            or (phone_of(digits) if written.startswith("+") else None)
            or written
            or None
        )
        if phone
        else None,
        name=full or "",
        # WhatsApp sets it on the answer to our request for the number: then it is the sender's own
        own=card.origin == "contact_request",
        email=card.emails[0].email if card.emails else None,
    )


def _interactive(message: Message) -> Received | None:
    body = message.interactive
    if body is None:
        return None
    match body.type:
        case "button_reply" | "list_reply":
            choice = body.button_reply or body.list_reply
            if choice is None:
                raise Unreadable(f"a {body.type} without its choice")
            answered = message.context.id if message.context else None
            return Tap(choice.id, choice.title or "", message_external_id=answered)
        case "nfm_reply" if body.nfm_reply:
            return FormAnswer(body.nfm_reply.name or "flow", _form(body.nfm_reply.response_json))
        case "call_permission_reply" if body.call_permission_reply:
            return Notice("call_permission", body.call_permission_reply.response or "")
        case "nfm_reply" | "call_permission_reply":
            raise Unreadable(f"a {body.type} without its answer")
        case other:
            raise UnknownType(f"interactive:{other}")


def _form(text: str) -> dict[str, Any]:
    try:
        data = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"the answers of a form are not JSON: {error}") from error
    if not isinstance(data, dict):
        raise Unreadable("the answers of a form are not an object")
    answers: dict[str, Any] = plain(data)
    return answers


def _button(message: Message) -> Received | None:
    button = message.button
    if button is None:
        return None
    answered = message.context.id if message.context else None
    text = button.text or ""
    return Tap(button.payload or text, text, message_external_id=answered)


def _reaction(message: Message) -> Received | None:
    reaction = message.reaction
    return ReceivedReaction(reaction.message_id, reaction.emoji or "") if reaction else None


def _order(message: Message) -> Received | None:
    order = message.order
    if order is None:
        return None
    items = plain(order.product_items or [])
    return FormAnswer(
        "order", {"catalog_id": order.catalog_id or "", "text": order.text or "", "items": items}
    )


def _unsupported(message: Message) -> Received | None:
    what = (message.unsupported.type if message.unsupported else None) or "unsupported"
    return Notice(what, explanation(message.errors[0]) if message.errors else "")


_READERS: dict[str, Callable[[Message], Received | None]] = {
    "text": _text,
    "image": lambda message: _media(MediaKind.image, message.image),
    "video": lambda message: _media(MediaKind.video, message.video),
    "audio": _audio,
    "voice": lambda message: _media(MediaKind.voice, message.voice),  # very old deliveries
    "document": lambda message: _media(MediaKind.document, message.document),
    "sticker": lambda message: _media(MediaKind.sticker, message.sticker),
    "location": _location,
    "contacts": _contacts,
    "interactive": _interactive,
    "button": _button,
    "reaction": _reaction,
    "order": _order,
    "unsupported": _unsupported,
    "request_welcome": lambda _: Notice("request_welcome"),
}
