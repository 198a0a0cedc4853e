"""From Telegram's bytes to events: is it Telegram (`verify`), and what does it say (`parse`). Pure.

One update makes at most one event, with the key `upd:<update_id>`: Telegram numbers updates per bot without
repeating itself, and resends one until we answer 200. What nobody typed to us makes none: messages by bots (ours
included), by anonymous admins and by channels into their discussion groups.

Every update makes its event or an `Unrecognised`; nothing in a body can make `parse` raise. Times come in seconds;
taps and poll votes carry none (`occurred_at` 0). The rules of delivery: https://core.telegram.org/bots/api#setwebhook
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable
from typing import Any

import msgspec

from bot.channels.base import Credentials, Delivery
from bot.channels.telegram import callback_data, wire
from domain.errors import SignatureInvalid
from domain.events import (
    AccountNotice,
    Echo,
    ExternalId,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    Origin,
    OutletActivity,
    OutletChanged,
    Person,
    Place,
    PlatformEvent,
    PreCheckout,
    Reachability,
    Referral,
    Unrecognised,
    storable,
)
from domain.messages import (
    FormAnswer,
    MediaKind,
    Notice,
    Payment,
    PollVote,
    Received,
    ReceivedContact,
    ReceivedLocation,
    ReceivedMedia,
    ReceivedReaction,
    ReceivedText,
    Tap,
)
from domain.optout import is_opt_in, is_opt_out

SECRET_HEADER = "x-telegram-bot-api-secret-token"  # noqa: S105 - a header's name
# What we ask Telegram for. The last three are never sent unless they are named.
ALLOWED_UPDATES = (
    "message",
    "edited_message",
    "callback_query",
    "my_chat_member",
    "chat_join_request",
    "channel_post",
    "edited_channel_post",
    "poll",
    "poll_answer",
    "pre_checkout_query",
    "business_connection",
    "business_message",
    "edited_business_message",
    "deleted_business_messages",
    "chat_member",
    "message_reaction",
    "message_reaction_count",
)
MAX_RAW = 64_000  # bytes of an update that is kept because we cannot read it
MAX_FORM_DEPTH = 8  # of what a web app sends: deeper is kept as text
_IN_CHAT = frozenset({"creator", "administrator", "member"})
_DEEP_LINK = re.compile(r"/start(?:@\w+)? ([A-Za-z0-9_-]{1,64})", re.ASCII)
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)

_update = msgspec.json.Decoder(wire.Update)
_member = msgspec.json.Decoder(wire.Member)


def verify(delivery: Delivery, credentials: Credentials) -> None:
    """Raises SignatureInvalid unless the secret that we gave to setWebhook came back. Constant time.

    https://core.telegram.org/bots/api#setwebhook (`secret_token`)
    """
    given = delivery.headers.get(SECRET_HEADER, "").encode("utf-8", "surrogatepass")
    expected = credentials.get("webhook_secret").encode()
    if not hmac.compare_digest(given, expected) or not expected:
        raise SignatureInvalid("the secret token of the webhook is missing or wrong")


def parse(body: bytes) -> list[PlatformEvent]:
    """The events of one update (one, or none for what nobody wrote to us)."""
    try:
        return _events(_update.decode(body), body) if b"\\u0000" not in body else _parse_odd(body)
    except _UNREADABLE:
        return _parse_odd(body)


def mended(body: bytes) -> bytes:
    """The same JSON with U+FFFD for NUL, lone surrogates and broken UTF-8. Raises what the decoders raise."""
    text = json.dumps(json.loads(body.decode("utf-8", "replace")), ensure_ascii=False)
    return storable(_NUL.sub("\\1\ufffd", text)).encode()


# The escape of NUL in JSON, not a backslash that somebody typed before "u0000".
_NUL = re.compile(r"((?<!\\)(?:\\\\)*)\\u0000")


def _parse_odd(body: bytes) -> list[PlatformEvent]:
    """Bodies with broken characters are mended; what is still no update of Telegram's is kept as it is."""
    fields: object = {}
    try:
        text = mended(body)
        fields = json.loads(text)
        return _events(_update.decode(text), text)
    except _UNREADABLE as problem:
        return [_malformed(body, fields if isinstance(fields, dict) else {}, str(problem))]


