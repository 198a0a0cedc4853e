"""From content to Bot API calls. Pure. What their answers mean stands in `answers.py`.

How content is shown here, where Telegram has not the very thing:
- choices are inline buttons, as many in a row as their titles allow; descriptions go as lines below the text;
- a caption that is too long, or on a sticker or round video, follows as a text of its own, with the buttons;
- files that cannot stand in one album go one by one;
- a place with a name is a venue.
Whatever does not fit is refused with its reason: no text is ever shortened.

Formatted text goes as HTML, plain text without parse mode, so that no character of a person's can break it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bot.channels.base import ApiCall, Capabilities, MediaNeed
from bot.channels.markup import to_html, to_plain
from bot.channels.telegram import callback_data
from bot.channels.telegram.config import CAPABILITIES
from domain.errors import SendError, SendFailure
from domain.messages import (
    Album,
    Button,
    CallbackAnswer,
    ContactCard,
    ContactRequest,
    Content,
    Ephemeral,
    LocationContent,
    LocationRequest,
    Media,
    MediaKind,
    MediaSource,
    Poll,
    PreCheckoutAnswer,
    Reaction,
    ReadAndTyping,
    Template,
    Text,
    escape_markup,
)

METHODS = {  # kind -> method, and the field of the file in call and answer
    MediaKind.image: ("sendPhoto", "photo"),
    MediaKind.video: ("sendVideo", "video"),
    MediaKind.animation: ("sendAnimation", "animation"),
    MediaKind.audio: ("sendAudio", "audio"),
    MediaKind.voice: ("sendVoice", "voice"),
    MediaKind.document: ("sendDocument", "document"),
    MediaKind.sticker: ("sendSticker", "sticker"),
    MediaKind.video_note: ("sendVideoNote", "video_note"),
}
# Kinds that may stand in one album: https://core.telegram.org/bots/api#sendmediagroup
_ALBUMS = (
    frozenset({MediaKind.image, MediaKind.video}),
    frozenset({MediaKind.document}),
    frozenset({MediaKind.audio}),
)
MAX_CALLBACK_ANSWER = 200  # characters
MAX_POLL_QUESTION, MAX_POLL_OPTIONS, MAX_POLL_OPTION = 300, 12, 100
MAX_VCARD = 2048  # bytes
SLOT = "file"  # "file0" is the multipart field of the first file


def render(
    content: Content,
    *,
    address: str,
    topic: str | None = None,
    own_id: int = 0,
    language: str = "en",
    capabilities: Capabilities | None = None,
) -> list[ApiCall]:
    """The calls for one message; see `Channel.render`. Raises SendError(rejected | media_invalid | …)."""
    limits = capabilities or CAPABILITIES
    chat = _chat(address, topic)
    match content:
        case Text():
            return [_text(content, chat, own_id, limits)]
        case Media():
            return _media(content, chat, own_id, limits)
        case Album():
            return _album(content, chat, own_id, limits)
        case ContactRequest() | LocationRequest():
            return [_request(content, chat, limits)]
        case LocationContent():
            return [_location(content, chat)]
        case ContactCard():
            return [_card(content, chat)]
        case Poll():
            return [_poll(content, chat)]
        case Reaction():
            return [_reaction(content, chat)]
        case Template():
            raise SendError(SendFailure.template_invalid, "Telegram has no templates: write the text itself")


def render_ephemeral(ephemeral: Ephemeral, *, address: str, topic: str | None = None) -> ApiCall | None:
    """The call for it. A bot cannot mark as read, so only typing is shown of `ReadAndTyping`."""
    match ephemeral:
        case ReadAndTyping(typing=typing):
            if not typing:
                return None
            return _call("sendChatAction", {**_chat(address, topic), "action": "typing"}, idempotent=True)
        case CallbackAnswer(callback_id=callback_id, text=text):
            if len(text) > MAX_CALLBACK_ANSWER:
                raise _refused(f"an answer to a tap has at most {MAX_CALLBACK_ANSWER} characters")
            payload = {"callback_query_id": callback_id}
            return _call(
                "answerCallbackQuery", {**payload, "text": text} if text else payload, idempotent=True
            )
        case PreCheckoutAnswer(query_id=query_id, ok=ok, reason=reason):
            if not ok and not reason:
                raise _refused("a refused payment needs a reason that the person can read")
            verdict: dict[str, Any] = {"pre_checkout_query_id": query_id, "ok": ok}
            if not ok:
                verdict["error_message"] = reason
            return _call("answerPreCheckoutQuery", verdict, idempotent=True)


def _call(
    method: str, payload: dict[str, Any], needs: tuple[MediaNeed, ...] = (), *, idempotent: bool = False
) -> ApiCall:
    return ApiCall(method=method, payload=payload, needs_media=needs, idempotent=idempotent)


def _refused(why: str) -> SendError:
    return SendError(SendFailure.rejected, why)


# --- where to ---------------------------------------------------------------------------------------------------


def _chat(address: str, topic: str | None) -> dict[str, Any]:
    """`123`, `-100123`, `@name` or `business:<connection>:<chat>` as parameters."""
    chat: dict[str, Any] = {}
    if address.startswith("business:"):
        chat["business_connection_id"], _, address = address.removeprefix("business:").partition(":")
    if address.startswith("@"):
        chat["chat_id"] = address
    elif address.removeprefix("-").isdecimal() and address.isascii():
        chat["chat_id"] = int(address)
    else:
        raise SendError(SendFailure.unreachable, "not an address of a Telegram chat", scope="address")
    if topic is not None:
        if not (topic.isascii() and topic.isdecimal()):
            raise SendError(SendFailure.unreachable, "not a topic of a Telegram group", scope="address")
        chat["message_thread_id"] = int(topic)
    return chat


def is_person(address: str) -> bool:
    """Whether the address is a private chat. Groups and channels are negative or an @name."""
    return not address.startswith(("-", "@"))


def _reply_to(payload: dict[str, Any], external_id: str | None) -> None:
    if external_id and external_id.isascii() and external_id.isdecimal():
        payload["reply_parameters"] = {"message_id": int(external_id), "allow_sending_without_reply": True}


# --- text and buttons -------------------------------------------------------------------------------------------


def _text(content: Text, chat: dict[str, Any], own_id: int, limits: Capabilities) -> ApiCall:
    payload = dict(chat)
    text = _described(content.text, content.buttons, content.markup)
    _put_text(payload, "text", text, content.markup, limits.text_length)
    if content.buttons:
        payload["reply_markup"] = _keyboard(content.buttons, own_id, limits)
    elif content.ends_request and is_person(str(chat["chat_id"])):
        payload["reply_markup"] = {"remove_keyboard": True}  # who typed the number still has the button
    if not content.preview_links:
        payload["link_preview_options"] = {"is_disabled": True}
    _reply_to(payload, content.reply_to)
    return ApiCall(method="sendMessage", payload=payload)


def _put_text(payload: dict[str, Any], name: str, text: str, markup: bool, limit: int) -> None:
    """Sets the text, as HTML where it is formatted. Telegram counts characters without the tags."""
    html = to_html(text) if markup else text
    if not html.strip():
        raise _refused("the text is empty")
    if len(html) > limit and (count := len(to_plain(text) if markup else text)) > limit:
        raise _refused(f"the text has {count} characters, Telegram shows {limit}")
    if markup and "<" in html:
        payload[name] = html
        payload["parse_mode"] = "HTML"
    else:
        payload[name] = to_plain(text) if markup else text


def _described(text: str, buttons: Sequence[Button], markup: bool) -> str:
    """The text with the buttons' descriptions below it: buttons have no room for them."""
    lines = [f"{button.title}: {button.description}" for button in buttons if button.description]
    if not lines:
        return text
    return text + "\n\n" + "\n".join(escape_markup(line) if markup else line for line in lines)


