"""Rules of `route` and `listen`, and the tests they ask, beyond the golden files."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.contacts import ContactView
from domain.errors import RejectedInput
from domain.messages import (
    FormAnswer,
    Received,
    ReceivedAlbum,
    ReceivedContact,
    ReceivedMedia,
    ReceivedText,
    Tap,
)
from domain.messages import MediaKind as Kind
from flows import document, engine, inspection
from flows.business import sample
from flows.document import DocumentRejected
from flows.excellent.environment import Environment
from flows.inputs import heard
from flows.matchers import Match, Unfit, matcher, registry
from flows.player import play
from flows.state import decode, encode
from tests.unit.flows.conftest import said

NOW = 1_797_000_000_000
HERE = Environment(now=datetime(2026, 12, 11, 15, 40, tzinfo=UTC))
Make = Callable[..., Any]


def start(flow: Any, **more: Any) -> engine.Transition:
    return engine.start(
        flow,
        contact=ContactView(id=1),
        now=NOW,
        seed=1,
        channel_kind="telegram",
        business=sample(),
        language="en",
        **more,
    )


def answer(flow: Any, before: engine.Transition, content: Received | str) -> engine.Transition:
    return engine.advance(
        flow,
        decode(encode(before.state)),
        said(content),
        contact=before.contact,
        now=NOW,
        seed=1,
        channel_kind="telegram",
        business=sample(),
    )


ENDS: dict[str, Any] = {name: {"end": name} for name in ("yes", "no", "rest")}


def test_a_tap_counts_by_its_title_and_then_by_its_id(flow: Make) -> None:
    """Rules see what the person saw on the button; where none fits that, the button's id."""
    compiled = flow(
        {
            "a": {
                "listen": [
                    {"test": "has_only_phrase", "value": "certo", "category": "Yes", "goto": "yes"},
                    {"test": "has_only_text", "value": "opt_no", "category": "No", "goto": "no"},
                ],
                "result": "a",
                "next": "rest",
            },
            **ENDS,
        }
    )
    asked = start(compiled)
    assert asked.waiting == "answer"
    assert not asked.effects
    by_title = answer(compiled, asked, Tap("opt_yes", "Certo!"))
    assert (by_title.outcome, by_title.state.results["a"].value) == ("yes", "Certo")
    by_id = answer(compiled, asked, Tap("opt_no", "Nein"))
    assert (by_id.outcome, by_id.state.results["a"].input) == ("no", "Nein")
    assert answer(compiled, asked, Tap("other", "Boh")).outcome == "rest"
    assert answer(compiled, asked, Tap("opt_no")).outcome == "no"


def test_the_message_that_began_the_session_may_be_the_answer(flow: Make) -> None:
    """With `take_first` the first message is not asked for again; without it, and without a message, it waits."""
    rules = [{"test": "has_phrase", "value": "book", "category": "Book", "goto": "yes"}]
    listening = {"listen": rules, "result": "wish", "next": "rest", "take_first": True}
    compiled = flow({"a": listening, **ENDS})
    assert start(compiled, received=ReceivedText("I want to book")).outcome == "yes"
    assert start(compiled).waiting == "answer"
    patient = flow({"a": listening | {"take_first": False}, **ENDS})
    assert start(patient, received=ReceivedText("I want to book")).waiting == "answer"
    later = flow({"a": {"listen": [], "next": "b"}, "b": listening, **ENDS})
    waits = answer(later, start(later), "book")
    assert (waits.waiting, waits.state.step) == ("answer", "b")


def test_own_templates_read_what_was_sent(flow: Make) -> None:
    """`event.text` and its kin are what the contact sent last, also in later steps."""
    compiled = flow(
        {
            "a": {"listen": [], "next": "b"},
            "b": {"send": "{{ event.kind }}: {{ event.text }} {{ event.option }}", "next": "end"},
        }
    )
    said_back = answer(compiled, start(compiled), Tap("opt", "Yes"))
    assert said_back.effects[0].content.text == "tap: Yes opt"  # type: ignore[union-attr]


