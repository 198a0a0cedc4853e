"""docs/features.md keeps its word: what it calls working has a place to find it and a test that exists."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WISHES = ROOT.parent / "shared" / "FEATURES.md"


@dataclass(frozen=True)
class Row:
    feature: str
    state: str
    where: str
    proof: str

    @property
    def tests(self) -> list[str]:
        """Tests named in the proof: `tests/file.py::test_name` or a whole `tests/file.py`."""
        return re.findall(r"`(tests/[^`]+)`", self.proof)


def rows(path: Path = ROOT / "docs" / "features.md") -> list[Row]:
    cells = [
        line.strip().strip("|").split(" | ")
        for line in path.read_text().splitlines()
        if line.startswith("| ")
    ]
    parts = [[cell.strip(" |") for cell in row] + [""] * (5 - len(row)) for row in cells]
    return [Row(row[0], *row[2:5]) for row in parts if row[0] != "feature"]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.feature)
def test_what_works_can_be_found_and_is_proven(row: Row) -> None:
    """A state is one of three; whatever works says where, and names tests."""
    assert row.state in ("works", "partly", "not yet")
    if row.state != "not yet":
        assert row.where
        assert row.tests
    else:
        assert not row.where
        assert not row.proof


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.feature)
def test_the_named_tests_exist(row: Row) -> None:
    """Each proof is a test that can be run today."""
    assert [name for name in row.tests if not exists(name)] == []


def test_every_wish_has_its_row() -> None:
    """No feature that was promised has dropped out of the page."""
    if not WISHES.exists():
        pytest.skip("the list of wishes is not beside this checkout")
    wishes = re.findall(r"^\| (?!feature \||-)(.*?) \| ", WISHES.read_text(), flags=re.MULTILINE)
    assert [row.feature for row in rows()] == wishes


def test_a_missing_test_is_noticed() -> None:
    """The check itself: existing functions and files are found, invented ones are not."""
    here = Path(__file__).relative_to(ROOT).as_posix()
    assert exists(here)
    assert exists(f"{here}::test_a_missing_test_is_noticed")
    assert not exists(f"{here}::test_nobody_wrote_this")
    assert not exists("tests/docs/test_of_nothing.py")


def exists(name: str) -> bool:
    """Whether `tests/file.py[::test_name]` is there."""
    path, _, function = name.partition("::")
    if not (ROOT / path).is_file():
        return False
    defined = ast.walk(ast.parse((ROOT / path).read_text()))
    names = {node.name for node in defined if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return not function or function.split("[")[0] in names
