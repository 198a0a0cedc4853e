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


class SessionFailed(Struct, frozen=True, omit_defaults=True, tag_field="effect", tag="failed"):
    """The flow could not go on; a person is told. The session is over."""

    step_id: str
    problem: str


Effect = SendMessage | PatchContact | RecordConsent | SetTimer | HandOver | AddNote | SessionFailed

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Effect])


def encode(effects: list[Effect]) -> bytes:
    """The JSON of a list of effects."""
    return _encoder.encode(effects)


def decode(payload: bytes | str) -> list[Effect]:
    """A list of effects from its JSON."""
    return _decoder.decode(payload)