def _keyboard(buttons: Sequence[Button], own_id: int, limits: Capabilities) -> dict[str, Any]:
    if len(buttons) > limits.buttons.count:
        raise _refused(f"{len(buttons)} buttons, Telegram shows {limits.buttons.count}")
    head = callback_data.reference(own_id) if own_id else None
    keys = [_button(button, head) for button in buttons]
    width = _per_row(max(len(button.title) for button in buttons))
    return {"inline_keyboard": [keys[at : at + width] for at in range(0, len(keys), width)]}


def _per_row(longest: int) -> int:
    """How many buttons stand side by side without being shortened on a phone (about 40 letters across)."""
    return 4 if longest <= 7 else 3 if longest <= 10 else 2 if longest <= 16 else 1


def _button(button: Button, head: str | None) -> dict[str, Any]:
    if not button.title.strip():
        raise _refused(f"the button {button.id!r} has no title")
    if button.url:
        return {"text": button.title, "url": button.url}
    data = callback_data.join(head, button.id)
    if data is None:
        raise _refused(
            f"the option id {button.id!r} is empty or has more than {callback_data.MAX_BYTES} bytes"
        )
    return {"text": button.title, "callback_data": data}


def _request(
    content: ContactRequest | LocationRequest, chat: dict[str, Any], limits: Capabilities
) -> ApiCall:
    what = "request_contact" if isinstance(content, ContactRequest) else "request_location"
    if not is_person(str(chat["chat_id"])):
        raise _refused("phone numbers and places can be asked for in private chats only")
    payload = dict(chat)
    _put_text(payload, "text", content.text, content.markup, limits.text_length)
    payload["reply_markup"] = {
        "keyboard": [[{"text": content.button, what: True}]],
        "resize_keyboard": True,
        "one_time_keyboard": True,
    }
    return _call("sendMessage", payload)


