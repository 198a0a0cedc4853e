"""What every type has to have before it counts: asked of each by `test_coverage.py`.

A step type: a golden file, a row in the howto, a page of the reference, and, in `coverage.yaml`, for each class of
findings that applies to it a step that is sound and one with the fault. What applies is read from what the compiler
notes of the type in its golden file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from flows import compiler, document
from flows.state import CALL
from flows.versions import CompiledStep
from flows.yaml_reader import read

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "steps"
TABLE = Path(__file__).with_name("coverage.yaml")
HOWTO = ROOT / "docs" / "howto" / "write-a-flow.md"
REFERENCE = ROOT / "docs" / "reference" / "flows"
LIMITS = ("text_too_long", "may_grow_too_long", "part_too_long", "label_too_long", "too_many_options")
NOT_FAULTS = ("sound", "gives", "gives_with", "rests")


@cache
def table() -> dict[str, dict[str, Any]]:
    """`coverage.yaml`."""
    text = re.sub(r"«x(\d+)»", lambda at: "x" * int(at[1]), TABLE.read_text())
    found: dict[str, dict[str, Any]] = read(text, name=TABLE.name).data
    return found


def changed(step: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """A step with keys replaced; null takes one out."""
    return {key: value for key, value in {**step, **change}.items() if value is not None}


def golden(kind: str) -> list[CompiledStep]:
    """Every step of a type in its golden file, compiled."""
    path = GOLDEN / f"{kind}.json"
    if not path.exists():
        return []
    return [
        step
        for case in json.loads(path.read_text())
        for flow in (case["flow"], *case.get("library", ()))
        for step in compiler.compile(document.load(json.dumps(flow), kind), 1).steps.values()
        if step.type == kind
    ]


def lacks_golden(kind: str) -> list[str]:
    """What is missing of the golden file."""
    if golden(kind):
        return []
    return [
        f"{kind}: add tests/flows/steps/{kind}.json with cases of what the step does (UPDATE_GOLDEN=1 fills them)"
    ]


def lacks_docs(folder: str, kind: str) -> list[str]:
    """What is missing of the documentation: the howto is written by hand, the page by `make docs`."""
    told = HOWTO.read_text()
    gaps = []
    if not re.search(rf"(?:`|\{{)\*?{kind}\b", told):
        gaps.append(f"{kind}: tell of it in docs/howto/write-a-flow.md")
    if not (REFERENCE / folder / f"{kind}.md").exists():
        gaps.append(f"{kind}: docs/reference/flows/{folder}/{kind}.md is missing; run `make docs`")
    return gaps


def lacks_checks(kind: str) -> list[str]:
    """What is missing in `coverage.yaml`."""
    rows = table().get(kind)
    if rows is None:
        return [
            f"{kind}: add it to tests/flows/coverage.yaml with a sound step and one for each class of findings"
        ]
    return [
        f"{kind}: tests/flows/coverage.yaml has no {what} for it ({why})" for what, why in _needed(kind, rows)
    ]


def _needed(kind: str, rows: dict[str, Any]) -> Iterator[tuple[str, str]]:
    seen = golden(kind)
    if any(step.exits for step in seen) and "unknown_step" not in rows:
        yield "unknown_step", "it has exits"
    if _may_end_dead(rows) and not {"dead_end", "outcome_not_handled"} & set(rows):
        yield "dead_end", "it may be written without its next step"
    if any(step.texts for step in seen) and "missing_translation" not in rows:
        yield "missing_translation", "it has texts"
    if any(field not in step.unsaid for step in seen for field, _ in step.texts) and not set(LIMITS) & set(
        rows
    ):
        yield " or ".join(LIMITS), "it says something"
    if any(step.reads for step in seen) and "read_before_set" not in rows:
        yield "read_before_set", "it shows values"
    sets = {path for step in seen for path in step.writes if path.startswith("session.")}
    if (sets or any(step.result for step in seen)) and "gives" not in rows:
        yield "gives", "it keeps something for the steps behind it"
    if any(step.waits in ("", CALL) and step.exits for step in seen) and "loop_without_input" not in rows:
        yield "loop_without_input", "it may go on at once"
    if any(step.waits not in ("", CALL) for step in seen) and "rests" not in rows:
        yield "rests", "it waits"
    if any(step.costs for step in seen) and "paid_in_loop" not in rows:
        yield "paid_in_loop", "it costs money"


def _may_end_dead(rows: dict[str, Any]) -> bool:
    step = changed(rows["sound"], {"next": None})
    if step == rows["sound"]:
        return False
    data = {"flow": "f", "start": "a", "steps": {"a": step}}
    exits = compiler.compile(document.load(json.dumps(data), "f"), 1).steps["a"].exits
    return any(exit.target is None and exit.flow is None for exit in exits)