def _malformed(body: bytes, fields: dict[str, Any], problem: str) -> Unrecognised:
    number = fields.get("update_id")
    known = isinstance(number, int) and not isinstance(number, bool) and abs(number) < 1 << 53
    key = f"upd:{number}" if known else f"raw:{hashlib.sha256(body).hexdigest()[:32]}"
    return Unrecognised(
        key=key, what=_kind(fields), raw=_raw(body), problem=storable(problem)[:500], malformed=True
    )


def _raw(body: bytes) -> str:
    return storable(body[:MAX_RAW].decode("utf-8", "ignore"))


def _kind(fields: dict[str, Any]) -> str:
    """Telegram's name of the update's kind: its only key beside the number."""
    return next((storable(name)[:100] for name in fields if name != "update_id"), "")


def _events(update: wire.Update, body: bytes) -> list[PlatformEvent]:
    key = f"upd:{update.update_id}"
    if (message := update.message) is not None:
        return _message(message, key, body)
    if (query := update.callback_query) is not None:
        return _callback(query, key)
    for name, read in _RARE.items():
        if (part := getattr(update, name)) is not None:
            return read(part, key, body)
    return [Unrecognised(key=key, what=_kind(json.loads(body)), raw=_raw(body))]


# --- messages --------------------------------------------------------------------------------------------------


def _message(message: wire.Message, key: str, body: bytes) -> list[PlatformEvent]:
    if message.migrate_to_chat_id is not None or message.migrate_from_chat_id is not None:
        return _migrated(message, key)
    person = _sender(message)
    if person is None:
        return []
    text = message.text
    content = ReceivedText(text) if text is not None else _content(message, body)
    private = message.chat.type == "private"
    forwarded = message.forward_origin is not None
    own_words = text is not None and private and not forwarded
    link = _DEEP_LINK.fullmatch(text) if text is not None and text.startswith("/start") else None
    return [
        MessageReceived(
            key=key,
            occurred_at=message.date * 1000,
            person=person,
            origin=_origin(message),
            content=content,
            external_id=str(message.message_id),
            reply_to=str(message.reply_to_message.message_id) if message.reply_to_message else None,
            album=message.media_group_id,
            deep_link=link[1] if link else None,
            referral=Referral(source="deep_link", source_id=link[1]) if link else None,
            forwarded=forwarded,
            opt_out=own_words and is_opt_out(text or ""),
            opt_in=own_words and is_opt_in(text or ""),
        )
    ]


def _edited(message: wire.Message, key: str, body: bytes) -> list[PlatformEvent]:
    person = _sender(message)
    if person is None:
        return []
    return [
        MessageEdited(
            key=key,
            occurred_at=(message.edit_date or message.date) * 1000,
            person=person,
            origin=_origin(message),
            external_id=str(message.message_id),
            content=_content(message, body),
        )
    ]


def _sender(message: wire.Message) -> Person | None:
    """Who wrote it; None when no person did. In a private chat the chat itself is the person."""
    if message.sender_chat is not None:
        return None
    user = message.from_
    if user is None:
        return _person(message.chat) if message.chat.type == "private" else None
    return None if user.is_bot else _person(user)


def _person(who: wire.User | wire.Chat) -> Person:
    return Person(
        ids=(ExternalId("telegram_user", str(who.id)),),
        first_name=who.first_name,
        last_name=who.last_name,
        username=who.username,
        language=who.language_code if isinstance(who, wire.User) else None,
    )


def _origin(message: wire.Message) -> Origin:
    chat = message.chat
    topic = str(message.message_thread_id) if message.is_topic_message and message.message_thread_id else None
    if message.business_connection_id:
        return Origin(Place.private, business_address(message.business_connection_id, chat.id))
    if chat.type == "private":
        return Origin(Place.private, str(chat.id), topic)
    return _chat_origin(chat, topic)


def _chat_origin(chat: wire.Chat, topic: str | None = None) -> Origin:
    place = _PLACES.get(chat.type, Place.group)
    return Origin(place, str(chat.id), topic, chat.title)


_PLACES = {"private": Place.private, "channel": Place.outlet}


def business_address(connection: str, chat_id: int) -> str:
    """The address of a chat that we hold in the name of a business account: sends need both."""
    return f"business:{connection}:{chat_id}"


