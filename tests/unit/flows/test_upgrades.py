"""Formats of documents: what was stored in an old format is read as if it had been written in the newest."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from domain.errors import RejectedInput
from flows import compiler, document, upgrades
from flows.upgrades import FORMAT, UPGRADES, to_2
from flows.yaml_reader import read

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "flows"
STORED = sorted(FIXTURES.glob("format-*/*.yaml"))


@pytest.mark.parametrize("path", STORED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_stored_documents_of_every_format_still_run(path: Path) -> None:
    """They load, compile, and say in which format they are now."""
    text = path.read_text()
    written = read(text, name="stored").data.get("format", 1)
    assert path.parent.name == f"format-{written}"
    loaded = document.load(text, path.name)
    assert loaded.format == FORMAT
    assert compiler.compile(loaded, 1).steps


def test_there_is_one_upgrade_for_every_format() -> None:
    assert set(UPGRADES) == set(range(2, FORMAT + 1))
    assert {path.parent.name for path in STORED} == {f"format-{n}" for n in range(1, FORMAT + 1)}


def test_format_2_outcomes_of_a_sub_flow() -> None:
    """`exits` of a sub_flow became `outcomes`; those of other steps, and their order, stay."""
    text = (FIXTURES / "format-1" / "order.yaml").read_text()
    compiled = compiler.compile(document.load(text, "order"), 1)
    assert [(way.name, way.target) for way in compiled.steps["address"].exits] == [
        ("next", "thanks"),
        ("exit abroad", "person"),
    ]
    old: dict[str, Any] = {
        "steps": {
            "a": {"sub_flow": "x", "exits": {"far": "b"}, "next": "b"},
            "b": {"consent": "marketing", "exits": {"yes": "a", "no": "a"}},
        }
    }
    before = copy.deepcopy(old)
    new = to_2.upgrade(old)
    assert old == before, "the argument is unchanged"
    assert list(new["steps"]["a"]) == ["sub_flow", "outcomes", "next"]
    assert new["steps"]["b"] == old["steps"]["b"]
    assert to_2.upgrade(new) == new


def test_in_the_newest_format_the_old_key_is_refused() -> None:
    text = (FIXTURES / "format-1" / "order.yaml").read_text()
    with pytest.raises(document.DocumentRejected) as refused:
        document.load(f"format: 2\n{text}", "order")
    assert [(one.where, one.what) for one in refused.value.problems] == [
        ("steps.address.exits", "there is no such key")
    ]


@pytest.mark.parametrize("written", ["3000", "0", "-1", "two", "true", "1.5", "[2]", "null"])
def test_formats_that_are_none(written: str) -> None:
    text = f"format: {written}\nflow: a\nstart: b\nsteps: {{b: {{send: x, next: end}}}}\n"
    with pytest.raises(RejectedInput) as refused:
        document.load(text, "flow.yaml")
    assert refused.value.where == "flow.yaml, format"


@pytest.mark.parametrize(
    "data",
    [{}, {"steps": None}, {"steps": [1]}, {"steps": {"a": None, "b": [], "c": {"sub_flow": 1, "exits": 2}}}],
)
def test_upgrades_meet_faulty_documents(data: dict[str, Any]) -> None:
    """What they do not understand they leave for the fault to be told."""
    assert upgrades.upgraded(data, name="x")["format"] == FORMAT


def test_faults_of_old_documents_name_what_stands_in_the_text() -> None:
    text = (FIXTURES / "format-1" / "order.yaml").read_text().replace("tries: 2", "tries: many")
    with pytest.raises(document.DocumentRejected) as refused:
        document.load(text, "order")
    assert [(one.line, one.where) for one in refused.value.problems] == [(12, "steps.number.tries")]
