"""Events: what came in, from a platform or from our own clock and people, in one vocabulary.

A channel's `parse` gives a list of these; intake stores each as one row; the worker hands those of a conversation to
the engine one at a time. `key` makes the same platform event, delivered any number of times, one event (I2).
Times are integer milliseconds since 1970 UTC.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct, field

from domain.messages import MessageStatus, Received


class ExternalId(Struct, frozen=True, omit_defaults=True):
    """One address of a person on a channel: `kind` is `telegram_user`, `wa_bsuid`, `wa_parent_bsuid` or `wa_phone`."""

    kind: str
    value: str


class Person(Struct, frozen=True, omit_defaults=True):
    """Who did it, as the platform tells. `ids` in order of trust: the first is the identity's own."""

    ids: tuple[ExternalId, ...]
    first_name: str = ""
    last_name: str = ""
    username: str | None = None
    language: str | None = None  # as the platform gives it, e.g. "it", "zh-hans"
    phone: str | None = None  # E.164 with +
    is_bot: bool = False


class Place(StrEnum):
    """Where it happened."""

    private = "private"
    group = "group"
    outlet = "outlet"  # a Telegram channel: no conversation


class Origin(Struct, frozen=True, omit_defaults=True):
    """Which chat. `address` is what a reply is sent to; `topic` a forum thread in it."""

    place: Place
    address: str
    topic: str | None = None
    title: str = ""


class Referral(Struct, frozen=True, omit_defaults=True):
    """How the person came: an advertisement, a deep link."""

    source: str  # "ad", "post", "deep_link"
    source_id: str = ""
    url: str = ""
    click_id: str = ""
    headline: str = ""


class _Incoming(Struct, frozen=True, omit_defaults=True, kw_only=True):
    key: str  # unique per channel and event: "msg:<wamid>", "upd:<update_id>", "status:<wamid>:<status>"
    account: str = ""  # the platform's own account that it was sent to; "" where the endpoint is the account
    occurred_at: int = 0


class MessageReceived(
    _Incoming, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="message"
):
    """Somebody wrote, tapped, sent a file … `external_id` is the platform's id of the message ("" for a tap)."""

    person: Person
    origin: Origin
    content: Received
    external_id: str = ""
    reply_to: str | None = None
    album: str | None = None  # parts with the same album id belong together
    deep_link: str | None = None  # payload of /start, or of a wa.me reference
    referral: Referral | None = None
    forwarded: bool = False
    opt_out: bool = False  # recognised by `parse` as a STOP word: suppression is written at intake
    opt_in: bool = False  # START/RIPRENDI word: lifts a suppression only through a new consent


class MessageEdited(_Incoming, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="edit"):
    """The text of an earlier message changed: the row changes, no flow advances."""

    person: Person | None
    origin: Origin
    external_id: str
    content: Received


class MessageDeleted(
    _Incoming, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="delete"
):
    """The person took messages back."""

    origin: Origin
    external_ids: tuple[str, ...]


class DeliveryStatus(
    _Incoming, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="status"
):
    """What became of a message of ours. `message_id` is our own id when the platform echoes it (0: not known)."""

    external_id: str
    status: MessageStatus
    message_id: int = 0
    reason: str = ""  # a SendFailure value when status is failed
    code: str = ""
    detail: str = ""
    address: str = ""
    pricing: dict[str, Any] = field(default_factory=dict)


class Reachability(
    _Incoming, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="reachability"
):
    """The person blocked or unblocked us."""

    person: Person
    origin: Origin
    reachable: bool


class Preference(
    _Incoming, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="preference"
):
    """The platform's own opt-out or opt-in control for marketing."""

    person: Person
    wanted: bool
    detail: str = ""


class IdentityChanged(
    _Incoming, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="identity"
):
    """The person's address changed (new number, new user id): the identity moves, the contact stays."""

    old: tuple[ExternalId, ...]
    new: tuple[ExternalId, ...]


class OutletChanged(_Incoming, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="outlet"):
    """The bot was added to, promoted in, or removed from a channel or group; or the group got a new address."""

    origin: Origin
    outlet_kind: str  # channel | group | supergroup
    member: bool
    can_post: bool = False
    rights: dict[str, bool] = field(default_factory=dict)
    new_address: str | None = None
    by: Person | None = None


