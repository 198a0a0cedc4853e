"""No type without its tests and its documentation; what is missing is said by name (`coverage.py`)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows import answers, compiler, document, filters, inspection, matchers, steps, triggers
from flows.business import sample
from tests.flows import coverage
from tests.flows.coverage import NOT_FAULTS, ROOT, changed, table

UNIT = ROOT / "tests" / "unit" / "flows"
OTHER = {"flow": "g", "start": "x", "steps": {"x": {"return": "found"}}}
ENDS = {"z": {"end": True}, "w": {"wait": "1 day", "next": "a"}}


def none(gaps: list[str]) -> None:
    """Nothing is missing; else all of it is said."""
    assert not gaps, "\n".join(gaps)


@pytest.mark.parametrize("kind", sorted(steps.registry()))
def test_a_step_type_has_a_golden_file(kind: str) -> None:
    none(coverage.lacks_golden(kind))


@pytest.mark.parametrize("kind", sorted(steps.registry()))
def test_a_step_type_is_documented(kind: str) -> None:
    none(coverage.lacks_docs("steps", kind))


@pytest.mark.parametrize("kind", sorted(steps.registry()))
def test_a_step_type_is_covered_by_checks(kind: str) -> None:
    none(coverage.lacks_checks(kind))


def test_nothing_is_covered_that_does_not_exist() -> None:
    """Rows of types that are gone go, too."""
    assert sorted(set(table()) - set(steps.registry())) == []


@pytest.mark.parametrize("kind", sorted(answers.registry()))
def test_an_answer_type_is_documented_and_tested(kind: str) -> None:
    none(coverage.lacks_docs("answers", kind))
    tests = "".join(
        (UNIT / name).read_text() for name in ("test_answers.py", "phrases.txt", "test_questions.py")
    )
    assert re.search(rf"\b{kind}\b", tests), f"{kind}: add rows to tests/unit/flows/test_answers.py"


@pytest.mark.parametrize("kind", sorted(triggers.registry()))
def test_a_trigger_is_documented_and_tested(kind: str) -> None:
    none(coverage.lacks_docs("triggers", kind))
    tests = (UNIT / "test_trigger_types.py").read_text()
    assert re.search(rf"\b{kind}\b", tests), f"{kind}: add rows to tests/unit/flows/test_trigger_types.py"


@pytest.mark.parametrize("kind", sorted(matchers.registry()))
def test_a_test_of_answers_is_documented_and_tested(kind: str) -> None:
    page = (coverage.REFERENCE / "tests.md").read_text()
    row = re.search(rf"^\| `{kind}` \|.*\| (.*) \|$", page, re.MULTILINE)
    assert row, f"{kind}: run `make docs`"
    assert row[1], f"{kind}: its function needs a docstring that says what fits"
    rows = (UNIT / "excellent" / "tests.txt").read_text()
    assert re.search(rf"\b{kind}\(", rows), f"{kind}: add a row to tests/unit/flows/excellent/tests.txt"


@pytest.mark.parametrize("name", sorted(filters.FILTERS))
def test_a_filter_is_documented_and_tested(name: str) -> None:
    page = (coverage.REFERENCE / "filters.md").read_text()
    row = re.search(rf"^\| `{name}` \|.*\| (.*) \|$", page, re.MULTILINE)
    assert row, f"{name}: run `make docs`"
    assert row[1], f"{name}: say beside it in flows/filters.py what it does"
    tests = (UNIT / "test_expressions.py").read_text()
    assert re.search(rf"\| *{name}\b", tests), f"{name}: add a row to tests/unit/flows/test_expressions.py"


# --- what the table says is so ----------------------------------------------------------------------------------------


def found(step: dict[str, Any], behind: dict[str, Any] | None = None) -> list[tuple[str, str]]:
    """What inspection says of a flow of that step: (code, step)."""
    steps = {"a": step, **ENDS, **({"z": behind} if behind else {})}
    if '"w"' not in json.dumps(step):
        del steps["w"]
    data = {"flow": "f", "triggers": [{"deep_link": "ref-*"}], "start": "a", "steps": steps}
    flows = [compiler.compile(document.load(json.dumps(one), "f"), 1) for one in (data, OTHER)]
    library = {flow.key: flow for flow in flows}
    said = inspection.check(flows[0], library, business=sample(), beside=library)
    return [(one.code, one.step) for one in said if (one.code, one.step) != ("unreachable", "z")]


@pytest.mark.parametrize(
    ("kind", "code"),
    [(kind, code) for kind, rows in table().items() for code in rows if code not in NOT_FAULTS],
)
def test_a_fault_is_found_in_a_step_of_each_type(kind: str, code: str) -> None:
    """The step without the fault is sound, the one with it is not."""
    rows = table()[kind]
    assert found(rows["sound"]) == []
    assert (code, "a") in found(changed(rows["sound"], rows[code]))


@pytest.mark.parametrize("kind", [kind for kind, rows in table().items() if "gives" in rows])
def test_what_a_step_gives_may_be_read_behind_it(kind: str) -> None:
    rows = table()[kind]
    behind = {"send": f"{{{{ {rows['gives']} }}}}", "next": "end"}
    assert found(changed(rows["sound"], rows.get("gives_with", {})), behind) == []


@pytest.mark.parametrize("kind", [kind for kind, rows in table().items() if "rests" in rows])
def test_a_circle_with_a_step_that_waits_is_none(kind: str) -> None:
    rows = table()[kind]
    assert found(changed(rows["sound"], rows["rests"])) == []


# --- the test of the tests --------------------------------------------------------------------------------------------


def test_a_new_step_type_fails_until_it_has_everything(tmp_path: Path) -> None:
    """With a type that has nothing but its code exactly these tests fail, and they say what to add."""
    report = tmp_path / "report.xml"
    here = ["tests/flows/test_coverage.py", "tests/flows/test_steps.py", "tests/docs/test_documents.py"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "tests.flows.bare_type",
            "-p",
            "no:cacheprovider",
            *here,
            "-k",
            "bare or generated or lists_every or does_not_exist",
            f"--junit-xml={report}",
        ],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    failed = set(re.findall(r"^FAILED \S+::(\S+)", done.stdout, re.MULTILINE))
    assert failed == {
        "test_a_step_type_has_a_golden_file[bare]",
        "test_a_step_type_is_documented[bare]",
        "test_a_step_type_is_covered_by_checks[bare]",
        "test_step[bare]",
        "test_the_example_of_the_docstring_works[bare]",
        "test_the_page_on_flows_lists_every_step_and_answer",
        "test_generated_pages_are_fresh",
    }, done.stdout
    for advice in (
        "bare: add tests/flows/steps/bare.json",
        "bare: tell of it in docs/howto/write-a-flow.md",
        "bare: docs/reference/flows/steps/bare.md is missing; run `make docs`",
        "bare: add it to tests/flows/coverage.yaml",
        "run `make docs`",
    ):
        assert advice in report.read_text().replace("&#10;", "\n")


def test_a_row_that_is_missing_in_the_table_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each class of findings is asked for by itself."""
    whole = table()["ask"]
    for gone in (
        "unknown_step",
        "dead_end",
        "missing_translation",
        "text_too_long",
        "read_before_set",
        "gives",
        "rests",
    ):
        rows = {key: value for key, value in whole.items() if key != gone}
        monkeypatch.setattr(coverage, "table", lambda rows=rows: {"ask": rows})
        [gap] = coverage.lacks_checks("ask")
        assert gone in gap
