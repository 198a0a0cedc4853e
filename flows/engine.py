"""The engine: a session and an event in, a new state and effects out. Nothing else happens here.

Theory of operation. A session is either *waiting* (for an answer or for a time) or over. `start` makes one and runs
steps until it waits or ends; `advance` gives the waiting step its event (answer, or timer that is due) and runs on in
the same way. Steps fill `turn.target`; the loop here enters that step, until none is named.

Deterministic: the same version, state, event, contact, time, seed, library and business give the same transition.
The caller's state and contact are never changed: the turn works on copies.

What can go wrong while a flow runs (an endless loop, a missing step or flow, a text that grows without bound) is an
effect, `SessionFailed`, and the end of the session. Of that turn only what the contact gave is kept (fields, consent,
notes); half a turn is never said. Limits: MAX_STEPS entered per event; texts, variables and flows within flows are
bounded where they grow (`turns`, `expressions`, `steps/sub_flow`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from domain.contacts import ContactView
from domain.effects import AddNote, Effect, PatchContact, RecordConsent, SessionFailed
from domain.errors import FlowError
from domain.events import Event, MessageReceived, SessionCommand, TimerDue
from domain.messages import Notice, PollVote, Received, ReceivedReaction
from flows.business import BusinessView
from flows.state import SessionState
from flows.turns import Turn
from flows.versions import CompiledFlow

MAX_STEPS = 100  # entered per event: RapidPro's limit, too; a flow that needs more loops
NOTHING: Mapping[str, CompiledFlow] = {}


@dataclass(frozen=True, slots=True)
class Transition:
    """What came of an event.

    `handled` False: the event was none of this session's (stale timer, reaction, edit …); state and effects are then
    as before and empty. `ended` says that the session is over; `outcome` is then `completed`, the word of the `end`
    step, `handed_over`, `stopped`, `expired` or `failed`. `waiting` is `answer`, `wait` or "". `contact` is the
    contact as the flow left it; rows change only by the effects. `path` is the way that was taken, for analytics:
    (step id, `entered` | `answered` | `invalid` | `timeout` | `skipped`, the version that the step is of).
    """

    state: SessionState
    effects: list[Effect]
    contact: ContactView
    ended: bool = False
    outcome: str = ""
    handled: bool = True
    path: list[tuple[str, str, int]] = field(default_factory=list)

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
) -> Transition:
    """A new session at the flow's start. `now` in ms UTC; `language` is what the platform says of the person and
    counts where the contact has none; `library` answers sub-flows (see `versions.pinned`)."""
    state = SessionState(
        flow=flow.key,
        version=flow.version,
        language=_language(flow, contact.language, language),
        variables=dict(variables or {}),
    )
    turn = _turn(flow, state, contact, now, seed, channel_kind, library, business)

    def begin() -> None:
        turn.target = flow.start

    return _run(turn, begin)


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
) -> Transition:
    """The session after an event. `flow` is the version that `state.flow`, `state.version` name."""
    match event:
        case MessageReceived(content=content) if _answers(content) and state.waiting:
            act = _answered(content)
        case TimerDue(step_id=step_id, visit=visit, purpose=purpose) if (
            step_id == state.step and visit == state.visit and purpose == state.waiting
        ):
            act = _due
        case SessionCommand(what=("stop" | "expire") as what):
            stopped = msgspec.structs.replace(state, waiting="", stack=[])
            return Transition(stopped, [], contact, ended=True, outcome=_COMMANDS[what])
        case _:
            return Transition(state, [], contact, handled=False)
    turn = _turn(flow, _copied(state), contact, now, seed, channel_kind, library, business)
    transition = _run(turn, lambda: act(turn))
    unmoved = transition.state.visit == state.visit and not transition.effects and not transition.ended
    return Transition(state, [], contact, handled=False) if unmoved else transition


_COMMANDS = {"stop": "stopped", "expire": "expired"}


def _answers(content: Received) -> bool:
    """Whether it can be meant as an answer: reactions, votes and notices of the platform are not."""
    return not isinstance(content, (ReceivedReaction, Notice, PollVote))


def _answered(content: Received) -> Callable[[Turn], None]:
    def act(turn: Turn) -> None:
        turn.step().runner.answer(turn, content)

    return act


def _due(turn: Turn) -> None:
    turn.step().runner.due(turn)


def _run(turn: Turn, begin: Callable[[], None]) -> Transition:
    state = turn.state
    try:
        begin()
        entered = 0
        while turn.target is not None:
            entered += 1
            if entered > MAX_STEPS:
                raise FlowError(f"more than {MAX_STEPS} steps without waiting", step_id=state.step)
            state.step, turn.target = turn.target, None
            step = turn.flow.steps.get(state.step)
            if step is None:
                raise FlowError(f"the flow {turn.flow.key!r} has no such step", step_id=state.step)
            state.visit += 1
            state.waiting, state.tries, state.stage = "", 0, ""
            turn.path.append((state.step, "entered", state.version))
            step.runner.enter(turn)
    except FlowError as error:
        state.waiting = ""
        effects = [effect for effect in turn.effects if _given(effect)]
        effects.append(SessionFailed(error.step_id, error.what))
        return Transition(state, effects, turn.contact, ended=True, outcome="failed", path=turn.path)
    return Transition(
        state,
        turn.effects,
        turn.contact,
        ended=turn.outcome is not None,
        outcome=turn.outcome or "",
        path=turn.path,
    )


def _given(effect: Effect) -> bool:
    """Whether it holds what the contact gave, in contrast to what the flow would have said."""
    asked = isinstance(effect, RecordConsent) and effect.action == "asked"
    return isinstance(effect, (PatchContact, AddNote, RecordConsent)) and not asked


def _turn(
    flow: CompiledFlow,
    state: SessionState,
    contact: ContactView,
    now: int,
    seed: int,
    channel_kind: str,
    library: Mapping[str, CompiledFlow],
    business: BusinessView,
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
        channel_kind=channel_kind,
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
    )


def _language(flow: CompiledFlow, *wishes: str | None) -> str:
    """The first wish that the flow is written in (`pt-br` counts as `pt`), else the flow's first language."""
    for wish in wishes:
        short = (wish or "").partition("-")[0].lower()
        if short in flow.languages:
            return short
    return flow.languages[0]
