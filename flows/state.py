"""Where one contact stands in a flow: everything that must survive between two events, as one JSON object.

A session is pinned to the versions in it (`flow` + `version`, and those of the frames in `stack`). `visit` counts the
steps that were entered; with the step's id it names one stay at one step, so that a timer set there is recognised as
stale once the session has moved on.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct, field

ANSWER, TIME, CALL = "answer", "wait", "call"  # what a session waits for; as in `SetTimer.purpose`
EXPIRE = "expire"  # purpose of the timer that ends a session in which nothing happens


class Result(Struct, frozen=True, omit_defaults=True):
    """What a question gave: the value, the kind of answer (an option's id, `valid`, `skipped` …), the words."""

    value: Any = None
    category: str = ""
    input: str = ""
    extra: Any = None  # what a test found besides (groups of a pattern …)
    localized: str = ""  # the category in the contact's language, where that is another word
    at: int = 0  # ms UTC; kept only for flows in RapidPro's expressions, which may show it


class Input(Struct, frozen=True, omit_defaults=True):
    """What the contact sent last: `event.text` in templates, `@input` in expressions. See `flows.inputs.heard`."""

    kind: str  # text, tap, media, album, location, contact, form, other
    text: str = ""
    option: str = ""  # id of the button that was tapped
    attachments: tuple[str, ...] = ()
    payload: dict[str, Any] = field(default_factory=dict)  # answers of a form
    at: int = 0  # ms UTC


class Frame(Struct, frozen=True, omit_defaults=True):
    """A flow that called a sub-flow, and the step at which it did.

    `variables` and `results` are the caller's own, put aside while a sub-flow with `scope: own` runs; None when both
    share theirs. `asked` are the caller's questions, for "back" after the return.
    """

    flow: str
    version: int
    step: str
    variables: dict[str, Any] | None = None
    results: dict[str, Result] | None = None
    asked: tuple[str, ...] = ()


class Child(Struct, frozen=True, omit_defaults=True):
    """The sub-flow that ended last: its key, its outcome and, when its scope was its own, its results."""

    flow: str
    outcome: str
    results: dict[str, Result] = field(default_factory=dict)


class Cause(Struct, frozen=True, omit_defaults=True):
    """How a session came about, as long as that matters.

    `kind`: the type of the trigger that was no message of the person ("" otherwise, and from the person's first word
    on). `chain`: how many flows have started one another since the person last did something. `purpose`: what the
    messages belong to that nobody asked for. `resumes`: the session that was interrupted and may go on afterwards (0:
    none), `due_at` when it is due if it waits for a time (ms UTC).
    """

    kind: str = ""
    chain: int = 0
    purpose: str = ""
    resumes: int = 0
    due_at: int = 0

    def answered(self) -> Cause | None:
        """What is left of it once the person has written."""
        return Cause(resumes=self.resumes, due_at=self.due_at) if self.resumes else None


class SessionState(Struct, omit_defaults=True):
    """A session. `flow` and `version` are those of the flow it is in now (the sub-flow's, inside one)."""

    flow: str
    version: int
    step: str = ""
    visit: int = 0
    language: str = ""
    waiting: str = ""  # ANSWER, TIME, CALL, or "" (only between events: it has ended)
    tries: int = 0  # answers refused at this step
    stage: str = ""  # where a step of several questions stands (consent)
    variables: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)
    stack: list[Frame] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # questions in order, for "back"; this flow's only
    child: Child | None = None  # the sub-flow that this flow called last
    active: int = 0  # ms UTC: when something happened last; the measure of `expires`
    quiet: int = 0  # steps entered since the contact last sent something
    said: int = 0  # checksum of the text that was said last
    again: int = 0  # how often it has been said again since
    known_as: str = ""  # moved here while waiting: timers and calls of this stay name the step, the version
    known_version: int = 0  # in which it began
    last: Input | None = None
    cause: Cause | None = None
    visits: dict[str, int] = field(default_factory=dict)  # flow/step, of steps that ask for it
    requested: bool = False  # a phone number or a place, by a button that stays until a text ends it

    def stays_at(self, step_id: str, visit: int, version: int = 0) -> bool:
        """Whether what was set at a step (a timer, a call) is of the present stay; `version` 0: it does not say."""
        if visit != self.visit:
            return False
        here = step_id == self.step and version in (0, self.version)
        return here or (step_id != "" and step_id == self.known_as and version in (0, self.known_version))

    def over(self) -> SessionState:
        """The session as it ends from outside or within sub-flows: no callers are left, and what it keeps are the
        variables and results of the outermost scope."""
        outer = next((frame for frame in self.stack if frame.variables is not None), None)
        ended = msgspec.structs.replace(self, waiting="", stack=[])
        if outer is not None:
            ended.variables, ended.results = dict(outer.variables or {}), dict(outer.results or {})
        return ended

    def versions(self) -> list[tuple[str, int]]:
        """Every (flow, version) that the session is pinned to, the innermost first."""
        return [(self.flow, self.version), *((frame.flow, frame.version) for frame in reversed(self.stack))]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(SessionState)


def encode(state: SessionState) -> bytes:
    """The JSON of a state."""
    return _encoder.encode(state)


def decode(payload: bytes | str) -> SessionState:
    """A state from its JSON. Raises msgspec.ValidationError naming the path."""
    return _decoder.decode(payload)