def test_what_is_remembered_of_each_kind() -> None:
    """Files, places, cards and forms have a plain form."""
    image = ReceivedMedia(Kind.image, "f1", caption="look", mime="image/png", url="https://example.com/x.png")
    assert heard(image, 5).attachments == ("image/png:https://example.com/x.png",)
    assert heard(ReceivedAlbum((image, image), "two"), 5).text == "two"
    assert heard(ReceivedContact("+15550100123", "Anna"), 5).text == "+15550100123"
    assert heard(FormAnswer("order", {"n": 2}), 5).payload == {"n": 2}
    assert heard(FormAnswer("order", {"n": "x" * 9_000}), 5).payload == {}
    assert len(heard(ReceivedText("x" * 9_000), 5).text) == 4_096


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ({"test": "has_everything"}, "unknown test 'has_everything'; known are has_all_words"),
        ({"test": "has_phrase"}, "has_phrase takes 1 argument, not 0"),
        ({"test": "has_number_between", "value": 5}, "takes 2 arguments, not 1"),
        ({"test": "has_text", "value": "x"}, "takes no arguments, not 1"),
        ({"test": "has_phone", "value": ["IT", "x"]}, "takes 0 to 1 arguments, not 2"),
        ({"test": "has_pattern", "value": "(a)\\1"}, "not a pattern that can be used"),
        ({"test": "has_pattern", "value": "x" * 600}, "at most 500 characters"),
        ({"test": "has_phrase", "value": "{{ nowhere }}"}, "leads nowhere"),
        ({"test": "has_text", "goto": "a b"}, "must be an id"),
        ({"test": "has_text", "categroy": "x"}, "there is no such key"),
    ],
)
def test_rules_that_cannot_work_are_refused(flow: Make, rule: dict[str, Any], what: str) -> None:
    """When the flow is saved, with the step's line."""
    with pytest.raises(DocumentRejected) as caught:
        flow({"a": {"route": "x", "rules": [rule], "next": "end"}})
    assert what in str(caught.value)
    assert "line 1, steps.a" in str(caught.value)


def test_few_patterns_come_from_templates(flow: Make) -> None:
    """Reading a pattern is dear: those that are known only when the step runs are counted."""
    rule = {"test": "has_pattern", "value": "{{ session.pattern }}"}
    with pytest.raises(DocumentRejected, match="at most 5 patterns"):
        flow({"a": {"route": "x", "rules": [rule] * 6, "next": "end"}})


def test_an_expression_that_is_wrong_is_refused_with_its_line(flow: Make) -> None:
    """Imported flows name the step and the place in the text."""
    with pytest.raises(DocumentRejected, match=r"steps\.a\.send: expression, character 7: .*missing"):
        flow({"a": {"send": "@(1 + )", "next": "end"}}, expressions="excellent")


def test_tests_take_plain_data() -> None:
    """Matchers are of use without the language: plain values in, the fitting part out."""
    assert matcher("has_number_between").match("sono 41", ["18", 65], HERE) == Match(Decimal(41))
    assert matcher("has_any_word").match(["a", "b"], ["b"], HERE) == Match("b")
    found = matcher("has_group").match([{"uuid": "vip", "name": "VIP"}], ["vip"], HERE)
    assert found is not None
    assert found.text == "{name: VIP, uuid: vip}"
    assert matcher("has_text").match(None, [], HERE) is None
    with pytest.raises(Unfit, match="foo"):
        matcher("has_number_lt").match("5", ["foo"], HERE)
    with pytest.raises(Unfit, match="needs 1 argument, got 0"):
        matcher("has_phrase").match("x", [], HERE)
    with pytest.raises(RejectedInput, match="unknown test"):
        matcher("has_nothing")


def test_every_test_has_its_names() -> None:
    """In Italian and English, for whoever draws a flow."""
    for test in registry().values():
        assert set(test.label) == {"it", "en"}


@given(st.sampled_from(sorted(registry())), st.text(max_size=80), st.lists(st.text(max_size=20), max_size=3))
def test_any_text_is_matched_or_not(key: str, text: str, arguments: list[str]) -> None:
    """No answer of a contact makes a test fail in another way than `Unfit`."""
    try:
        found = matcher(key).match(text, arguments, HERE)
    except Unfit:
        return
    assert found is None or isinstance(found.text, str)


def test_what_goes_wrong_in_an_expression_is_noted(flow: Make) -> None:
    """The text is said without it; whoever tries the flow out is told the step and the reason."""
    compiled = flow({"a": {"send": "Hi @(1 / 0)@(shout(1))!", "next": "end"}}, expressions="excellent")
    done = start(compiled)
    assert done.effects[0].content.text == "Hi !"  # type: ignore[union-attr]
    assert done.faults == ["a: division by zero", "a: shout is not a function"]
    assert next(play([compiled], []))["faults"] == done.faults
    found = inspection.check(compiled, {})
    assert [one.text["en"] for one in found if one.code == "unknown_name"] == [
        "nothing in expressions is called shout(): nothing will be shown in their place"
    ]


def test_a_flow_of_many_expressions_is_refused_at_once() -> None:
    """Before any of them is compiled."""
    steps = {"a": {"send": ["@contact.name " * 290] * 10, "next": "end"}, "b": {"end": "x"}}
    steps |= {f"s{number}": steps["a"] for number in range(10)}
    text = json.dumps({"flow": "big", "expressions": "excellent", "start": "a", "steps": steps})
    with pytest.raises(RejectedInput, match="at most 20000 expressions"):
        document.load(text, "big")
