"""People inside: what becomes of a session when it is moved to another version of a flow.

A session is pinned to the versions that it walks through: that of the flow it is in, and those of the flows that called
it. Moving takes one flow's version in all of these places to another, or none of them:

* the step of the same id, or the one that the mapping names, takes the place of the step at which the session stands;
  a caller's step must still call a flow. Where there is no such step the session stays as it is.
* a session that waits for the same kind of answer (`StepDocument.expects`, and every option still there) goes on
  waiting quietly: it is not asked again, tries and buttons count on. Else the step is entered anew.
* what was answered is never lost: variables and results stay.
* a timer goes on: the state remembers under which name it was set (`SessionState.stays_at`). Where the time allowed for
  an answer is another one, it starts anew.
* a call whose answer is awaited is waited for: its step must still be there, and be a call.

`placed` is what the engine does with it, `outlook` what people are told before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from domain import durations
from flows.state import ANSWER, Frame, SessionState
from flows.versions import CompiledFlow, CompiledStep

QUIETLY, ANEW, RESTART, STAYS = "goes_on", "asked_again", "restarts", "stays"


class Placed(NamedTuple):
    """The state in the other version. `enter`: the step that is to be entered there, None when the session goes on
    waiting; `timeout_ms`: the time allowed for the answer starts anew (0: there is none any more), None: as before."""

    state: SessionState
    enter: str | None
    timeout_ms: int | None = None


def placed(
    state: SessionState,
    old: CompiledFlow | None,
    to: CompiledFlow,
    mapping: Mapping[str, str],
    *,
    restart: bool = False,
) -> Placed | None:
    """Where a session goes in version `to`; None when it has no place there or is there already.

    `old` is the version in which the session stands when that is of the same flow; None, or one that cannot be read any
    more: whether it waits for the same is not known, so it is asked anew. The given state is not changed.
    """
    stands = state.flow == to.key and state.version != to.version
    called = [
        n for n, frame in enumerate(state.stack) if frame.flow == to.key and frame.version != to.version
    ]
    if not stands and not called:
        return None
    if restart:
        return _restarted(state, to, stands, called)
    stack = list(state.stack)
    for n in called:
        frame = _frame(stack[n], to, mapping)
        if frame is None:
            return None
        stack[n] = frame
    moved = msgspec.structs.replace(state, stack=stack)
    return _step(moved, old, to, mapping) if stands else Placed(moved, None)


def _step(
    state: SessionState, old: CompiledFlow | None, to: CompiledFlow, mapping: Mapping[str, str]
) -> Placed | None:
    target = mapping.get(state.step, state.step)
    new = to.steps.get(target)
    if new is None:
        return None
    before = old.steps.get(state.step) if old is not None else None
    known = {mapping.get(step, step) for step in state.asked} & to.steps.keys()
    asked = [step for step in (mapping.get(step, step) for step in state.asked) if step in known]
    moved = msgspec.structs.replace(
        state,
        version=to.version,
        step=target,
        asked=asked,
        language=state.language if state.language in to.languages else to.languages[0],
    )
    if state.waiting == "call":  # its answer is on the way: asking again would be a second call
        return _quietly(moved, state) if new.waits == "call" else None
    if before is None or old is None or not same_wait(old, before, to, new):
        return Placed(moved, target)
    if state.waiting == ANSWER and (timeout := _timeout_ms(to, target)) != _timeout_ms(old, state.step):
        moved.visit += 1  # the old timer is stale
        moved.known_as, moved.known_version = "", 0
        return Placed(moved, None, timeout or 0)
    return _quietly(moved, state)


def _quietly(moved: SessionState, before: SessionState) -> Placed:
    moved.known_as = before.known_as or before.step
    moved.known_version = before.known_version or before.version
    return Placed(moved, None)


def _restarted(state: SessionState, to: CompiledFlow, stands: bool, called: list[int]) -> Placed | None:
    """At the start of the outermost walk through the flow; what that walk had called is left."""
    if state.waiting == "call":
        return None
    stack = list(state.stack)
    asked: list[str] = []
    variables, results = state.variables, state.results
    if called:
        for frame in reversed(stack[called[0] :]):  # a scope of its own ends with the flow that had it
            variables = frame.variables if frame.variables is not None else variables
            results = frame.results if frame.results is not None else results
        stack = stack[: called[0]]
    language = state.language if state.language in to.languages else to.languages[0]
    moved = msgspec.structs.replace(
        state,
        flow=to.key,
        version=to.version,
        stack=stack,
        asked=asked,
        language=language,
        variables=variables,
        results=results,
    )
    return Placed(moved, to.start)


def _frame(frame: Frame, to: CompiledFlow, mapping: Mapping[str, str]) -> Frame | None:
    target = mapping.get(frame.step, frame.step)
    step = to.steps.get(target)
    if step is None or step.calls is None:
        return None
    asked = tuple(one for one in (mapping.get(step, step) for step in frame.asked) if one in to.steps)
    return msgspec.structs.replace(frame, version=to.version, step=target, asked=asked)


def same_wait(old: CompiledFlow, before: CompiledStep, new: CompiledFlow, after: CompiledStep) -> bool:
    """Whether somebody who waits at the one step can as well wait at the other, without a word."""
    first, second = old.document.steps[before.id], new.document.steps[after.id]
    if before.type != after.type or before.waits != after.waits or first.expects() != second.expects():
        return False
    return {option for option, _ in before.buttons} <= {option for option, _ in after.buttons}


def _timeout_ms(flow: CompiledFlow, step_id: str) -> int | None:
    """The time that a step allows for an answer."""
    timeout = getattr(flow.document.steps[step_id], "timeout", None)
    return durations.parse(timeout.after) if timeout is not None else None


def outlook(
    old: CompiledFlow | None,
    step_id: str,
    to: CompiledFlow,
    mapping: Mapping[str, str],
    *,
    restart: bool,
    calls: bool = False,
) -> tuple[str, str]:
    """What would become of people at a step: (`goes_on` | `asked_again` | `restarts` | `stays`, the step there, "" when
    they stay). `calls`: they are inside a flow that the step has called."""
    if restart:
        return RESTART, to.start
    target = mapping.get(step_id, step_id)
    new = to.steps.get(target)
    if new is None or (calls and new.calls is None):
        return STAYS, ""
    if calls:
        return QUIETLY, target
    before = old.steps.get(step_id) if old is not None else None
    if before is not None and before.waits == "call":
        return (QUIETLY, target) if new.waits == "call" else (STAYS, "")
    if old is not None and before is not None and same_wait(old, before, to, new):
        return QUIETLY, target
    return ANEW, target
