"""The working object of one turn: what a step may read and do while an event is handled.

A turn is made by the engine for one event and thrown away after it. It holds the session's state and a copy of the
contact, both of which it changes, and collects the effects in order. Where the session goes is a single slot
(`target`), filled by the step that runs and emptied by the engine's loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any
from zlib import crc32
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import structs

from domain.contacts import ContactView
from domain.effects import CallHttp, Effect, PatchContact, SendMessage, SetTimer
from domain.errors import FlowError
from domain.messages import ContactRequest, Content, LocationRequest, Text, text_of
from flows import languages
from flows.business import BusinessView
from flows.channel import ChannelView
from flows.expressions import Template
from flows.state import ANSWER, CALL, TIME, Child, Frame, Result, SessionState
from flows.versions import CompiledFlow, CompiledStep, pinned
from flows.words import WORDS

MAX_VARIABLES = 200  # a session's own values: more is a list that should be a table
MAX_BACK = 20  # questions that "back" remembers
MAX_WORK = 500_000  # of expressions and tests in one turn, about a microsecond each: half a second
MAX_FAULTS = 20  # that are noted of one turn
MAX_EFFECTS = 200  # of one event: twice the steps
MAX_STACK = 10  # flows inside flows: deeper is a flow that calls itself
MAX_REPEATS = 20  # times in a row that the same text is said: two programs talk, or a person is stuck


class Runaway(FlowError):
    """A flow ran into a limit that stops loops. No caller's `failed` exit catches it: the session is over."""


