"""The player: what `flow play --json` reads and prints."""

from __future__ import annotations

import json
from typing import Any

import pytest

from domain.errors import RejectedInput
from flows import player
from tests.unit.flows.conftest import make_flow

FLOW = make_flow(
    {
        "a": {
            "choose": "Quale?",
            "options": [{"id": "x", "text": "Ics"}, {"id": "y", "text": "Ypsilon"}],
            "next": "b",
        },
        "b": {
            "ask": "phone",
            "text": "Telefono?",
            "save": "contact.phone",
            "timeout": {"after": "1 day", "goto": "c"},
            "next": "d",
        },
        "c": {"send": "Ci sei?", "next": "b"},
        "d": {"tag": "done", "next": "e"},
        "e": {"send": "Foto", "media": {"kind": "image", "url": "https://example.com/x.png"}, "next": "end"},
    }
)


def test_a_flow_is_played_line_by_line() -> None:
    """The first object comes without input; each input gives one; the contact and the results are shown."""
    lines = [
        '{"tap": "Ypsilon"}',
        "",
        '{"after": "1 day"}',
        '{"contact": {"phone": "+12125550123"}}',
        '{"text": "ciao"}',
    ]
    contact = {"name": "Anna Rossi", "fields": {"k": 1}, "tags": ["vip"]}
    shown = list(player.play([FLOW], lines, language="it", contact=contact))
    assert [[message["text"] for message in turn["messages"]] for turn in shown] == [
        ["Quale?"],
        ["Telefono?"],
        ["Ci sei?", "Telefono?"],
        ["Foto"],
        [],
    ]
    assert shown[0]["messages"][0]["buttons"] == [
        {"id": "x", "title": "Ics"},
        {"id": "y", "title": "Ypsilon"},
    ]
    assert [(turn["waiting"], turn["ended"]) for turn in shown] == [(True, False)] * 3 + [(False, True)] * 2
    last = shown[-2]
    assert last["messages"][0]["media"] == [{"kind": "image", "url": "https://example.com/x.png"}]
    assert last["contact"]["phone"] == "+12125550123"
    assert last["contact"]["tags"] == ["done", "vip"]
    assert last["session"]["results"]["a"] == {"value": "y", "category": "y", "input": "Ypsilon"}
    assert last["http"] is None
    json.dumps(shown)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "input 1: not readable as JSON"),
        ("[]", "input 1: must be an object with one key"),
        ('{"text": "a", "tap": "b"}', "one key"),
        ('{"say": "a"}', "input 1: is none of text, tap"),
        ('{"text": 5}', "is none of"),
        ('{"after": "soon"}', "input 1, after: must be a number and a unit"),
        ('{"file": {"kind": "hologram"}}', "is none of"),
        ('{"location": {"lat": "x"}}', "is none of"),
        ("[" * 50_000, "not readable as JSON"),
        ('{"text": "' + "x" * 100_000 + '"}', "at most"),
    ],
)
def test_unreadable_inputs_are_named(line: str, words: str) -> None:
    """The number of the input and what is wrong with it."""
    with pytest.raises(RejectedInput, match=words):
        list(player.play([FLOW], [line]))


@pytest.mark.parametrize("contact", [{"nme": "x"}, {"fields": []}, {"tags": "vip"}, {"name": 5}])
def test_unfit_contacts_are_refused(contact: dict[str, Any]) -> None:
    """A starting contact is checked before anything is played."""
    with pytest.raises(RejectedInput, match="contact"):
        list(player.play([FLOW], [], contact=contact))