def _content(message: wire.Message, body: bytes) -> Received:
    """What the message carries. An animation also has a `document`, a venue also a `location`: they go first."""
    if message.text is not None:
        return ReceivedText(message.text)
    if message.photo:
        largest = max(message.photo, key=lambda size: size.width * size.height)
        return _media(MediaKind.image, largest, message.caption)
    for name, kind in _FILES:
        if (file := getattr(message, name)) is not None:
            return _media(kind, file, message.caption)
    if message.contact is not None:
        return _card(message.contact, message.from_)
    if message.venue is not None:
        place, venue = message.venue.location, message.venue
        return ReceivedLocation(place.latitude, place.longitude, venue.title, venue.address)
    if (spot := message.location) is not None:
        return ReceivedLocation(spot.latitude, spot.longitude, live=spot.live_period is not None)
    return _rare_content(message, body)


_FILES = (
    ("animation", MediaKind.animation),
    ("document", MediaKind.document),
    ("voice", MediaKind.voice),
    ("video", MediaKind.video),
    ("audio", MediaKind.audio),
    ("sticker", MediaKind.sticker),
    ("video_note", MediaKind.video_note),
)


def _media(kind: MediaKind, file: wire.File, caption: str) -> ReceivedMedia:
    return ReceivedMedia(
        media=kind,
        platform_id=file.file_id,
        unique_id=file.file_unique_id,
        mime=file.mime_type,
        size=file.file_size,
        filename=file.file_name,
        caption=caption,
        duration=file.duration,
    )


def _card(contact: wire.Contact, sender: wire.User | None) -> ReceivedContact:
    """People can attach anybody's card: only the sender's own user id on it vouches for the number."""
    own = sender is not None and contact.user_id == sender.id
    digits = "".join(c for c in contact.phone_number if c in "0123456789")
    international = own or contact.phone_number.lstrip().startswith(
        "+"
    )  # own numbers come without + at times
    phone = f"+{digits}" if international else digits
    return ReceivedContact(
        phone if digits else None, f"{contact.first_name} {contact.last_name}".strip(), own
    )


def _rare_content(message: wire.Message, body: bytes) -> Received:
    if (app := message.web_app_data) is not None:
        return FormAnswer("web_app", _form(app))
    if (users := message.users_shared) is not None:
        chosen = [msgspec.structs.asdict(user) for user in users.users]
        return FormAnswer("users_shared", {"request_id": users.request_id, "users": chosen})
    if (chat := message.chat_shared) is not None:
        return FormAnswer("chat_shared", msgspec.structs.asdict(chat))
    if (paid := message.successful_payment) is not None:
        return Payment(paid.currency, paid.total_amount, paid.invoice_payload)
    if (dice := message.dice) is not None:
        return Notice("dice", f"{dice.emoji} {dice.value}")
    return Notice(_unknown_content(body))


def _form(app: wire.WebAppData) -> dict[str, Any]:
    """The object that the web app sent, or its text under `text`: a client can send anything here."""
    try:
        data = json.loads(mended(app.data.encode()))
    except _UNREADABLE:
        data = None
    if isinstance(data, dict) and _plain(data, MAX_FORM_DEPTH):
        return data
    return {"text": app.data, "button": app.button_text}


def _plain(value: object, depth: int) -> bool:
    """Whether every column and the wire can hold it: bounded depth, numbers of 63 bits, no NaN or infinity."""
    if isinstance(value, dict):
        return depth > 0 and all(_plain(part, depth - 1) for part in value.values())
    if isinstance(value, list):
        return depth > 0 and all(_plain(part, depth - 1) for part in value)
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 63
    return not isinstance(value, float) or abs(value) < float("inf")


_ENVELOPE = frozenset(wire.Message.__struct_encode_fields__) | {
    "author_signature",
    "effect_id",
    "has_protected_content",
    "new_chat_participant",  # old names that stand beside the new ones
    "new_chat_member",
    "left_chat_participant",
    "sender_boost_count",
    "sender_tag",
    "via_bot",
    "quote",
    "external_reply",
}


def _unknown_content(body: bytes) -> str:
    """Telegram's name for what the message carries: its first field that is not of every message."""
    update = json.loads(body)
    message = next((part for part in update.values() if isinstance(part, dict)), {})
    return next((name[:100] for name in message if name not in _ENVELOPE), "empty")


def _migrated(message: wire.Message, key: str) -> list[PlatformEvent]:
    """A group became a supergroup: told in both chats, with the same meaning."""
    old = message.migrate_from_chat_id or message.chat.id
    new = message.migrate_to_chat_id or message.chat.id
    return [
        OutletChanged(
            key=key,
            occurred_at=message.date * 1000,
            origin=Origin(Place.group, str(old), None, message.chat.title),
            outlet_kind="supergroup",
            member=True,
            can_post=True,
            new_address=str(new),
        )
    ]


