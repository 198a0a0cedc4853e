"""Golden tests of step types: a small flow, what the contact sends, and every effect that comes of it.

`steps/<type>.json` holds the cases of one type; a type without a file fails. `UPDATE_GOLDEN=1` writes the expected
part anew: read the difference before it is committed.
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flows import compiler, document
from flows.business import sample
from flows.player import contact_from, http_answer
from flows.rehearsal import Rehearsal, received, span
from flows.steps import registry
from flows.yaml_reader import read

FOLDER = Path(__file__).parent / "steps"


@pytest.mark.parametrize("kind", sorted(registry()))
def test_step(kind: str) -> None:
    """What the cases of the type expect is what happens, and the state survives being written and read."""
    path = FOLDER / f"{kind}.json"
    assert path.exists(), f"the step type {kind} has no golden file {path.name}"
    cases = json.loads(path.read_text())
    assert cases, f"{path.name} holds no case"
    assert any(kind in step for case in cases for step in case["flow"]["steps"].values())
    played = [{**case, "expected": play(case)} for case in cases]
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(json.dumps(played, indent=1, ensure_ascii=False) + "\n")
        return
    for case, now in zip(cases, played, strict=True):
        assert now["expected"] == case.get("expected"), case["description"]


@pytest.mark.parametrize("kind", sorted(registry()))
def test_the_example_of_the_docstring_works(kind: str) -> None:
    """What the documentation shows of a type loads and compiles, and is of that type."""
    text = importlib.import_module(registry()[kind].__module__).__doc__ or ""
    example = text.split("```yaml\n")[1].split("```")[0]
    steps = read(example, name=f"example of {kind}").data
    data = {"flow": "example", "start": next(iter(steps)), "steps": steps}
    flow = compiler.compile(document.load(json.dumps(data), kind), 0)
    assert kind in {step.type for step in flow.steps.values()}


def play(case: dict[str, Any]) -> list[dict[str, Any]]:
    """Every turn of a case: effects, and where the session stands after it."""
    documents = [case["flow"], *case.get("library", [])]
    flows = [
        compiler.compile(document.load(json.dumps(each), each["flow"]), version)
        for version, each in enumerate(documents, 1)
    ]
    rehearsal = Rehearsal(
        flows,
        channel_kind=case.get("channel", "telegram"),
        language=case.get("language", "it"),
        contact=contact_from(case.get("contact", {})),
        business=sample(),
    )
    rehearsal.begin()
    turns = [turn(rehearsal)]
    for item in case.get("inputs", []):
        if "after" in item:
            rehearsal.pass_time(span(item["after"], where="after"))
        elif "http" in item:
            assert rehearsal.answer_call(*http_answer(item["http"], where="http"))
        else:
            rehearsal.answer(received(item, rehearsal.messages, where=str(item)))
        turns.append(turn(rehearsal))
    return turns


def turn(rehearsal: Rehearsal) -> dict[str, Any]:
    session = rehearsal.state or rehearsal.last_state
    assert session is not None
    stands: dict[str, Any] = {"step": session.step, "visit": session.visit, "variables": session.variables}
    stands["waiting"] = rehearsal.state.waiting if rehearsal.state else ""
    stands["results"] = session.results
    if rehearsal.ended:
        stands["outcome"] = rehearsal.outcome
    shown = {"effects": rehearsal.effects, "session": stands}
    plain: dict[str, Any] = json.loads(msgspec.json.encode(shown))
    return plain
