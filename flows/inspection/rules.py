"""Rules and conditions that never decide anything, because one before them has taken all they could take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from flows.expressions import Template
from flows.inspection import inspects
from flows.inspection.findings import Finding, at
from flows.inspection.scene import Scene
from flows.routing import CompiledRule, rules_of

# Tests that nothing without text can pass, whatever their arguments.
_NEED_TEXT = frozenset(
    """has_text has_email has_phone has_date has_date_eq has_date_lt has_date_gt has_time has_number has_number_eq
    has_number_lt has_number_lte has_number_gt has_number_gte has_number_between has_beginning has_any_word
    has_all_words
    """.split()
)
_TAKES = {
    "has_text": _NEED_TEXT,
    "has_value": _NEED_TEXT,
    "has_number": frozenset(name for name in _NEED_TEXT if name.startswith("has_number")),
    "has_date": frozenset(name for name in _NEED_TEXT if name.startswith("has_date")),
}


@inspects
def rules(scene: Scene) -> Iterator[Finding]:
    """Of `route` and `listen`."""
    for step in scene.steps:
        seen: list[CompiledRule] = []
        for number, rule in enumerate(rules_of(step.runner), 1):
            earlier = next((n for n, one in enumerate(seen, 1) if _takes(one, rule)), 0)
            if earlier:
                yield at(
                    step,
                    "warning",
                    "unreachable_rule",
                    scene.flow.document.lines.of("steps", step.id, _field(scene, step.id), number - 1),
                    it=f"la regola {number} ({rule.test.key}) non decide mai: la regola {earlier} prende tutto prima",
                    en=f"rule {number} ({rule.test.key}) never decides: rule {earlier} takes all of it before",
                    fix_it="toglila, o mettila prima",
                    fix_en="take it out, or put it first",
                )
            seen.append(rule)


def _takes(earlier: CompiledRule, later: CompiledRule) -> bool:
    if later.test.key in _TAKES.get(earlier.test.key, ()):
        return True
    return (
        earlier.test.key == later.test.key
        and _fixed(earlier) is not None
        and _fixed(earlier) == _fixed(later)
    )


def _fixed(rule: CompiledRule) -> Any:
    """A rule's arguments, when they are the same in every turn."""
    if any(isinstance(one, Template) for given in rule.arguments.values() for one in given):
        return None
    return {language: tuple(map(str, given)) for language, given in rule.arguments.items()}


def _field(scene: Scene, step_id: str) -> str:
    return "rules" if hasattr(scene.flow.document.steps[step_id], "rules") else "listen"


@inspects
def conditions(scene: Scene) -> Iterator[Finding]:
    """Of `branch`: the same condition twice."""
    for step in scene.steps:
        seen: dict[str, int] = {}
        for number, case in enumerate(getattr(scene.flow.document.steps[step.id], "branch", ()), 1):
            written = json.dumps(case.when, sort_keys=True, default=str)
            earlier = seen.setdefault(written, number)
            if earlier != number:
                yield at(
                    step,
                    "warning",
                    "unreachable_rule",
                    scene.flow.document.lines.of("steps", step.id, "branch", number - 1),
                    it=f"la condizione {number} non decide mai: è la stessa della condizione {earlier}",
                    en=f"condition {number} never decides: it is the same as condition {earlier}",
                    fix_it="toglila, o correggila",
                    fix_en="take it out, or correct it",
                )