# --- files ------------------------------------------------------------------------------------------------------


def _media(content: Media, chat: dict[str, Any], own_id: int, limits: Capabilities) -> list[ApiCall]:
    method, name = METHODS[content.media]
    file, needs = _file(content, 0)
    payload = {**chat, name: file}
    _reply_to(payload, content.reply_to)
    caption = _described(content.caption, content.buttons, content.markup)
    after: list[ApiCall] = []
    if not _fits(content, caption, limits):
        words = Text(content.caption, buttons=content.buttons, markup=content.markup)
        after = [_text(words, chat, own_id, limits)]
    else:
        if caption.strip():
            _put_text(payload, "caption", caption, content.markup, limits.caption_length)
        if content.buttons:
            payload["reply_markup"] = _keyboard(content.buttons, own_id, limits)
    return [_call(method, payload, needs), *after]


def _fits(content: Media, caption: str, limits: Capabilities) -> bool:
    if not caption.strip():
        return True
    shown = to_plain(caption) if content.markup else caption
    return limits.media[content.media].caption and len(shown) <= limits.caption_length


def _file(media: Media, position: int) -> tuple[str, tuple[MediaNeed, ...]]:
    """The file as Telegram takes it: its id, an address, or a part of the same request."""
    source = media.source
    if source.platform_id:
        return source.platform_id, ()
    if source.media_id is not None:
        slot = f"{SLOT}{position}"
        return f"attach://{slot}", (
            MediaNeed(source.media_id, slot, media.media, source.filename, source.mime),
        )
    return _address_of(source, media.media), ()


def _address_of(source: MediaSource, kind: MediaKind) -> str:
    if not source.url or not source.url.startswith(("https://", "http://")):
        raise SendError(SendFailure.media_invalid, "the file has no address, no id and no stored copy")
    if not CAPABILITIES.media[kind].max_bytes_by_url:
        raise SendError(SendFailure.media_invalid, f"Telegram does not fetch a {kind} from an address")
    return source.url


