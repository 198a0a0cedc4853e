"""Content of messages, free of any channel: what goes out (`Content`) and what came in (`Received`).

One JSON form for database, API and tests: an object whose `kind` names the struct, e.g.
`{"kind": "text", "text": "Ciao", "buttons": [{"id": "yes", "title": "Sì"}]}`. `encode`/`decode_*` are the only
way in and out; unknown fields are refused on the way in from people and ignored on the way in from rows.

Text carries light markup of ours in outgoing content only when `markup` is true: `*bold*`, `_italic_`, `~struck~`,
`` `code` ``; channels translate it. Values put in by templates are escaped before (`escape_markup`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct, field


class MessageClass(StrEnum):
    """Why a message goes out; decides what `may_send` asks for."""

    reply = "reply"  # part of a turn: an answer to something that the person just did
    service = "service"  # asked for by the person, outside a turn (order news, an agent's message)
    marketing = "marketing"  # campaigns and sequences: needs consent


class MessageStatus(StrEnum):
    """Where a message stands. Moves forward only (see `RANK`)."""

    held = "held"
    queued = "queued"
    claimed = "claimed"  # in a sender's memory only
    sending = "sending"
    unknown = "unknown"
    sent = "sent"
    delivered = "delivered"
    read = "read"
    failed = "failed"
    skipped = "skipped"
    expired = "expired"
    received = "received"  # inbound


RANK = {  # a status row is only ever replaced by one of a higher rank
    MessageStatus.held: 0,
    MessageStatus.queued: 1,
    MessageStatus.claimed: 2,
    MessageStatus.sending: 3,
    MessageStatus.unknown: 4,
    MessageStatus.sent: 5,
    MessageStatus.skipped: 6,
    MessageStatus.expired: 6,
    MessageStatus.failed: 7,
    MessageStatus.delivered: 8,  # a platform that says "delivered" after "failed" is believed
    MessageStatus.read: 9,
}


class MediaKind(StrEnum):
    """Kinds of files that channels know."""

    image = "image"
    video = "video"
    audio = "audio"
    voice = "voice"
    document = "document"
    sticker = "sticker"
    animation = "animation"
    video_note = "video_note"


class MediaSource(Struct, frozen=True, omit_defaults=True):
    """Where the bytes are: exactly one of `url` (fetched by the platform), `platform_id` (already with it),
    `media_id` (a stored file of ours, uploaded once per channel)."""

    url: str | None = None
    platform_id: str | None = None
    media_id: int | None = None
    filename: str | None = None
    mime: str | None = None


class Button(Struct, frozen=True, omit_defaults=True):
    """A choice that comes back (`id`), or a link when `url` is set. `description` is shown where lists have room.
    `lasting`: it belongs to no question and counts whenever it is tapped, also after later messages."""

    id: str
    title: str
    url: str | None = None
    description: str | None = None
    lasting: bool = False


# --- outgoing -------------------------------------------------------------------------------------------------------


class Text(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="text"):
    """Plain text, with choices below it where `buttons` is not empty (degraded by rule: buttons, list, numbers)."""

    text: str
    buttons: tuple[Button, ...] = ()
    list_title: str | None = None  # label of the opener where the choices become a list
    markup: bool = False
    preview_links: bool = True
    reply_to: str | None = None  # external id of the message that is answered
    ends_request: bool = False  # takes the button of an earlier ContactRequest or LocationRequest away


class Media(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="media"):
    """One file with an optional caption and choices."""

    media: MediaKind
    source: MediaSource
    caption: str = ""
    buttons: tuple[Button, ...] = ()
    markup: bool = False
    reply_to: str | None = None


class Album(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="album"):
    """2 to 10 files shown together; the first caption counts."""

    items: tuple[Media, ...]


class LocationContent(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="location"):
    """A place. Degrees, WGS 84."""

    latitude: float
    longitude: float
    name: str = ""
    address: str = ""


class ContactCard(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="contact_card"):
    """A person's or company's card."""

    name: str
    phone: str
    email: str | None = None
    company: str | None = None


class ContactRequest(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="contact_request"):
    """Asks for the person's own phone number by the platform's button (`button`: its label)."""

    text: str
    button: str
    markup: bool = False


class LocationRequest(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="location_request"):
    """Asks for a place by the platform's button."""

    text: str
    button: str
    markup: bool = False


class Poll(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="poll"):
    """A native poll; where there is none it degrades to numbered choices."""

    question: str
    options: tuple[str, ...]
    anonymous: bool = True
    several: bool = False


class TemplateParameter(Struct, frozen=True, omit_defaults=True):
    """One value of a template: text, or media for a header, or a button's payload. `name` for named parameters;
    for a button its kind: "quick_reply" (the default), "url" (the end of the address) or "copy_code"."""

    text: str | None = None
    name: str | None = None
    media: MediaKind | None = None
    source: MediaSource | None = None


class Template(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="template"):
    """A message approved by the platform before (WhatsApp). `buttons` maps the button's index to its value."""

    name: str
    language: str
    category: str = "marketing"  # marketing | utility | authentication, as the platform has it
    header: tuple[TemplateParameter, ...] = ()
    body: tuple[TemplateParameter, ...] = ()
    buttons: dict[str, TemplateParameter] = field(default_factory=dict)
    preview: str = ""  # how it reads, for our own log of the conversation


class Reaction(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="reaction"):
    """An emoji on a message; empty removes it."""

    message_external_id: str
    emoji: str


