"""`flow import` as scripts use it: files, the JSON document, exit status, and nothing half done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import Command, passaparola

__all__ = ["passaparola"]

SOURCES = Path(__file__).parents[1] / "flows" / "importers" / "rapidpro"
REGISTRATION = SOURCES / "01_registration.json"
SURVEY = SOURCES / "09_sub_flow.json"
ODD = SOURCES / "25_odds_and_ends.json"


def test_import_check_and_play(passaparola: Command) -> None:
    """One file a flow; the proof finds nothing; the flow talks as it did."""
    made = passaparola.done("flow", "import", str(SURVEY), "--format", "rapidpro", "--out", "flows")
    assert made == {
        "flows": [
            {"id": "survey", "file": "flows/survey.yaml"},
            {"id": "ask_colour", "file": "flows/ask_colour.yaml"},
        ],
        "unsupported": [],
    }
    assert passaparola.done("flow", "check", "flows")["errors"] == 0
    played = passaparola(
        *("flow", "play", "flows/survey.yaml", "flows/ask_colour.yaml", "--json"),
        stdin='{"text": "green"}\n{"tap": "Blue"}\n',
    )
    first, _, last = map(json.loads, played.out.splitlines())
    assert [message["text"] for message in first["messages"]] == [
        "A question first.",
        "Which colour, parent?",
    ]
    assert [button["title"] for button in first["messages"][1]["buttons"]] == ["Red", "Blue"]
    assert last["ended"]
    assert last["session"]["results"] == {"own": {"value": "parent", "category": "Mine", "input": ""}}


def test_results_have_value_category_and_input(passaparola: Command) -> None:
    """In the language of the contact, too."""
    passaparola.done("flow", "import", str(REGISTRATION), "--format", "rapidpro", "--out", ".")
    person = passaparola.folder / "person.json"
    person.write_text(json.dumps({"name": "Anna Rossi", "language": "es"}))
    played = passaparola(
        *("flow", "play", "registration.yaml", "--contact", str(person), "--json"),
        stdin='{"text": "tengo 40"}\n',
    )
    first, last = map(json.loads, played.out.splitlines())
    assert first["messages"][0]["text"] == "Hola Anna, ¿cuántos años tienes?"
    assert last["session"]["results"]["age_group"] == {
        "value": "40",
        "category": "Adult",
        "input": "tengo 40",
    }


def test_what_is_not_carried_is_listed(passaparola: Command) -> None:
    """By its own name and id; people read why."""
    made = passaparola.done("flow", "import", str(ODD), "--format", "rapidpro", "--out", "here")
    assert {"what": "set_contact_status", "where": "2a97bcf6-f879-4fe1-8915-e19f4ee94104"} in made[
        "unsupported"
    ]
    told = passaparola("flow", "import", str(ODD), "--format", "rapidpro", "--out", "here", language="it")
    assert "Non riportato:" in told.out
    assert "set_contact_status (2a97bcf6" in told.out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "export.json: not readable as JSON"),
        ('{"flows": [{"uuid": "x", "nodes": 3}]}', "flows[0].nodes"),
        ("[]", "export.json: holds no flow"),
    ],
)
def test_a_refused_file_leaves_nothing(passaparola: Command, text: str, said: str) -> None:
    """Status 1, the reason, and no folder."""
    source = passaparola.folder / "export.json"
    source.write_text(text)
    answer = passaparola("flow", "import", str(source), "--format", "rapidpro", "--out", "flows", "--json")
    assert answer.status == 1
    assert said in answer.err
    assert not (passaparola.folder / "flows").exists()


def test_files_that_are_there_are_not_written_over(passaparola: Command) -> None:
    """All or nothing; the same text again is no conflict; --replace says that it is meant."""
    folder = passaparola.folder / "flows"
    arguments = ("flow", "import", str(SURVEY), "--format", "rapidpro", "--out", "flows")
    passaparola.done(*arguments)
    passaparola.done(*arguments)
    (folder / "survey.yaml").unlink()
    (folder / "ask_colour.yaml").write_text("mine")
    refused = passaparola(*arguments)
    assert refused.status == 1
    assert "ask_colour.yaml" in refused.err
    assert not (folder / "survey.yaml").exists()
    assert (folder / "ask_colour.yaml").read_text() == "mine"
    passaparola.done(*arguments, "--replace")
    assert (folder / "ask_colour.yaml").read_text() != "mine"
    assert sorted(path.name for path in folder.iterdir()) == ["ask_colour.yaml", "survey.yaml"]


def test_unknown_formats_and_missing_files(passaparola: Command) -> None:
    """Named, with what is known."""
    fax = passaparola("flow", "import", str(SURVEY), "--format", "fax", "--out", "flows")
    assert fax.status == 1
    assert "rapidpro" in fax.err
    gone = passaparola("flow", "import", "gone.json", "--format", "rapidpro", "--out", "flows")
    assert gone.status == 1
    assert "gone.json" in gone.err
    assert passaparola("flow", "import", str(SURVEY)).status == 2
