"""Variables and results that a text shows although some way to it has not set them.

`given` is what every way to a step has set: the meet over the exits that lead to it, to a fixed point, so what a circle
sets counts only behind it. An exit that is also taken without an answer sets nothing; that a question was put at all
(`…#`) is known on each of its exits, so its category is. What other flows bring along is taken for set where they may
set it: only their own inspection could tell more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from flows.inspection import inspects
from flows.inspection.findings import Finding, at
from flows.inspection.graph import Flows, calls
from flows.inspection.scene import Scene
from flows.state import ANSWER, CALL
from flows.versions import CompiledFlow, CompiledStep

NO_ANSWER = ("timeout", "skip", "otherwise", "on_message")
Names = frozenset[str]
_ALL = "*"  # after a root: whatever has that root may be there
_ROOTS = ("session.", "result.", "child.")


@inspects
def unset(scene: Scene) -> Iterator[Finding]:
    """What may be empty where it is shown without a default."""
    there = given(scene)
    for step in scene.steps:
        if step.id not in scene.reached or step.id not in there:
            continue
        told: set[str] = set()
        for path in sorted(step.reads):
            key = ".".join(path.split(".")[:2])
            if not path.startswith(_ROOTS) or key in told or _has(there[step.id], path, key):
                continue
            told.add(key)
            yield at(
                step,
                "warning",
                "read_before_set",
                it=f"{key} può essere ancora vuoto qui",
                en=f"{key} may still be empty here",
                fix_it="chiedilo o impostalo prima, o aggiungi | default('…')",
                fix_en="ask for it or set it before, or add | default('…')",
            )


@inspects
def unknown_names(scene: Scene) -> Iterator[Finding]:
    """Names in RapidPro's expressions that are neither a function nor of the context: what holds them shows nothing."""
    for step in scene.steps:
        if step.unknown:
            shown = ", ".join(sorted(step.unknown))
            yield at(
                step,
                "warning",
                "unknown_name",
                it=f"nelle espressioni nessuno conosce {shown}: al loro posto non si vedrà nulla",
                en=f"nothing in expressions is called {shown}: nothing will be shown in their place",
                fix_it="correggi il nome, o togli l'espressione",
                fix_en="correct the name, or take the expression out",
            )


def _has(given: Names, path: str, key: str) -> bool:
    root = key.partition(".")[0]
    if key in given or f"{root}.{_ALL}" in given:
        return True
    return path.endswith((".category", ".input")) and f"{key}#" in given


def given(scene: Scene) -> dict[str, Names]:
    """What is there at each step that can be got to from the start: variables, results, and what was written into the
    contact."""
    flow, others = scene.flow, scene.others
    found: dict[str, Names] = {flow.start: _at_start(scene)}
    for _, door in scene.doors:
        found[door] = _brought(flow.key, others) | found.get(door, frozenset())
    ahead = deque(found)
    while ahead:
        step = flow.steps.get(ahead.popleft())
        if step is None:
            continue
        for exit in step.exits:
            if exit.target is None or exit.flow is not None or exit.target not in flow.steps:
                continue
            there = _behind(step, exit.name, found[step.id], others)
            known = found.get(exit.target)
            meet = there if known is None else known & there
            if meet != known:
                found[exit.target] = meet
                ahead.append(exit.target)
    return found


def _at_start(scene: Scene) -> Names:
    """What callers bring along, else what every trigger of the flow gives."""
    callers = _brought(scene.flow.key, scene.others)
    if callers:
        return callers
    offers = [trigger.gives for trigger in scene.flow.document.triggers]
    if any(offer is None for offer in offers):
        return frozenset({f"session.{_ALL}"})
    known = [{f"session.{name}" for name in offer} for offer in offers if offer is not None]
    return frozenset(set.intersection(*known)) if known else frozenset()


def _brought(key: str, others: Flows) -> Names:
    """What flows that call this one, or leave for it, have set before."""
    found: set[str] = set()
    for other in others.values():
        leads = any(exit.flow == key for step in other.steps.values() for exit in step.exits)
        if leads or calls(other.key, key, others):
            found |= _left_by(other, key, others)
    return frozenset(found)


def _left_by(caller: CompiledFlow, key: str, others: Flows) -> Names:
    """All that a caller may set, or what it gives where scopes are apart."""
    given = [step.own_scope for step in caller.steps.values() if step.calls == key]
    if given and all(names is not None for names in given):
        return frozenset(f"session.{name}" for names in given if names is not None for name in names)
    return _written_by(caller.key, others) | {f"child.{_ALL}"}


def _behind(step: CompiledStep, exit: str, before: Names, others: Flows) -> Names:
    """What is there behind an exit of a step."""
    there = (before - step.clears) | _written(step, exit)
    if step.calls is None:
        return there
    own = step.own_scope is not None
    inside = _written_by(step.calls, others) if step.calls in others else frozenset({"result.*"})
    kept = frozenset(name for name in there if not name.startswith("child."))
    child = {f"child.{name.removeprefix('result.')}" for name in inside if name.startswith("result.")}
    return kept | {"child.flow", "child.outcome"} | (frozenset(child) if own else inside)


def _written(step: CompiledStep, exit: str) -> Names:
    """What a step has set when it is left by an exit."""
    put = frozenset({f"result.{step.result}#"}) if step.result else frozenset()
    if exit in step.blank or (step.waits == ANSWER and exit in NO_ANSWER):
        return put
    own = put | {f"result.{step.result}"} if step.result else put
    if step.waits == CALL and exit != "next" and not exit.startswith("status 2"):
        return own  # what is kept of an answer is kept of a good one
    return own | step.writes


def _written_by(key: str | None, flows: Flows) -> Names:
    """What a flow, with those it calls, may set."""
    found: set[str] = set()
    for other in flows.values():
        if key is not None and calls(key, other.key, flows):
            found.update(*(_written(step, "next") | step.writes for step in other.steps.values()))
            found.update(f"result.{step.result}" for step in other.steps.values() if step.result)
    return frozenset(found)
