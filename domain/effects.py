"""Effects: what the engine wants to happen. Applied in order, in one transaction, by the room that owns the rows.

`step_id` names the step that asked for it, so that proof, replay and analytics can point at it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct, field

from domain.messages import Content


class SendMessage(Struct, frozen=True, omit_defaults=True, tag_field="effect", tag="send"):
    """One message of the turn; messages of a turn leave in the order of their effects."""

    content: Content
    step_id: str
    purpose: str | None = None  # set only when the author marks it as marketing: then consent is asked for


class PatchContact(Struct, frozen=True, omit_defaults=True, tag_field="effect", tag="patch_contact"):
    """Changes to the contact that commute with others' changes: set a field, add or remove tags, add n.

    `set` keys: `name`, `first_name`, `last_name`, `email`, `phone`, `language`, `timezone`, or `fields.<key>`;
    a value of None unsets. `increment` keys: `fields.<key>`.
    """

    step_id: str
    set: dict[str, Any] = field(default_factory=dict)
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()
    increment: dict[str, float] = field(default_factory=dict)


class RecordConsent(Struct, frozen=True, omit_defaults=True, tag_field="effect", tag="consent"):
    """One row of the consent ledger: `action` asked | granted | confirmed | withdrawn | denied."""

    purpose: str
    action: str
    wording: str
    wording_version: str
    language: str
    step_id: str
    double_opt_in: bool = False


class SetTimer(Struct, frozen=True, omit_defaults=True, tag_field="effect", tag="timer"):
    """Wake this session at a time, unless it has left the step by then.

    `after_sent`: the time counts from the acceptance of the turn's last message by the platform; `due_at` is then
    the fallback for a turn that never leaves.
    """

    step_id: str
    visit: int
    purpose: str  # "answer" | "wait"
    due_at: int  # ms UTC
    after_sent: int | None = None  # ms


class HandOver(Struct, frozen=True, omit_defaults=True, tag_field="effect", tag="hand_over"):
    """A person takes the conversation; the bot is silent until it is handed back."""

    step_id: str
    team: str | None = None
    note: str = ""


class AddNote(Struct, frozen=True, omit_defaults=True, tag_field="effect", tag="note"):
    """A line in the contact's timeline that the contact does not see."""

    step_id: str
    text: str


class AddEntry(Struct, frozen=True, omit_defaults=True, tag_field="effect", tag="entry"):
    """A line of another kind in the contact's timeline: `kind` score | stage, `data` for the sentence people read."""

    step_id: str
    kind: str
    data: dict[str, Any] = field(default_factory=dict)


class NotifyTeam(Struct, frozen=True, omit_defaults=True, tag_field="effect", tag="notify_team"):
    """People of the team are told. `kind`: notify (an author's step) | unanswered (a question without an answer)."""

    step_id: str
    text: str
    team: str = ""
    kind: str = "notify"


class RecordConversion(Struct, frozen=True, omit_defaults=True, tag_field="effect", tag="conversion"):
    """Something of value happened. `amount` in the smallest unit of `currency` (ISO 4217); "" where no value is known.
    `version`: the flow version that the step is of."""

    step_id: str
    name: str
    amount: int = 0
    currency: str = ""
    version: int = 0


class RecordFeedback(Struct, frozen=True, omit_defaults=True, tag_field="effect", tag="feedback"):
    """A score of the person: `kind` csat (1 to 5) | nps (0 to 10) | stars (1 to 5), `topic` the author's word for what
    it is about. A `comment` belongs to the score that the same step recorded before; it adds no row of its own."""

    step_id: str
    kind: str
    score: int
    topic: str = ""
    comment: str = ""
    version: int = 0


class RecordReferral(Struct, frozen=True, omit_defaults=True, tag_field="effect", tag="referral"):
    """Somebody came by a link of `referrer_id`. Counts once per program; `count` is the referrer's field
    (`fields.<key>`) that then goes up by one."""

    step_id: str
    program: str
    referrer_id: int
    count: str


class Subscribe(Struct, frozen=True, omit_defaults=True, tag_field="effect", tag="subscribe"):
    """The person follows a topic, or no longer does. It narrows what is sent; consent is another matter."""

    step_id: str
    topic: str
    on: bool = True


class SessionFailed(Struct, frozen=True, omit_defaults=True, tag_field="effect", tag="failed"):
    """The flow could not go on; a person is told. The session is over."""

    step_id: str
    problem: str


class SecretUse(Struct, frozen=True, omit_defaults=True):
    """A secret, by its name: its value is put in when the request is written and stands in no effect, turn or log."""

    name: str
    prefix: str = ""  # written before the value: "Bearer "


class CallHttp(Struct, frozen=True, omit_defaults=True, tag_field="effect", tag="call_http"):
    """One HTTP request to a service; its answer comes back to the step as `HttpAnswered`.

    `secrets` are headers, `secret_query` parts of the query, whose values are secrets. `idempotent`: may be sent again
    when it is not known what became of it. `service` "ai": address, key and model are the installation's; `history` is
    then how many messages of the conversation go along and `per_day` how many such calls a contact has.
    """

    step_id: str
    visit: int
    method: str
    url: str
    timeout_ms: int
    deadline: int  # ms UTC: after it nobody waits for the answer
    headers: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, SecretUse] = field(default_factory=dict)
    secret_query: dict[str, SecretUse] = field(default_factory=dict)
    body: str | None = None
    idempotent: bool = False
    service: str = ""
    history: int = 0
    per_day: int = 0


Effect = (
    SendMessage
    | CallHttp
    | PatchContact
    | RecordConsent
    | SetTimer
    | HandOver
    | AddNote
    | AddEntry
    | NotifyTeam
    | RecordConversion
    | RecordFeedback
    | RecordReferral
    | Subscribe
    | SessionFailed
)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Effect])


def encode(effects: list[Effect]) -> bytes:
    """The JSON of a list of effects."""
    return _encoder.encode(effects)


def decode(payload: bytes | str) -> list[Effect]:
    """A list of effects from its JSON."""
    return _decoder.decode(payload)
