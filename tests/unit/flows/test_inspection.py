"""Inspection: each kind of fault is found, at its line, with a remedy in both languages; sound flows are silent."""

from __future__ import annotations

from typing import Any

import pytest

from flows import compiler, document, inspection
from flows.business import BusinessView
from tests.unit.flows.conftest import make_flow

OTHER = make_flow({"q": {"ask": "text", "text": "?", "save": "session.street", "next": "end"}}, key="other")
QUICK = make_flow({"s": {"set": {"session.x": 1}, "next": "end"}}, key="quick")
CALLER = make_flow({"s": {"sub_flow": "tested", "next": "end"}}, key="caller")
Q = {"ask": "text", "text": "?"}
LONG = "una scelta davvero molto lunga"


def found(steps: dict[str, Any], **more: Any) -> list[tuple[str, str, str]]:
    flow = make_flow(steps, **more)
    findings = inspection.check(
        flow, {"other": OTHER, "caller": CALLER, "quick": QUICK}, business=BusinessView()
    )
    for finding in findings:
        assert set(finding.text) == set(finding.remedy) == {"it", "en"}
        assert finding.sentence("it")
    return [(finding.severity, finding.code, finding.step) for finding in findings]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ({"a": {"send": "x", "next": "b"}}, ("error", "unknown_step", "a")),
        (
            {"a": {**Q, "next": "end", "timeout": {"after": "1 day", "goto": "z"}}},
            ("error", "unknown_step", "a"),
        ),
        ({"a": {"goto": {"flow": "nowhere"}}}, ("error", "unknown_flow", "a")),
        ({"a": {"goto": {"flow": "other", "step": "z"}}}, ("error", "unknown_step", "a")),
        ({"a": {"sub_flow": "nowhere", "next": "end"}}, ("error", "unknown_flow", "a")),
        ({"a": {"sub_flow": "caller", "next": "end"}}, ("error", "flows_in_circle", "a")),
        (
            {"a": {"send": "x", "next": "end"}, "b": {"send": "y", "next": "end"}},
            ("warning", "unreachable", "b"),
        ),
        ({"a": {"send": "x"}}, ("warning", "dead_end", "a")),
        ({"a": {"choose": "?", "options": [{"id": "x", "text": "X"}]}}, ("warning", "dead_end", "a")),
        ({"a": {"send": "x", "next": "b"}, "b": {"goto": "a"}}, ("error", "loop_without_input", "a")),
        ({"a": {"goto": "a"}}, ("error", "loop_without_input", "a")),
        ({"a": {"sub_flow": "quick", "next": "a"}}, ("error", "loop_without_input", "a")),
        ({"a": {"send": "{{ session.x }}", "next": "end"}}, ("warning", "read_before_set", "a")),
        ({"a": {"send": {"it": "x"}, "next": "end"}}, ("warning", "missing_translation", "a")),
        (
            {"a": {"choose": "?", "options": [{"id": "x", "text": LONG}], "next": "end"}},
            ("warning", "label_too_long", "a"),
        ),
        (
            {
                "a": {
                    "choose": "?",
                    "options": [{"id": f"o{i}", "text": f"O{i}"} for i in range(11)],
                    "next": "end",
                }
            },
            ("warning", "too_many_options", "a"),
        ),
        (
            {"a": {"choose": "x" * 1_025, "options": [{"id": "x", "text": "X"}], "next": "end"}},
            ("warning", "text_too_long", "a"),
        ),
        (
            {
                "a": {"wait": {"until": "open"}, "on_message": "b", "next": "b"},
                "b": {"send": "x", "next": "a"},
            },
            ("error", "loop_without_input", "a"),
        ),
        (
            {
                "a": {
                    "send": "x" * 1_025,
                    "media": {"kind": "image", "url": "https://example.com/x"},
                    "next": "end",
                }
            },
            ("warning", "part_too_long", "a"),
        ),
        (
            {"a": {"send": "x", "buttons": [{"id": "o", "text": "O"}], "list": "x" * 21, "next": "end"}},
            ("warning", "part_too_long", "a"),
        ),
        (
            {
                "a": {
                    "send": "x",
                    "buttons": [{"id": "o", "text": "O", "description": "x" * 73}],
                    "next": "end",
                }
            },
            ("warning", "part_too_long", "a"),
        ),
        (
            {"a": {"send": {"template": {"name": "ready", "category": "utility"}}, "next": "end"}},
            ("warning", "no_templates", "a"),
        ),
        (
            {
                "a": {"sub_flow": "asks", "scope": "own", "next": "b"},
                "b": {"send": "{{ result.q }}", "next": "end"},
            },
            ("warning", "read_before_set", "b"),
        ),
        (
            {"a": {"consent": "profiling", "exits": {"yes": "end", "no": "end"}}},
            ("error", "unknown_purpose", "a"),
        ),
    ],
)
def test_each_fault_is_found(steps: dict[str, Any], expected: tuple[str, str, str]) -> None:
    """The fault is named at its step, and nothing is said of other things."""
    assert expected in found(steps)
    assert len(found(steps)) <= 2