Content = (
    Text
    | Media
    | Album
    | LocationContent
    | ContactCard
    | ContactRequest
    | LocationRequest
    | Poll
    | Template
    | Reaction
)


# --- ephemeral: handed over in memory after the commit, first in line, never retried after 10 s -----------------------


class ReadAndTyping(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="read_and_typing"):
    """Marks what the person wrote as read where the channel can, and shows that an answer is being written."""

    message_external_id: str | None = None
    typing: bool = True


class CallbackAnswer(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="callback_answer"):
    """Ends the waiting mark on a tapped button (Telegram: within 150 s)."""

    callback_id: str
    text: str = ""


class PreCheckoutAnswer(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="pre_checkout_answer"):
    """Accepts or refuses a payment (Telegram: within 10 s)."""

    query_id: str
    ok: bool
    reason: str = ""


Ephemeral = ReadAndTyping | CallbackAnswer | PreCheckoutAnswer


# --- incoming ---------------------------------------------------------------------------------------------------------


class ReceivedText(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="text"):
    """What somebody wrote."""

    text: str


class Tap(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="tap"):
    """A tapped button or list row. `option_id` is the `Button.id` that we sent; `title` what the person saw."""

    option_id: str
    title: str = ""
    callback_id: str | None = None  # to be answered by `CallbackAnswer`
    message_external_id: str | None = None  # the message that carried the button
    message_id: int = 0  # our own id of that message, where the platform brings it back (0: not known)


class ReceivedMedia(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="media"):
    """A file; its bytes stay with the platform until a job fetches them."""

    media: MediaKind
    platform_id: str
    unique_id: str | None = None
    mime: str | None = None
    size: int | None = None  # bytes
    filename: str | None = None
    caption: str = ""
    sha256: str | None = None
    duration: int | None = None  # seconds
    url: str | None = None  # short-lived, needs our credentials
    media_id: int | None = None  # our own copy, once a job has fetched it


class ReceivedAlbum(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="album"):
    """Files that were sent together; the worker joins the parts."""

    items: tuple[ReceivedMedia, ...]
    caption: str = ""


class ReceivedLocation(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="location"):
    """A place that somebody shared."""

    latitude: float
    longitude: float
    name: str = ""
    address: str = ""
    live: bool = False


class ReceivedContact(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="contact"):
    """A card. `own` only when the platform vouches that it is the sender's own number. `others`: more cards of the
    same message."""

    phone: str | None
    name: str = ""
    own: bool = False
    email: str | None = None
    others: tuple[ReceivedContact, ...] = ()


class ReceivedReaction(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="reaction"):
    """An emoji put on (or, empty, taken from) a message."""

    message_external_id: str
    emoji: str


class PollVote(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="poll_vote"):
    """Options chosen in a poll of ours, by position; empty when the vote was taken back."""

    poll_id: str
    options: tuple[int, ...]


class FormAnswer(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="form"):
    """Structured answers: a WhatsApp flow, a Telegram web app, an order. `name` says which."""

    name: str
    data: dict[str, Any]


class Payment(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="payment"):
    """A completed payment. `amount` in the smallest unit of `currency`."""

    currency: str
    amount: int
    payload: str = ""


class Notice(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="notice"):
    """Something in the chat that nobody typed, or a kind that the platform does not pass on (`what` names it)."""

    what: str
    detail: str = ""


Received = (
    ReceivedText
    | Tap
    | ReceivedMedia
    | ReceivedAlbum
    | ReceivedLocation
    | ReceivedContact
    | ReceivedReaction
    | PollVote
    | FormAnswer
    | Payment
    | Notice
)

_encoder = msgspec.json.Encoder()
_content: msgspec.json.Decoder[Content] = msgspec.json.Decoder(Content)
_received: msgspec.json.Decoder[Received] = msgspec.json.Decoder(Received)


def encode(value: Struct) -> str:
    """The JSON text of any struct of this module."""
    return _encoder.encode(value).decode()


def decode_content(text: str | bytes) -> Content:
    """Outgoing content from its JSON. Raises msgspec.ValidationError naming the path."""
    return _content.decode(text)


def decode_received(text: str | bytes) -> Received:
    """Received content from its JSON. Raises msgspec.ValidationError naming the path."""
    return _received.decode(text)


_MARKS = str.maketrans({mark: f"\\{mark}" for mark in "\\*_~`"})


def escape_markup(text: str) -> str:
    """Text in which our markup characters stand for themselves (`\\*` is a star)."""
    return text.translate(_MARKS)


def text_of(content: Content | Received) -> str:
    """What a person would read of it: for search, logs of the conversation and notifications."""
    match content:
        case (
            Text(text=text) | ReceivedText(text=text) | ContactRequest(text=text) | LocationRequest(text=text)
        ):
            return text
        case Media(caption=caption) | ReceivedMedia(caption=caption) | ReceivedAlbum(caption=caption):
            return caption
        case Album(items=items):
            return next((item.caption for item in items if item.caption), "")
        case Tap(title=title, option_id=option_id):
            return title or option_id
        case Template(preview=preview, name=name):
            return preview or name
        case Poll(question=question):
            return question
        case Reaction(emoji=emoji) | ReceivedReaction(emoji=emoji):
            return emoji
        case (
            LocationContent(name=name)
            | ReceivedLocation(name=name)
            | ContactCard(name=name)
            | ReceivedContact(name=name)
        ):
            return name
        case _:
            return ""
