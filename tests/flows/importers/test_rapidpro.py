"""Definitions in RapidPro's forms, written for this project: imported, proven, played, and what they leave behind.

`rapidpro/NN_name.json` is an export, a list of definitions or one definition; `NN_name.test.yaml` holds dialogues that
pass after the import; `unsupported.json` names what each of them cannot carry.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows import compiler, dialogues, document, importers, inspection
from flows.importers.documents import slug
from flows.importers.rapidpro import actions
from flows.importers.rapidpro.definitions import definition
from flows.versions import CompiledFlow

FOLDER = Path(__file__).parent / "rapidpro"
SOURCES = sorted(path for path in FOLDER.glob("[0-9]*.json"))
UNSUPPORTED = json.loads((FOLDER / "unsupported.json").read_text())


def compiled(source: Path) -> list[CompiledFlow]:
    """The flows of a source as versions."""
    imported = importers.read(source.read_text(), "rapidpro")
    return [
        compiler.compile(document.load(flow.text, flow.id), number)
        for number, flow in enumerate(imported.flows, 1)
    ]


def test_there_are_enough_of_them() -> None:
    """Thirty at least, each with dialogues."""
    assert len(SOURCES) >= 30
    assert [path.name for path in SOURCES if not dialogues_of(path).exists()] == []
    assert {path.stem for path in SOURCES} == set(UNSUPPORTED)


def dialogues_of(source: Path) -> Path:
    return source.with_name(f"{source.stem}.test.yaml")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_an_imported_flow_behaves_as_its_dialogues_say(source: Path) -> None:
    """The same messages, categories, results and ways."""
    path = dialogues_of(source)
    results = dialogues.run(path.read_text(), path.name, compiled(source))
    assert results
    assert all(result.passed for result in results), "\n".join(map(str, results))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_an_imported_flow_passes_inspection(source: Path) -> None:
    """No error, on either network."""
    flows = compiled(source)
    library = {flow.key: flow for flow in flows}
    found = [finding for flow in flows for finding in inspection.check(flow, library)]
    assert [finding.sentence() for finding in found if finding.severity == "error"] == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_what_is_not_carried_is_named_with_its_place(source: Path) -> None:
    """By the source's own type name and id; and the document keeps a remark for every action that is missing."""
    imported = importers.read(source.read_text(), "rapidpro")
    assert [[one.what, one.where] for one in imported.unsupported] == UNSUPPORTED[source.stem]
    assert all(one.why for one in imported.unsupported)
    texts = "".join(flow.text for flow in imported.flows)
    for one in imported.unsupported:
        if not one.what.startswith(("trigger", "campaign")):
            assert one.where in texts


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_importing_again_gives_the_same(source: Path) -> None:
    """Ids of steps and keys of flows come from the source alone."""
    text = source.read_text()
    assert importers.read(text, "rapidpro") == importers.read(text, "rapidpro")


def test_every_action_type_is_covered() -> None:
    """Each type that is carried, or known not to be, stands in one of the definitions."""
    texts = "".join(path.read_text() for path in SOURCES)
    assert [key for key in actions.registry() if f'"{key}"' not in texts] == []


def test_the_key_of_a_flow_is_readable_and_unique() -> None:
    """Two flows of one name get two keys."""
    flow = json.loads((FOLDER / "28_single_definition.json").read_text())
    other = json.loads(json.dumps(flow).replace(flow["uuid"], "11111111-1111-4111-8111-111111111111"))
    imported = importers.read(json.dumps([flow, other]), "rapidpro")
    assert [one.id for one in imported.flows] == ["single", "single_2"]
    assert slug("Città & Gusti!") == "citta_gusti"


def test_a_flow_that_is_not_in_the_file_is_named() -> None:
    """The entry names it, and the proof says that it is missing."""
    source = json.loads((FOLDER / "09_sub_flow.json").read_text())
    del source["flows"][1]
    imported = importers.read(json.dumps(source), "rapidpro")
    assert [one.what for one in imported.unsupported] == ["enter_flow"]
    flow = compiler.compile(document.load(imported.flows[0].text, "x"), 0)
    assert "unknown_flow" in [finding.code for finding in inspection.check(flow, {})]


def test_positions_become_the_canvas() -> None:
    """Each step stands where its node stood, the next ones below it."""
    source = json.loads((FOLDER / "01_registration.json").read_text())
    loaded = document.load(importers.read(json.dumps(source), "rapidpro").flows[0].text, "x")
    first = definition(source["flows"][0], "flow").nodes[0].uuid
    place = source["flows"][0]["_ui"]["nodes"][first]["position"]
    assert loaded.canvas[loaded.start] == (place["left"], place["top"])


def test_notes_on_the_canvas_stand_above_the_flow() -> None:
    """Of both kinds of definitions."""
    text = importers.read((FOLDER / "45_nothing_fits.json").read_text(), "rapidpro").flows[0].text
    assert "# Note: Careful: Nobody answers here\n" in text
    old = json.loads((FOLDER / "44_legacy_sums.json").read_text())
    old["flows"][0]["metadata"]["notes"] = [
        {"x": 1, "y": 2, "title": "Old", "body": "note"},
        {"body": None},
        7,
    ]
    text = importers.read(json.dumps(old), "rapidpro").flows[0].text
    assert text.count("# Note: ") == 1
    assert "# Note: Old: note\n" in text
