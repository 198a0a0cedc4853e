"""The rule that a format change needs an upgrade and old documents, broken on purpose."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from checks import formats
from checks.formats import FIXTURES, UPGRADES, changed, keys
from flows.upgrades import FORMAT

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of what the rule looks at."""
    shutil.copytree(ROOT / FIXTURES, tmp_path / FIXTURES)
    shutil.copytree(ROOT / UPGRADES, tmp_path / UPGRADES)
    return tmp_path


def test_the_project_keeps_it() -> None:
    assert list(formats.problems(ROOT)) == []


def test_a_key_taken_away_or_renamed() -> None:
    before = {"step ask": {"ask": True, "text": True, "gone": False}, "step lost": {"lost": True}}
    now = {"step ask": {"ask": True, "text": True, "new": False}}
    assert [one.partition(":")[0] for one in changed(before, now)] == [
        "step ask has no key 'gone' any more",
        "step lost is gone",
    ]


def test_a_key_that_must_be_there_now() -> None:
    before = {"step ask": {"ask": True, "text": False}}
    now = {"step ask": {"ask": True, "text": True, "more": True}}
    assert [one.partition(":")[0] for one in changed(before, now)] == [
        "step ask must have 'text' now",
        "step ask must have 'more' now",
    ]


def test_keys_that_only_come_are_no_new_format() -> None:
    assert (
        list(changed({"step ask": {"ask": True}}, {"step ask": {"ask": True, "new": False}, "step x": {}}))
        == []
    )


def test_missing_documents_upgrade_and_list(root: Path) -> None:
    for path in (root / FIXTURES / "format-1").glob("*.yaml"):
        path.unlink()
    (root / UPGRADES / f"to_{FORMAT}.py").unlink()
    (root / FIXTURES / f"format-{FORMAT}" / "keys.json").unlink()
    found = list(formats.problems(root))
    assert len(found) == 3
    assert "format 1" in found[0]
    assert f"to_{FORMAT}.py" in found[1]
    assert "make docs" in found[2]


def test_writing_the_list_does_not_hide_what_is_gone(root: Path) -> None:
    path = root / FIXTURES / f"format-{FORMAT}" / "keys.json"
    known = json.loads(path.read_text())
    known["step ask"]["gone"] = False
    path.write_text(json.dumps(known))
    to, text = formats.written(root)
    to.write_text(text)
    assert any("'gone'" in one for one in formats.problems(root))


def test_the_list_knows_what_stands_inside_steps() -> None:
    assert keys()["step choose.options"]["id"]
    assert "after" in keys()["step ask.timeout"]
    assert keys()["flow"]["steps"]
    assert not keys()["step ask"]["tries"]
