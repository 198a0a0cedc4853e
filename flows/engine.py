"""The engine: a session and an event in, a new state and effects out. Nothing else happens here.

Theory of operation. A session is either *waiting* (for an answer or for a time) or over. `start` makes one and runs
steps until it waits or ends; `advance` gives the waiting step its event (answer, or timer that is due) and runs on in
the same way; `move` takes a session to another version of its flow. Steps fill `turn.target`; the loop here enters
that step, until none is named.

Deterministic: the same version, state, event, contact, time, seed, library and business give the same transition.
The caller's state and contact are never changed: the turn works on copies.

What can go wrong while a flow runs (an endless loop, a missing step or flow, a text that grows without bound) is an
effect, `SessionFailed`, and the end of the session. Of that turn only what the contact gave is kept (fields, consent,
notes); half a turn is never said. A sub-flow whose caller has an exit `failed` fails alone: the session goes on there,
and a note tells people. What ran into a limit that stops loops (`Runaway`) ends the session in any case.

Limits: MAX_STEPS entered per event, MAX_QUIET without a word of the contact, MAX_TOTAL in a session; texts, variables,
effects and flows within flows are bounded where they grow (`turns`, `expressions`). A session in which nothing happens
for the flow's `expires` is over: `Transition.expires_at` asks for one wake-up (purpose EXPIRE), not one for every turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from domain.contacts import ContactView
from domain.effects import (
    AddEntry,
    AddNote,
    Effect,
    NotifyTeam,
    PatchContact,
    RecordConsent,
    RecordConversion,
    RecordFeedback,
    RecordReferral,
    SessionFailed,
    SetTimer,
    Subscribe,
)
from domain.errors import FlowError
from domain.events import Event, HttpAnswered, MessageReceived, SessionCommand, TimerDue
from domain.messages import Notice, PollVote, Received, ReceivedReaction
from flows import languages
from flows.business import BusinessView
from flows.channel import ChannelView
from flows.inputs import heard
from flows.options import Options
from flows.state import ANSWER, CALL, EXPIRE, Cause, SessionState
from flows.turns import Runaway, Turn
from flows.versions import CompiledFlow, pinned

MAX_STEPS = 100  # entered per event: RapidPro's limit, too; a flow that needs more loops
MAX_QUIET = 500  # since the contact last sent something: a sequence of a year; more is a loop of waits
MAX_WEIGHT = 20_000  # comparisons, placeholders, filters of an event: below a second at their slowest
MAX_TOTAL = 10_000  # entered in a session: a conversation of years; more is two programs that talk
NOTHING: Mapping[str, CompiledFlow] = {}
UNMAPPED: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Transition:
    """What came of an event.

    `handled` False: the event was none of this session's (stale timer, reaction, edit …); state and effects are then
    as before and empty. `ended` says that the session is over; `outcome` is then `completed`, the word of the `end`
    step, `handed_over`, `stopped`, `expired` or `failed`. `waiting` is `answer`, `wait`, `call` or "". `contact` is the
    contact as the flow left it; rows change only by the effects. `path` is the way that was taken, for analytics:
    (step id, `entered` | `answered` | `invalid` | `timeout` | `skipped`, the version that the step is of).
    `faults` says which expressions went wrong (`step: what`), for whoever tries the flow out.
    `expires_at` (ms UTC, 0: nothing to do): when to come back with a timer of purpose `expire`.
    """

    state: SessionState
    effects: list[Effect]
    contact: ContactView
    ended: bool = False
    outcome: str = ""
    handled: bool = True
    path: list[tuple[str, str, int]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    expires_at: int = 0

    @property
    def waiting(self) -> str:
        """What the session waits for."""
        return "" if self.ended else self.state.waiting


def start(
    flow: CompiledFlow,
    *,
    contact: ContactView,
    now: int,
    seed: int,
    channel_kind: str,
    business: BusinessView,
    language: str | None = None,
    variables: Mapping[str, Any] | None = None,
    library: Mapping[str, CompiledFlow] = NOTHING,
    channel: ChannelView | None = None,
    received: Received | None = None,
    cause: Cause | None = None,
) -> Transition:
    """A new session at the flow's start. `now` in ms UTC; `language` is what the platform says of the person and
    counts where the contact has none; `library` answers sub-flows (see `versions.pinned`); `channel` None: only its
    kind is known; `received` is the message that started it, if one did."""
    state = SessionState(
        flow=flow.key,
        version=flow.version,
        language=_language(flow, contact.language, language),
        variables=dict(variables or {}),
        active=now,
        last=heard(received, now) if received is not None else None,
        cause=cause,
    )
    turn = _turn(flow, state, contact, now, seed, channel_kind, library, business, channel)

    def begin() -> None:
        turn.target = flow.start

    transition = _run(turn, begin)
    return transition if transition.ended else replace(transition, expires_at=now + flow.expires_ms)


def advance(
    flow: CompiledFlow,
    state: SessionState,
    event: Event,
    *,
    contact: ContactView,
    now: int,
    seed: int,
    channel_kind: str,
    business: BusinessView,
    library: Mapping[str, CompiledFlow] = NOTHING,
    channel: ChannelView | None = None,
) -> Transition:
    """The session after an event. `flow` is the version that `state.flow`, `state.version` name."""
    match event:
        case MessageReceived(content=content) if _answers(content) and state.waiting not in ("", CALL):
            act = _answered(content)
        case TimerDue(step_id=step_id, visit=visit, purpose=purpose) if (
            state.stays_at(step_id, visit, event.version) and purpose == state.waiting
        ):
            act = _due
        case HttpAnswered(step_id=step_id, visit=visit) if (
            state.stays_at(step_id, visit) and state.waiting == CALL
        ):
            act = _called(event)
        case TimerDue(purpose=purpose) if purpose == EXPIRE and state.waiting:
            return _expire(flow, state, contact, now)
        case SessionCommand(what="resume") if state.waiting == ANSWER:
            act = _once_more
        case SessionCommand(what=("stop" | "expire") as what):
            return Transition(state.over(), [], contact, ended=True, outcome=_COMMANDS[what])
        case _:
            return Transition(state, [], contact, handled=False)
    turn = _turn(flow, _copied(state), contact, now, seed, channel_kind, library, business, channel)
    turn.state.active = now
    if isinstance(event, MessageReceived):
        turn.state.quiet = 0
        if state.cause is not None:
            turn.state.cause = state.cause.answered()
        turn.state.last = heard(event.content, now)
    transition = _run(turn, lambda: act(turn))
    unmoved = transition.state.visit == state.visit and not transition.effects and not transition.ended
    return Transition(state, [], contact, handled=False) if unmoved else transition


def is_choice(flow: CompiledFlow, state: SessionState, content: Received) -> bool:
    """Whether the content is a button of the question that waits, or its words: then it is no keyword."""
    step = flow.steps.get(state.step) if state.waiting == ANSWER else None
    options = getattr(step.runner, "options", None) if step is not None else None
    return isinstance(options, Options) and options.names(content)


def move(
    flow: CompiledFlow | None,
    state: SessionState,
    to: CompiledFlow,
    *,
    mapping: Mapping[str, str] = UNMAPPED,
    restart: bool = False,
    contact: ContactView,
    now: int,
    seed: int,
    channel_kind: str,
    business: BusinessView,
    library: Mapping[str, CompiledFlow] = NOTHING,
    channel: ChannelView | None = None,
) -> Transition:
    """The session in version `to` of a flow that it walks through; rules in `flows/moving.py`.

    `flow` is the version that `state.flow`, `state.version` name (None: it cannot be read any more); `mapping`
    names for steps of the old version those of the new; `restart` begins the flow anew. `handled` False: the session
    is there already or has no place there, and stays.
    """
    from flows.moving import placed

    place = placed(state, flow, to, mapping, restart=restart)
    if place is None:
        return Transition(state, [], contact, handled=False)
    moved, target, timeout_ms = _copied(place.state), place.enter, place.timeout_ms
    if target is None:
        effects: list[Effect] = []
        if timeout_ms:
            effects.append(SetTimer(moved.step, moved.visit, moved.waiting, due_at=now + timeout_ms))
        return Transition(moved, effects, contact)
    turn = _turn(to, moved, contact, now, seed, channel_kind, library, business, channel)

    def enter() -> None:
        turn.target = target

    return _run(turn, enter)


_COMMANDS = {"stop": "stopped", "expire": "expired"}


def _expire(flow: CompiledFlow, state: SessionState, contact: ContactView, now: int) -> Transition:
    """Ends a session in which nothing has happened for long, unless it waits for something that will happen."""
    step = flow.steps.get(state.step)
    bound = state.waiting != ANSWER or (step is not None and any(way.name == "timeout" for way in step.exits))
    until = (now if bound else state.active) + flow.expires_ms
    if now < until:
        return Transition(state, [], contact, expires_at=until)
    return Transition(state.over(), [], contact, ended=True, outcome="expired")


def _answers(content: Received) -> bool:
    """Whether it can be meant as an answer: reactions, votes and notices of the platform are not."""
    return not isinstance(content, (ReceivedReaction, Notice, PollVote))


def _answered(content: Received) -> Callable[[Turn], None]:
    def act(turn: Turn) -> None:
        turn.step().runner.answer(turn, content)

    return act


def _called(answer: HttpAnswered) -> Callable[[Turn], None]:
    def act(turn: Turn) -> None:
        turn.step().runner.called(turn, answer)

    return act


def _once_more(turn: Turn) -> None:
    """The question that waited is asked again."""
    turn.target = turn.state.step


def _due(turn: Turn) -> None:
    turn.step().runner.due(turn)


def _run(turn: Turn, begin: Callable[[], None]) -> Transition:
    state, act = turn.state, begin
    try:
        while True:
            try:
                act()
                _walk(turn)
                break
            except FlowError as error:
                act = _caught(turn, error)
            except ValueError as error:  # a text that grew past its limit, a value that fits nowhere
                act = _caught(turn, FlowError(str(error), step_id=state.step))
    except FlowError as error:
        state.waiting = ""
        effects = [effect for effect in turn.effects if _given(effect)]
        effects.append(SessionFailed(error.step_id, error.what))
        return Transition(
            state.over(),
            effects,
            turn.contact,
            ended=True,
            outcome="failed",
            path=turn.path,
            faults=turn.faults,
        )
    return Transition(
        state,
        turn.effects,
        turn.contact,
        ended=turn.outcome is not None,
        outcome=turn.outcome or "",
        path=turn.path,
        faults=turn.faults,
    )


def _walk(turn: Turn) -> None:
    """Enters steps until one waits or the flow is over."""
    state = turn.state
    while turn.target is not None:
        turn.entered += 1
        if turn.entered > MAX_STEPS:
            raise Runaway(f"more than {MAX_STEPS} steps without waiting", step_id=state.step)
        state.step, turn.target = turn.target, None
        step = turn.flow.steps.get(state.step)
        if step is None:
            raise FlowError(f"the flow {turn.flow.key!r} has no such step", step_id=state.step)
        turn.weight += step.weight
        if turn.weight > MAX_WEIGHT:
            what = f"more than {MAX_WEIGHT} comparisons and placeholders in one go"
            raise Runaway(what, step_id=state.step)
        state.visit += 1
        if step.counts:
            entered = f"{state.flow}/{state.step}"
            state.visits[entered] = state.visits.get(entered, 0) + 1
        state.quiet += 1
        if state.quiet > MAX_QUIET:
            raise Runaway(f"{MAX_QUIET} steps without a word of the contact", step_id=state.step)
        if state.visit > MAX_TOTAL:
            raise Runaway(f"more than {MAX_TOTAL} steps in one session", step_id=state.step)
        state.waiting, state.tries, state.stage = "", 0, ""
        state.known_as, state.known_version = "", 0
        turn.path.append((state.step, "entered", state.version))
        step.runner.enter(turn)


def _caught(turn: Turn, error: FlowError) -> Callable[[], None]:
    """How the innermost caller that has an exit for it goes on after a sub-flow's failure; raises the error anew when
    there is none. What the failed flow said in this turn is taken back, what the contact gave is kept."""
    depth = None if isinstance(error, Runaway) else _catching(turn)
    if depth is None:
        raise error
    failed = turn.state.flow
    said = turn.marks[depth]
    turn.effects[said:] = [effect for effect in turn.effects[said:] if _given(effect)]
    while len(turn.state.stack) > depth:
        turn.come_back("failed")
    turn.target, turn.outcome, turn.state.waiting = None, None, ""
    turn.add(AddNote(turn.state.step, f"{failed}, step {error.step_id}: {error.what}"))
    return lambda: turn.step().runner.returned(turn, "failed")


def _catching(turn: Turn) -> int | None:
    """Which caller catches, as its place in the stack."""
    for depth in reversed(range(len(turn.state.stack))):
        frame = turn.state.stack[depth]
        flow = pinned(turn.library, frame.flow, frame.version)
        step = flow.steps.get(frame.step) if flow is not None else None
        if step is not None and any(way.name == "exit failed" for way in step.exits):
            return depth
    return None


_GIVEN = (
    PatchContact,
    AddNote,
    AddEntry,
    NotifyTeam,
    RecordConsent,
    RecordConversion,
    RecordFeedback,
    RecordReferral,
    Subscribe,
)


def _given(effect: Effect) -> bool:
    """Whether it holds what the contact gave or did, in contrast to what the flow would have said."""
    asked = isinstance(effect, RecordConsent) and effect.action == "asked"
    return isinstance(effect, _GIVEN) and not asked


def _turn(
    flow: CompiledFlow,
    state: SessionState,
    contact: ContactView,
    now: int,
    seed: int,
    channel_kind: str,
    library: Mapping[str, CompiledFlow],
    business: BusinessView,
    channel: ChannelView | None,
) -> Turn:
    copy = msgspec.structs.replace(
        contact, fields=dict(contact.fields), tags=set(contact.tags), consents=dict(contact.consents)
    )
    return Turn(
        flow,
        state,
        contact=copy,
        now=now,
        seed=seed,
        channel=channel or ChannelView(channel_kind),
        library=library,
        business=business,
    )


def _copied(state: SessionState) -> SessionState:
    return msgspec.structs.replace(
        state,
        variables=dict(state.variables),
        results=dict(state.results),
        stack=list(state.stack),
        asked=list(state.asked),
        visits=dict(state.visits) if state.visits else {},
    )


def _language(flow: CompiledFlow, *wishes: str | None) -> str:
    """The first wish that the flow is written in (`pt-br` and `por` count as `pt`), else its first language."""
    for wish in wishes:
        short = languages.short(wish or "")
        if short in flow.languages:
            return short
    return flow.languages[0]