# --- taps ------------------------------------------------------------------------------------------------------


def _callback(query: wire.CallbackQuery, key: str) -> list[PlatformEvent]:
    """A tap on a button of ours, also on messages too old to be shown to bots and on posts of a channel."""
    if query.from_.is_bot:
        return []
    if query.data is None:
        content: Received = Notice("game")
    else:
        own_id, option_id = callback_data.split(query.data)
        content = Tap(
            option_id,
            _title(query),
            query.id,
            str(query.message.message_id) if query.message else None,
            own_id,
        )
    origin = _origin(query.message) if query.message else Origin(Place.private, str(query.from_.id))
    return [MessageReceived(key=key, person=_person(query.from_), origin=origin, content=content)]


def _title(query: wire.CallbackQuery) -> str:
    """What stood on the button, as far as its message is still shown to us."""
    if query.message is None or query.message.reply_markup is None:
        return ""
    for row in query.message.reply_markup.inline_keyboard:
        for button in row:
            if button.callback_data == query.data:
                return button.text
    return ""


# --- everything else, by the name of its field -------------------------------------------------------------------


def _post(message: wire.Message, key: str, body: bytes) -> list[PlatformEvent]:
    edited = message.edit_date is not None
    return [
        OutletActivity(
            key=key,
            occurred_at=(message.edit_date or message.date) * 1000,
            origin=_chat_origin(message.chat),
            what="post_edited" if edited else "post",
            external_id=str(message.message_id),
            content=_content(message, body),
        )
    ]


def _my_chat_member(change: wire.MemberUpdated, key: str, body: bytes) -> list[PlatformEvent]:
    member = _member.decode(change.new_chat_member)
    here = _is_here(member)
    by = _person(change.from_)
    if change.chat.type == "private":
        return [
            Reachability(
                key=key,
                occurred_at=change.date * 1000,
                person=by,
                origin=_chat_origin(change.chat),
                reachable=here,
            )
        ]
    fields = msgspec.json.decode(change.new_chat_member)
    rights = {
        name[:64]: value for name, value in fields.items() if isinstance(value, bool) and name[:4] == "can_"
    }
    return [
        OutletChanged(
            key=key,
            occurred_at=change.date * 1000,
            origin=_chat_origin(change.chat),
            outlet_kind=change.chat.type,
            member=here,
            can_post=here and _can_post(change.chat, member, rights),
            rights=rights,
            by=by,
        )
    ]


def _is_here(member: wire.Member) -> bool:
    return member.status in _IN_CHAT or (member.status == "restricted" and member.is_member)


def _can_post(chat: wire.Chat, member: wire.Member, rights: dict[str, bool]) -> bool:
    """In a channel only admins with that right post; in a group all but the restricted."""
    if chat.type == "channel":
        return member.status == "creator" or rights.get("can_post_messages", False)
    return member.status != "restricted" or rights.get("can_send_messages", False)


def _chat_member(change: wire.MemberUpdated, key: str, body: bytes) -> list[PlatformEvent]:
    member = _member.decode(change.new_chat_member)
    here, before = _is_here(member), _is_here(change.old_chat_member)
    if here == before or member.user.is_bot:
        return []
    return [
        OutletActivity(
            key=key,
            occurred_at=change.date * 1000,
            origin=_chat_origin(change.chat),
            what="joined" if here else "left",
            person=_person(member.user),
            invite_link=_link(change.invite_link),
        )
    ]


def _link(link: wire.InviteLink | None) -> str | None:
    """The link's name; the address itself is cut by Telegram when another admin made it."""
    return (link.name or link.invite_link) if link else None


def _join_request(request: wire.JoinRequest, key: str, body: bytes) -> list[PlatformEvent]:
    """`external_id` is the chat in which the person can be written to for five minutes, unasked."""
    return [
        OutletActivity(
            key=key,
            occurred_at=request.date * 1000,
            origin=_chat_origin(request.chat),
            what="join_request",
            person=_person(request.from_),
            invite_link=_link(request.invite_link),
            external_id=str(request.user_chat_id),
        )
    ]