def _album(content: Album, chat: dict[str, Any], own_id: int, limits: Capabilities) -> list[ApiCall]:
    items = content.items
    if not items:
        raise _refused("the album is empty")
    if len(items) > limits.album:
        raise _refused(f"an album of {len(items)} files, Telegram shows {limits.album}")
    kinds = {item.media for item in items}
    together = len(items) > 1 and any(kinds <= album for album in _ALBUMS)
    if not together or any(item.buttons or not _fits(item, item.caption, limits) for item in items):
        return [call for item in items for call in _media(item, chat, own_id, limits)]
    parts = []
    needs: tuple[MediaNeed, ...] = ()
    for position, item in enumerate(items):
        file, need = _file(item, position)
        part: dict[str, Any] = {"type": METHODS[item.media][1], "media": file}
        if item.caption.strip():
            _put_text(part, "caption", item.caption, item.markup, limits.caption_length)
        parts.append(part)
        needs += need
    payload = {**chat, "media": parts}
    _reply_to(payload, items[0].reply_to)
    return [_call("sendMediaGroup", payload, needs)]


# --- the rest ---------------------------------------------------------------------------------------------------


def _location(content: LocationContent, chat: dict[str, Any]) -> ApiCall:
    latitude, longitude = content.latitude, content.longitude
    if not (
        math.isfinite(latitude) and math.isfinite(longitude) and abs(latitude) <= 90 and abs(longitude) <= 180
    ):
        raise _refused("the place lies outside latitude ±90, longitude ±180")
    payload = {**chat, "latitude": latitude, "longitude": longitude}
    if not (content.name or content.address):
        return _call("sendLocation", payload)
    title, address = content.name or content.address, content.address or content.name
    return _call("sendVenue", {**payload, "title": title, "address": address})


def _card(content: ContactCard, chat: dict[str, Any]) -> ApiCall:
    payload = {**chat, "phone_number": content.phone, "first_name": content.name}
    if content.email or content.company:
        vcard = _vcard(content)
        if len(vcard.encode()) > MAX_VCARD:
            raise _refused(f"the contact card has more than {MAX_VCARD} bytes")
        payload["vcard"] = vcard
    return _call("sendContact", payload)


def _vcard(content: ContactCard) -> str:
    lines = [
        "BEGIN:VCARD",
        "VERSION:3.0",
        f"FN:{_vcard_text(content.name)}",
        f"TEL:{_vcard_text(content.phone)}",
    ]
    if content.company:
        lines.append(f"ORG:{_vcard_text(content.company)}")
    if content.email:
        lines.append(f"EMAIL:{_vcard_text(content.email)}")
    return "\n".join([*lines, "END:VCARD"])


_VCARD = str.maketrans({"\\": "\\\\", ";": "\\;", ",": "\\,", "\n": "\\n", "\r": None})


def _vcard_text(value: str) -> str:
    return value.translate(_VCARD)


def _poll(content: Poll, chat: dict[str, Any]) -> ApiCall:
    if not 1 <= len(content.question) <= MAX_POLL_QUESTION:
        raise _refused(f"a poll's question has 1 to {MAX_POLL_QUESTION} characters")
    if not 2 <= len(content.options) <= MAX_POLL_OPTIONS:
        raise _refused(f"a poll has 2 to {MAX_POLL_OPTIONS} options")
    for option in content.options:
        if not 1 <= len(option) <= MAX_POLL_OPTION:
            raise _refused(f"an option of a poll has 1 to {MAX_POLL_OPTION} characters")
    payload = {
        **chat,
        "question": content.question,
        "options": [{"text": option} for option in content.options],
        "is_anonymous": content.anonymous,
        "allows_multiple_answers": content.several,
    }
    return _call("sendPoll", payload)


def _reaction(content: Reaction, chat: dict[str, Any]) -> ApiCall:
    number = content.message_external_id
    if not (number.isascii() and number.isdecimal()):
        raise _refused("not a message of a Telegram chat")
    reaction = [{"type": "emoji", "emoji": content.emoji}] if content.emoji else []
    payload = {"chat_id": chat["chat_id"], "message_id": int(number), "reaction": reaction}
    return _call("setMessageReaction", payload, idempotent=True)