class Turn:
    """See the module. `outcome` is None until the session has ended."""

    __slots__ = (
        "_zone",
        "allowance",
        "business",
        "channel",
        "contact",
        "effects",
        "entered",
        "faulted",
        "faults",
        "flow",
        "language",
        "library",
        "marks",
        "now",
        "outcome",
        "path",
        "seed",
        "state",
        "target",
        "weight",
    )

    def __init__(
        self,
        flow: CompiledFlow,
        state: SessionState,
        *,
        contact: ContactView,
        now: int,
        seed: int,
        channel: ChannelView,
        library: Mapping[str, CompiledFlow],
        business: BusinessView,
    ) -> None:
        self.flow = flow
        self.state = state
        self.contact = contact
        self.now = now
        self.seed = seed
        self.channel = channel
        self.library = library
        self.business = business
        self.language = state.language
        self.effects: list[Effect] = []
        self.path: list[tuple[str, str, int]] = []
        self.entered = 0  # steps in this turn
        self.faulted = 0  # expressions that went wrong so far
        self.faults: list[str] = []  # what went wrong in expressions, with the step; said to nobody
        self.weight = 0  # of them, see `CompiledStep.weight`
        self.marks = [0] * len(state.stack)  # per caller: effects of this turn before it called
        self.target: str | None = None
        self.outcome: str | None = None
        self.allowance = MAX_WORK
        self._zone: ZoneInfo | None = None

    # --- what a step reads

    def text(
        self, texts: Mapping[str, tuple[Template, ...]], *, markup: bool = False, language: str = ""
    ) -> str:
        """The text in the session's language (else the flow's first, else any), one wording picked by the seed.
        `language`: another one than the session's, for what is not said to the contact."""
        wordings = texts.get(language or self.language) or texts.get("")
        if wordings is None:
            wordings = texts.get(self.flow.languages[0]) or next(iter(texts.values()))
        which = 0 if len(wordings) == 1 else (self.seed ^ (self.state.visit * 0x9E3779B1)) % len(wordings)
        try:
            return wordings[which].render(self, markup=markup)
        except ValueError as error:
            raise FlowError(str(error), step_id=self.state.step) from None

    def words(self, key: str) -> Any:
        """Fixed words of ours (labels of buttons, weekdays …) in the session's language; English where it has none."""
        found = WORDS[key]
        return found.get(self.language) or found["en"]

    def zone(self) -> ZoneInfo:
        """The contact's time zone, else the business's."""
        if self._zone is None:
            self._zone = _zone(self.contact.timezone) or _zone(self.business.timezone) or ZoneInfo("UTC")
        return self._zone

    def business_zone(self) -> ZoneInfo:
        """The business's own time zone."""
        return _zone(self.business.timezone) or ZoneInfo("UTC")

    def today(self) -> date:
        """The day at the contact's place, else at the business's."""
        return datetime.fromtimestamp(self.now / 1000, self.zone()).date()

    def spend(self, work: int) -> None:
        """Takes from what expressions and tests may cost in one turn, see `flows.excellent.evaluation`."""
        self.allowance -= work
        if self.allowance < 0:
            raise Runaway("the expressions of one turn take too long", step_id=self.state.step)

    def fault(self, what: str) -> None:
        """Notes an expression that went wrong: its text is empty, and whoever tries the flow out wants to know why."""
        self.faulted += 1
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(f"{self.state.step}: {what}")

    # --- what a step does

    def send(self, content: Content, *, purpose: str | None = None) -> None:
        """A message to the contact, after those already sent in this turn."""
        self._count_repeats(text_of(content))
        if isinstance(content, ContactRequest | LocationRequest):
            self.state.requested = True
        elif self.state.requested and isinstance(content, Text) and not content.buttons:
            self.state.requested = False
            content = structs.replace(content, ends_request=True)
        self.add(SendMessage(content, self.state.step, purpose))

    def add(self, effect: Effect) -> None:
        """An effect, after those already there."""
        if len(self.effects) >= MAX_EFFECTS:
            raise Runaway(f"more than {MAX_EFFECTS} effects of one event", step_id=self.state.step)
        self.effects.append(effect)

    def save(self, path: str, value: Any) -> None:
        """Puts a value at `session.<key>`, `contact.<column>` or `contact.fields.<key>`; None removes it."""
        root, _, rest = path.partition(".")
        if root == "session":
            self._save_variable(rest, value)
            return
        if rest == "language" and isinstance(value, str):
            value = languages.ours(value)
        if (rest == "language" and not languages.is_code(value)) or (
            rest == "timezone" and not _is_zone(value)
        ):
            self.fault(f"{str(value)[:40]!r} is no {rest}; it stays as it was")
            return
        changes = {rest: value}
        if rest == "name" and isinstance(value, str):
            first, _, last = value.partition(" ")
            changes |= {"first_name": first, "last_name": last}
        for key, item in changes.items():
            self._save_contact(key, item)
        self.add(PatchContact(self.state.step, set=changes))

    def increment(self, path: str, by: float) -> None:
        """Adds to a number at `session.<key>` or `contact.fields.<key>`; what is no number counts as 0."""
        root, _, rest = path.partition(".")
        if root == "session":
            self._save_variable(rest, _as_number(self.state.variables.get(rest)) + by)
            return
        key = rest.removeprefix("fields.")
        self.contact.fields[key] = _as_number(self.contact.fields.get(key)) + by
        self.add(PatchContact(self.state.step, increment={rest: by}))

    def record(self, key: str, result: Result) -> None:
        """Keeps what a question gave."""
        if self.flow.document.expressions == "excellent":
            result = structs.replace(result, at=self.now)
        self.state.results[key] = result

    def forget(self, key: str) -> None:
        """Takes back what was kept."""
        self.state.results.pop(key, None)

    def ask(self, content: Content, *, timeout_ms: int | None) -> None:
        """Sends the question and waits for the answer, at most `timeout_ms` after the message was accepted."""
        self.send(content)
        self.listen(timeout_ms=timeout_ms)

    def listen(self, *, timeout_ms: int | None) -> None:
        """Waits for an answer, at most `timeout_ms` after this turn's last message was accepted."""
        if timeout_ms is not None:
            said = any(isinstance(effect, SendMessage) for effect in self.effects)
            after = timeout_ms if said else None
            due = self.now + timeout_ms
            self.add(SetTimer(self.state.step, self.state.visit, ANSWER, due_at=due, after_sent=after))
        self.state.waiting = ANSWER

    def call(self, call: CallHttp) -> None:
        """Asks a service and waits for its answer, at the longest until the call's deadline."""
        self.add(call)
        self.add(SetTimer(call.step_id, call.visit, CALL, due_at=call.deadline))
        self.state.waiting = CALL

    def wait_until(self, due_at: int) -> None:
        """Waits for a time (ms UTC)."""
        self.add(SetTimer(self.state.step, self.state.visit, TIME, due_at=due_at))
        self.state.waiting = TIME

    def mark(self, what: str) -> None:
        """Notes for analytics what happened at the current step: `entered` (the engine's loop), `answered`, `invalid`,
        `timeout`, `skipped`."""
        self.path.append((self.state.step, what, self.state.version))

    def stay(self) -> None:
        """Asks once more at the same step: a new stay, so that the old timer is stale."""
        self.state.visit += 1
        self.state.tries += 1

    def go(self, target: str | None) -> None:
        """Next the session enters that step; None or "end" ends the flow."""
        if target is None or target == "end":
            self.finish("completed")
        else:
            self.target = target

    def finish(self, outcome: str) -> None:
        """The flow ends: the caller goes on behind its `sub_flow` step, or the session is over."""
        state = self.state
        state.waiting = ""
        if not state.stack:
            state.asked.clear()
            self.outcome = outcome
            return
        self.come_back(outcome)
        self.step().runner.returned(self, outcome)

    def end_session(self, outcome: str) -> None:
        """The session ends here, with the flows that called this one."""
        state, over = self.state, self.state.over()
        state.variables, state.results = over.variables, over.results
        state.stack.clear()
        self.marks.clear()
        self.finish(outcome)

    def run_flow(self, key: str, given: dict[str, Any] | None) -> None:
        """Starts a sub-flow. `given`: the variables that it begins with when its scope is its own, None when it shares
        ours."""
        state = self.state
        if len(state.stack) >= MAX_STACK:
            raise Runaway(f"flows call each other more than {MAX_STACK} deep", step_id=state.step)
        own = given is not None
        frame = Frame(
            state.flow,
            state.version,
            state.step,
            state.variables if own else None,
            state.results if own else None,
            tuple(state.asked),
        )
        flow = self.switch(key)
        state.stack.append(frame)
        self.marks.append(len(self.effects))
        state.asked = []
        if given is not None:
            state.variables, state.results, state.child = given, {}, None
        self.go(flow.start)

    def leave(self) -> None:
        """Forgets variables, results and callers: what comes begins anew."""
        state = self.state
        state.stack.clear()
        self.marks.clear()
        state.variables, state.results, state.child = {}, {}, None
        state.visit += 1  # what started the session is not heard again by a `listen` that takes the first

    def come_back(self, outcome: str) -> None:
        """Puts the caller's flow, step and scope in place of the sub-flow's, which is `child` from then on."""
        state = self.state
        frame = state.stack.pop()
        self.marks.pop()
        shared = frame.results is None
        state.child = Child(state.flow, outcome, {} if shared else state.results)
        if frame.variables is not None and frame.results is not None:
            state.variables, state.results = dict(frame.variables), dict(frame.results)
        state.asked = list(frame.asked)
        self.switch(frame.flow, frame.version)
        state.step = frame.step

    def switch(self, key: str, version: int = 0) -> CompiledFlow:
        """Makes another flow the current one; `version` 0 asks for the published one."""
        flow = pinned(self.library, key, version) if version else self.library.get(key)
        if flow is None:
            which = f"{key!r}, version {version}" if version else repr(key)
            raise FlowError(f"there is no flow {which}", step_id=self.state.step)
        self.flow = flow
        self.state.flow, self.state.version = flow.key, flow.version
        wish = languages.short(self.contact.language or "")
        if wish in flow.languages:  # the flow before may not have been written in it
            self.language = self.state.language = wish
        return flow

    def step(self) -> CompiledStep:
        """The current step of the current flow."""
        found = self.flow.steps.get(self.state.step)
        if found is None:
            raise FlowError(f"this version of {self.flow.key!r} has no such step", step_id=self.state.step)
        return found

    def _count_repeats(self, text: str) -> None:
        state = self.state
        said = crc32(text.encode()) if text else 0
        if said != state.said or not said:
            state.said, state.again = said, 0
            return
        state.again += 1
        if state.again >= MAX_REPEATS:
            raise Runaway(f"the same text {MAX_REPEATS} times in a row", step_id=state.step)

    def _save_variable(self, key: str, value: Any) -> None:
        variables = self.state.variables
        if value is None:
            variables.pop(key, None)
            return
        if key not in variables and len(variables) >= MAX_VARIABLES:
            raise Runaway(f"more than {MAX_VARIABLES} variables", step_id=self.state.step)
        variables[key] = value

    def _save_contact(self, key: str, value: Any) -> None:
        if key.startswith("fields."):
            if value is None:
                self.contact.fields.pop(key[7:], None)
            else:
                self.contact.fields[key[7:]] = value
            return
        setattr(self.contact, key, "" if value is None and key.endswith("name") else value)
        if key == "language" and (short := languages.short(str(value))) in self.flow.languages:
            self.language = self.state.language = short


def _as_number(value: Any) -> float:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else 0


def _is_zone(value: Any) -> bool:
    """Whether it is the name of a zone, or nothing."""
    return value in (None, "") or (isinstance(value, str) and _zone(value) is not None)


def _zone(name: str | None) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