def test_start_and_reserved_words() -> None:
    """A start that does not exist, and a keyword that means STOP."""
    flow = document.load(
        "flow: x\nstart: b\ntriggers: [{keyword: [ciao, Stop]}]\nsteps: {a: {end: true}}", "x"
    )
    findings = inspection.check(compiler.compile(flow, 0), {})
    assert [(finding.code, finding.line) for finding in findings] == [
        ("unknown_step", 2),
        ("reserved_word", 3),
        ("unreachable", 4),
    ]


SOUND: list[dict[str, Any]] = [
    {"a": {"sub_flow": "other", "next": "b"}, "b": {"send": "x", "next": "a"}},
    {
        "a": {**Q, "save": "session.x", "next": "b"},
        "b": {"send": "{{ session.x }} {{ result.a }}", "next": "end"},
    },
    {"a": {"send": "x", "next": "b"}, "b": {"wait": "1 day", "next": "a"}},
    {"a": {"send": "x", "next": "b"}, "b": {"wait": {"until": "09:00"}, "next": "a"}},
    {
        "a": {"wait": {"until": "open"}, "on_message": "b", "next": "c"},
        "b": {"send": "x", "next": "a"},
        "c": {"end": True},
    },
    {
        "a": {"sub_flow": "other", "scope": "own", "next": "b"},
        "b": {"send": "{{ child.q }}", "next": "end"},
    },
    {"a": {**Q, "next": "b"}, "b": {"goto": "a"}},
    {"a": {"send": "{{ session.x | default('?') }} {{ contact.fields.y }}", "next": "end"}},
    {"a": {"sub_flow": "other", "next": "b"}, "b": {"send": "{{ session.street }}", "next": "end"}},
    {
        "a": {
            "choose": "?",
            "options": [{"id": "x", "text": "X", "goto": "b"}, {"id": "y", "text": "Y", "goto": "c"}],
        },
        "b": {"set": {"session.v": "1"}, "next": "d"},
        "c": {"set": {"session.v": "2"}, "next": "d"},
        "d": {"send": "{{ session.v }}", "next": "end"},
    },
]


@pytest.mark.parametrize("steps", SOUND)
def test_sound_flows_are_silent(steps: dict[str, Any]) -> None:
    """No false alarm."""
    assert found(steps) == []


def test_a_skipped_question_has_set_nothing() -> None:
    """What one way sets and another does not may be empty."""
    steps = {
        "a": {**Q, "save": "session.x", "skip": "b", "next": "b"},
        "b": {"send": "{{ session.x }}", "next": "end"},
    }
    assert found(steps) == [("warning", "read_before_set", "b")]


def test_a_circle_through_a_consent_that_was_given_before_is_found() -> None:
    """Who has agreed is not asked again, so the exit `yes` is taken without waiting."""
    source = """
flow: round
languages: [it]
start: ask
steps:
  ask: {consent: marketing, exits: {yes: say, no: end}}
  say: {send: {it: Ancora}, next: ask}
"""
    flow = compiler.compile(document.load(source, "round"), 0)
    assert "loop_without_input" in [finding.code for finding in inspection.check(flow, {})]
