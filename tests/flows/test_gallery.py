"""The flows that we ship: nothing to find in them, and their own dialogues pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import compiler, dialogues, document, inspection
from flows.business import sample

GALLERY = Path(__file__).parents[2] / "gallery"
FLOWS = {
    path.parent.name: compiler.compile(document.load(path.read_text(), str(path)), 1)
    for path in GALLERY.glob("*/flow.yaml")
}
TESTS = sorted(GALLERY.glob("*/*.test.yaml"))


@pytest.mark.parametrize("name", sorted(FLOWS))
def test_inspection_has_nothing_to_say(name: str) -> None:
    """No error and no warning, on either network."""
    library = {flow.key: flow for flow in FLOWS.values()}
    assert [finding.sentence() for finding in inspection.check(FLOWS[name], library, business=sample())] == []


@pytest.mark.parametrize("name", sorted(FLOWS))
def test_every_flow_has_dialogues_in_both_languages(name: str) -> None:
    """A flow that is shipped is tested in Italian and English."""
    assert set(FLOWS[name].languages) >= {"it", "en"}
    texts = "".join(path.read_text() for path in TESTS if path.parent.name == name)
    assert "language: it" in texts
    assert "language: en" in texts


@pytest.mark.parametrize("path", TESTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_dialogues_pass(path: Path) -> None:
    """What the test file says is what happens."""
    results = dialogues.run(path.read_text(), path.name, list(FLOWS.values()))
    assert results
    assert all(result.passed for result in results), "\n".join(map(str, results))