def _reaction(change: wire.ReactionUpdated, key: str, body: bytes) -> list[PlatformEvent]:
    if change.user is None or change.user.is_bot:  # an anonymous admin or a channel
        return []
    emoji = _emoji(change.new_reaction[-1]) if change.new_reaction else ""
    return [
        MessageReceived(
            key=key,
            occurred_at=change.date * 1000,
            person=_person(change.user),
            origin=_chat_origin(change.chat),
            content=ReceivedReaction(str(change.message_id), emoji),
        )
    ]


def _emoji(reaction: wire.ReactionType) -> str:
    return reaction.emoji or (f"custom:{reaction.custom_emoji_id}" if reaction.custom_emoji_id else "⭐")


def _reaction_counts(counts: wire.ReactionCounts, key: str, body: bytes) -> list[PlatformEvent]:
    return [
        OutletActivity(
            key=key,
            occurred_at=counts.date * 1000,
            origin=_chat_origin(counts.chat),
            what="reactions",
            external_id=str(counts.message_id),
            counts={_emoji(total.type): total.total_count for total in counts.reactions},
        )
    ]


def _poll(poll: wire.PollState, key: str, body: bytes) -> list[PlatformEvent]:
    """Totals of a poll of ours by position of the option; Telegram does not say in which chat."""
    return [
        OutletActivity(
            key=key,
            origin=Origin(Place.outlet, ""),
            what="poll",
            external_id=poll.id,
            counts={str(position): option.voter_count for position, option in enumerate(poll.options)},
        )
    ]


def _poll_answer(answer: wire.PollAnswer, key: str, body: bytes) -> list[PlatformEvent]:
    if answer.user is None or answer.user.is_bot:  # a vote in the name of a chat
        return []
    return [
        MessageReceived(
            key=key,
            person=_person(answer.user),
            origin=Origin(Place.private, str(answer.user.id)),
            content=PollVote(answer.poll_id, tuple(answer.option_ids)),
        )
    ]


def _pre_checkout(query: wire.PreCheckoutQuery, key: str, body: bytes) -> list[PlatformEvent]:
    return [
        PreCheckout(
            key=key,
            person=_person(query.from_),
            query_id=query.id,
            currency=query.currency,
            amount=query.total_amount,
            payload=query.invoice_payload,
        )
    ]


def _business_connection(connection: wire.BusinessConnection, key: str, body: bytes) -> list[PlatformEvent]:
    rights = {name[:64]: value for name, value in connection.rights.items() if isinstance(value, bool)}
    data = {
        "id": connection.id,
        "user_id": connection.user.id,
        "rights": rights,
        "enabled": connection.is_enabled,
    }
    return [
        AccountNotice(
            key=key,
            occurred_at=connection.date * 1000,
            what="business_connection",
            data=data,
            severity="info" if connection.is_enabled else "warning",
        )
    ]


def _business_message(message: wire.Message, key: str, body: bytes) -> list[PlatformEvent]:
    """Chats of a business account: the chat is the customer, so any other sender is the owner writing by hand."""
    sender = message.from_
    if message.sender_business_bot is not None:  # what we sent ourselves
        return []
    if sender is None or sender.id == message.chat.id:
        return _message(message, key, body)
    return [
        Echo(
            key=key,
            occurred_at=message.date * 1000,
            person=_person(message.chat),
            external_id=str(message.message_id),
            content=_content(message, body),
        )
    ]


def _edited_business_message(message: wire.Message, key: str, body: bytes) -> list[PlatformEvent]:
    if message.sender_business_bot is not None:
        return []
    return _edited(message, key, body)


def _deleted_business(deleted: wire.DeletedBusinessMessages, key: str, body: bytes) -> list[PlatformEvent]:
    return [
        MessageDeleted(
            key=key,
            origin=Origin(Place.private, business_address(deleted.business_connection_id, deleted.chat.id)),
            external_ids=tuple(str(number) for number in deleted.message_ids),
        )
    ]


_RARE: dict[str, Callable[[Any, str, bytes], list[PlatformEvent]]] = {
    "edited_message": _edited,
    "my_chat_member": _my_chat_member,
    "chat_member": _chat_member,
    "chat_join_request": _join_request,
    "channel_post": _post,
    "edited_channel_post": _post,
    "message_reaction": _reaction,
    "message_reaction_count": _reaction_counts,
    "poll": _poll,
    "poll_answer": _poll_answer,
    "pre_checkout_query": _pre_checkout,
    "business_connection": _business_connection,
    "business_message": _business_message,
    "edited_business_message": _edited_business_message,
    "deleted_business_messages": _deleted_business,
}