class OutletActivity(
    _Incoming, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="outlet_activity"
):
    """Something in an outlet: a join or leave (with the invite link's name), reaction counts, a post by others."""

    origin: Origin
    what: str  # joined | left | join_request | reactions | post | post_edited | poll
    person: Person | None = None
    invite_link: str | None = None
    external_id: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    content: Received | None = None


class Echo(_Incoming, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="echo"):
    """The owner wrote to the person outside Passaparola (on the phone): the bot falls silent there."""

    person: Person
    external_id: str
    content: Received


class PreCheckout(
    _Incoming, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="pre_checkout"
):
    """A payment waits for our yes (10 s)."""

    person: Person
    query_id: str
    currency: str
    amount: int
    payload: str = ""


class AccountNotice(
    _Incoming, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="account"
):
    """The platform tells about our account: template status, quality, limits, restrictions."""

    what: str  # template_status | template_quality | template_category | number_quality | account | alert | …
    data: dict[str, Any] = field(default_factory=dict)
    severity: str = "info"  # info | warning | error
    stops_channel: bool = False


class Unrecognised(
    _Incoming, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="unrecognised"
):
    """Kept raw and answered 200: a kind we do not know, or one that could not be read (`problem` says why)."""

    what: str  # the platform's own name of the kind, when it has one
    raw: str  # JSON text of the slice, at most 64 kB
    problem: str = ""
    malformed: bool = False  # a known kind that could not be read: parked, visible to a person


# --- from ourselves: these come back in at intake as events of their conversation ------------------------------------


class TimerDue(_Incoming, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="timer"):
    """A wait ended. Stale when the session is no longer at (`step_id`, `visit`) of that version."""

    timer_id: int
    conversation_id: int
    session_id: int
    step_id: str
    visit: int  # how often the session had entered a step when the timer was set
    purpose: str  # "answer" (timeout of a question) | "wait" (the wait step) | "silence" (`no_answer`, no session's)
    version: int = 0  # the flow version that set it; 0: not known


class SessionCommand(
    _Incoming, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="command"
):
    """A change to the conversation from outside: an agent, the API, an operator, a campaign's reply action.

    `what`: take_over | hand_back | stop | start_flow | expire | move | happened. `data` holds `flow`, `by`, `note`,
    `variables` …; of `happened`, what triggers may hear (`flows.triggers.Occasion`).
    """

    conversation_id: int
    what: str
    data: dict[str, Any] = field(default_factory=dict)


class HttpAnswered(
    _Incoming, frozen=True, omit_defaults=True, kw_only=True, tag_field="type", tag="http_answer"
):
    """A call of this session has come back. Stale when the session is no longer at (`step_id`, `visit`).

    `status` 0: there is no answer, and `problem` says why in one word: timeout | unreachable | not_allowed | too_large
    | redirects | unreadable | busy | unknown (it may have arrived) | no_secret | unavailable | limit. A status with a
    problem is an answer that cannot be used. `body` is text, at most 256 kB. `server`: host and port that may not be
    called, for people to read.
    """

    conversation_id: int
    session_id: int
    step_id: str
    visit: int
    status: int
    body: str = ""
    problem: str = ""
    server: str = ""


PlatformEvent = (
    MessageReceived
    | MessageEdited
    | MessageDeleted
    | DeliveryStatus
    | Reachability
    | Preference
    | IdentityChanged
    | OutletChanged
    | OutletActivity
    | Echo
    | PreCheckout
    | AccountNotice
    | Unrecognised
)
OwnEvent = TimerDue | SessionCommand | HttpAnswered  # they name their conversation by id
Event = PlatformEvent | OwnEvent

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """The JSON of an event as it is kept in intake and turns."""
    return _encoder.encode(event)


def decode(payload: bytes | str) -> Event:
    """An event from its JSON. Raises msgspec.ValidationError naming the path."""
    return _decoder.decode(payload)


# In text, what a database cannot hold becomes U+FFFD: NUL, and the halves of a broken surrogate pair.
_UNSTORABLE = {0: "\ufffd"} | {code: "\ufffd" for code in range(0xD800, 0xE000)}


def storable(text: str) -> str:
    """The text with NUL and lone surrogates replaced by U+FFFD; the same object when there are none."""
    if "\x00" not in text and text.isascii():
        return text
    return (
        text.translate(_UNSTORABLE) if any(c == "\x00" or "\ud800" <= c <= "\udfff" for c in text) else text
    )
