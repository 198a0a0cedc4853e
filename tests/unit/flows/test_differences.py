"""Differences of two texts of a flow: in words, in both languages, complete, always in the same order."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest

from flows import upgrades
from flows.differences import Difference, differences, renamed

ROOT = Path(__file__).resolve().parents[3]
FLOW = """
flow: lead
languages: [it, en]
triggers: [{keyword: [ciao, info]}, first_message]
start: welcome
steps:
  welcome: {send: {it: Ciao, en: Hi}, next: email}
  email: {ask: email, text: {it: La tua e-mail?, en: Your e-mail?}, tries: 3, next: pick}
  pick:
    choose: {it: Che cosa?, en: What?}
    options: [{id: a, text: {it: Uno, en: One}}, {id: b, text: {it: Due, en: Two}, goto: bye}]
    next: agree
  agree: {consent: marketing, exits: {yes: bye, no: pause}}
  pause: {wait: 2 days, next: bye}
  bye: {send: Addio, next: end}
canvas: {welcome: [0, 0], email: [240, 0]}
"""


def data(text: str) -> dict[str, Any]:
    return upgrades.data_of(text, name="flow")


def found(*changes: tuple[str, str]) -> list[Difference]:
    text = FLOW
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return differences(data(FLOW), data(text))


def words(*changes: tuple[str, str]) -> list[str]:
    return [one.text["en"] for one in found(*changes)]


def test_no_change_no_difference() -> None:
    assert found() == []
    assert found(("flow: lead", "flow: lead # a comment")) == []


@pytest.mark.parametrize(
    ("old", "new", "it", "en"),
    [
        (
            "it: Ciao",
            "it: Salve",
            "welcome, send (it): «Ciao» → «Salve»",
            "welcome, send (it): «Ciao» → «Salve»",
        ),
        (
            "next: pick}",
            "next: bye}",
            "email, next: portava a pick, ora porta a bye",
            "email, next: led to pick, now leads to bye",
        ),
        (
            "no: pause",
            "no: end",
            "agree, exits.no: portava a pause, ora porta a end",
            "agree, exits.no: led to pause, now leads to end",
        ),
        (
            ", goto: bye}]",
            "}]",
            "pick, options.b.goto: non porta più a bye",
            "pick, options.b.goto: no longer leads to bye",
        ),
        ("tries: 3", "tries: 5", "email, tries: «3» → «5»", "email, tries: «3» → «5»"),
        ("tries: 3, ", "", "email, tries: tolto, era «3»", "email, tries: gone, was «3»"),
        (
            "2 days, next",
            "2 days, comment: why, next",
            "pause, comment: nuovo, «why»",
            "pause, comment: new, «why»",
        ),
        ("ask: email", "ask: phone", "email, ask: «email» → «phone»", "email, ask: «email» → «phone»"),
        ("send: Addio", "note: Addio", "bye: era send, ora è note", "bye: was send, is now note"),
        ("{it: Due, en: Two}", "{it: Due, en: Too}", None, "pick, options.b.text (en): «Two» → «Too»"),
        (", first_message", "", "avvio tolto: first_message", "trigger gone: first_message"),
        ("[240, 0]", "[300, 0]", "spostati sul disegno: email", "moved on the canvas: email"),
        ("languages: [it, en]", "languages: [en, it]", None, "languages: «it, en» → «en, it»"),
    ],
)
def test_one_change_in_words(old: str, new: str, it: str | None, en: str) -> None:
    first = found((old, new))[0]
    assert first.text["en"] == en
    assert it is None or first.text["it"] == it


def test_steps_that_come_and_go() -> None:
    told = words(("  bye: {send", "  more: {send: {it: Ancora, en: More}, next: bye}\n  bye: {send"))
    assert told == ["new step more (send): «Ancora»"]
    told = words(("  pause: {wait: 2 days, next: bye}\n", ""), ("no: pause", "no: bye"))
    assert told == [
        "agree, exits.no: led to pause, now leads to bye",
        "the step pause (wait) is gone: «2 days»",
    ]


def test_a_renamed_step_is_one_difference_and_maps_people() -> None:
    """Who led to it leads to the same step as before."""
    assert words(("pause", "breath")) == ["the step pause is now called breath"]
    text = FLOW.replace("pause", "breath")
    assert renamed(data(FLOW), data(text)) == {"pause": "breath"}
    assert words(("welcome", "hello")) == ["the step welcome is now called hello"]
    changed = words(("pause", "breath"), ("2 days", "3 days"))
    assert changed[-1].startswith("the step pause (wait) is gone"), "another step, as far as can be told"


def test_moved_in_the_text() -> None:
    """The fewest steps that explain the order."""
    old, new = data(FLOW), data(FLOW)
    new["steps"] = {"bye": new["steps"]["bye"], **{k: v for k, v in new["steps"].items() if k != "bye"}}
    [one] = differences(old, new)
    assert one.text["it"] == "in un altro punto del testo: bye"


def test_options_are_compared_by_id() -> None:
    [one] = found(
        (
            "[{id: a, text: {it: Uno, en: One}}, ",
            "[{id: c, text: {it: Tre, en: Three}}, {id: a, text: {it: Uno, en: One}}, ",
        )
    )
    assert one.key == "options.c"
    assert "Three" in one.after


def test_long_texts_are_shortened_in_words_only() -> None:
    [one] = found(("it: Ciao", f"it: {'x' * 900}"))
    assert len(one.after) == 900
    assert len(one.text["it"]) < 300


def test_a_text_in_one_form_and_in_another() -> None:
    assert words(("send: Addio", "send: {it: Addio, en: Bye}")) == [
        "bye, send: gone, was «Addio»",
        "bye, send (en): new, «Bye»",
        "bye, send (it): new, «Addio»",
    ]


def test_faulty_documents_can_be_compared() -> None:
    """A draft is compared whatever stands in it, as long as it is readable."""
    broken: dict[str, Any] = {
        "flow": 7,
        "steps": {"a": "?", "b": None, "c": ["x"]},
        "triggers": "x",
        "canvas": 3,
    }
    for before, after in ((data(FLOW), broken), (broken, data(FLOW)), (broken, {}), ({}, broken)):
        for one in differences(before, after):
            assert set(one.text) == {"it", "en"}
            assert one.text["it"]


def test_always_the_same_order_and_nothing_is_missed() -> None:
    """Random changes: something is said exactly when the data differ, and saying it again gives the same."""
    chance = random.Random(3)
    flows = [data(path.read_text()) for path in sorted(ROOT.glob("gallery/*/flow.yaml"))] + [data(FLOW)]
    for _ in range(300):
        before = chance.choice(flows)
        after = copy.deepcopy(before)
        for _ in range(chance.randrange(4)):
            _change(after, chance)
        told = differences(before, after)
        assert told == differences(copy.deepcopy(before), copy.deepcopy(after))
        canvas = {k: v for k, v in before.items() if k != "canvas"} == {
            k: v for k, v in after.items() if k != "canvas"
        }
        order = list(before["steps"]) == list(after["steps"])
        assert bool(told) or (canvas and order)


def _change(flow: dict[str, Any], chance: random.Random) -> None:
    steps: dict[str, Any] = flow["steps"]
    step_id = chance.choice(list(steps))
    match chance.randrange(5):
        case 0:
            steps[f"new{chance.randrange(99)}"] = {"send": "x", "next": step_id}
        case 1 if len(steps) > 1:
            steps.pop(step_id)
        case 2:
            steps[step_id] = {**steps[step_id], "comment": str(chance.randrange(99))}
        case 3:
            steps[step_id] = {**steps[step_id], "next": chance.choice(list(steps))}
        case _:
            moved = steps.pop(step_id)
            steps[step_id] = moved
