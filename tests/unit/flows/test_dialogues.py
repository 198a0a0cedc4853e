"""Dialogue tests: what passes, what differs and where, what is no test file at all."""

from __future__ import annotations

import pytest

from domain.errors import RejectedInput
from flows import compiler, dialogues, document
from tests.unit.flows.conftest import make_flow

FLOW = make_flow(
    {
        "a": {"send": "Ciao!", "next": "b"},
        "b": {
            "ask": "number",
            "text": "Quanti?",
            "save": "session.n",
            "timeout": {"after": "1 day", "goto": "c"},
            "next": "end",
        },
        "c": {"end": "late", "text": "Peccato"},
    },
    triggers=[{"keyword": "ciao"}],
)


def run(lines: str) -> dialogues.Result:
    text = "flow: tested\nwith: {language: it}\ndialogue:\n" + "".join(
        f"  - {line}\n" for line in lines.split("\n")
    )
    [result] = dialogues.run(text, "t.test.yaml", [FLOW])
    return result


def test_a_dialogue_passes() -> None:
    """User, bot, expectations and time."""
    result = run(
        "user: ciao\nbot: Ciao!\nbot: ~quan\nuser: 5.50\nexpect: {session.n: 5.5, ended: true, outcome: completed}"
    )
    assert result.passed, result
    assert run("user: ciao\nafter: 25 hours\nbot: Peccato\nexpect: {outcome: late, step: c}").passed
    assert run("bot: Ciao!\nbot: Quanti?").passed


@pytest.mark.parametrize(
    ("lines", "line", "words"),
    [
        ("user: ciao\nbot: Salve!", 5, "expected 'Salve!'\n     got 'Ciao!'\n          ^"),
        ("user: ciao\nbot: Ciao!\nbot: ~prezzo", 6, "expected 'prezzo' in 'Quanti?'"),
        ("user: ciao\nbot: Ciao!\nbot: Quanti?\nbot: altro", 7, "nothing more was said"),
        ("user: ciao\nbuttons: [A]", 5, "of the buttons: expected ['A']\n     got []\n"),
        ("user: ciao\nuser: 5\nexpect: {session.n: 6}", 6, "expected session.n to be 6, but it is 5"),
        ("user: buonasera\nbot: Ciao!", 5, "nothing more was said"),
    ],
)
def test_a_difference_is_readable(lines: str, line: int, words: str) -> None:
    """Line, what was expected, what came, and what had been said until then."""
    result = run(lines)
    assert not result.passed
    assert result.line == line
    assert words in result.difference
    assert "FAILED" in str(result)
    assert result.transcript[0].startswith("user: ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a", "a mapping"),
        ("flow: other\ndialogue: [{bot: x}]", "there is no flow 'other'"),
        ("flow: tested", "needs dialogue"),
        ("flow: tested\ndialogue: []", "needs dialogue"),
        ("flow: tested\ndialogue: [{say: x}]", "line 2: no such key|line 2: no such line: say"),
        ("flow: tested\ndialogue: [x]", "line 2: a line is a word"),
        ("flow: tested\nwith: {color: red}\ndialogue: [{bot: x}]", "with: may have"),
        ("flow: tested\nextra: 1\ndialogue: [{bot: x}]", "no such key: extra"),
        ("flow: tested\ndialogue: [{user: ciao}, {expect: {nothing.x: 1}}]", "leads nowhere"),
    ],
)
def test_faulty_test_files_are_refused(text: str, words: str) -> None:
    """A fault of the file is not a difference of the flow."""
    with pytest.raises(RejectedInput, match=words):
        dialogues.run(text, "t.test.yaml", [FLOW])


OUTCOMES = make_flow(
    {
        "invite": {"referral": "summer", "next": "score"},
        "score": {"feedback": "stars", "text": "Stelle?", "topic": "visit", "next": "order"},
        "order": {"conversion": "order", "value": 49.9, "next": "told"},
        "told": {"notify": "Ordine", "next": "follow"},
        "follow": {"subscribe": ["bags", "shoes"], "next": "unfollow"},
        "unfollow": {"subscribe": "bags", "state": "off", "next": "person"},
        "person": {"hand_over": True, "about": "Aiuto"},
    },
    triggers=[{"deep_link": "ref-summer-*"}],
)


def test_what_a_flow_brings_about_is_expected_in_a_short_form() -> None:
    """By another's link; score, order, topics and what the team was told."""
    text = """
flow: tested
with: {language: it}
dialogue:
  - referred: summer
  - expect: {referrals: [summer], conversions: [], feedback.visit: null}
  - tap: "4"
  - expect: {feedback.visit: 4, feedback.score: 4, conversions: [order 49.90 EUR], topics: [shoes]}
  - expect: {notified: [Ordine, Aiuto]}
"""
    [result] = dialogues.run(text, "t.test.yaml", [OUTCOMES])
    assert result.passed, result


def test_a_message_of_any_kind_can_be_looked_at() -> None:
    """`message` takes the next one, as `bot` does, and compares what is named of it."""
    picture = {"kind": "image", "url": "https://example.com/1.png"}
    flow = make_flow(
        {
            "a": {"send": {"location": {"latitude": 41.9, "longitude": 12.5}}, "next": "b"},
            "b": {"send": {"album": [{**picture, "caption": "Uno"}, picture]}, "next": "end"},
        }
    )
    head = "flow: tested\ndialogue:\n  - message: {kind: location, latitude: 41.9}\n"
    [good] = dialogues.run(head + "  - message: {kind: album, items.0.caption: Uno}\n", "t", [flow])
    assert good.passed, good
    [bad] = dialogues.run(head + "  - message: {items.1.caption: Due}\n", "t", [flow])
    assert (bad.line, bad.difference) == (
        4,
        "expected the message's items.1.caption to be 'Due', but it is None",
    )
    [end] = dialogues.run(head + "  - message: {kind: album}\n  - message: {kind: text}\n", "t", [flow])
    assert "nothing more was said" in end.difference


def test_somebody_who_has_written_before_starts_nothing_by_a_first_message() -> None:
    """`new: false`, as everybody but a stranger is."""
    flow = "flow: hi\ntriggers: [first_message]\nstart: a\nsteps: {a: {send: Ciao, next: end}}"
    compiled = compiler.compile(document.load(flow, "hi.yaml"), 1)
    test = "flow: hi\nwith: {new: %s}\ndialogue: [{user: boh}, {expect: {bot_messages: %s}}]"
    for new, said in (("true", 1), ("false", 0)):
        assert all(one.passed for one in dialogues.run(test % (new, said), "hi.test.yaml", [compiled]))


def test_a_long_difference_shows_what_is_around_it() -> None:
    """The mark stands below the first character that differs, also in long texts."""
    shown = dialogues.unlike("x" * 300 + "Anna" + "y" * 300, "x" * 300 + "Marco" + "y" * 300)
    expected, got, mark = shown.split("\n")
    assert expected[mark.index("^")] == "A"
    assert got[mark.index("^")] == "M"
    assert max(map(len, (expected, got))) < 150


def test_a_message_that_comes_later_and_messages_nobody_expected_are_named() -> None:
    """So that nobody has to count."""
    assert "that is message 2 from here" in run("user: ciao\nbot: Quanti?").difference
    result = run("user: ciao\nbot: Ciao!\nexpect: {bot_messages: 1}")
    assert result.difference == "expected bot_messages to be 1, but it is 2\n  also said: 'Quanti?'"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("bto: Ciao!", "no such line: bto; perhaps bot is meant"),
        ("{bot: a, user: b}", "bot, user are several; put a dash before each"),
        ("just words", "there are user, tap"),
    ],
)
def test_a_wrong_line_is_told_with_what_was_meant(line: str, words: str) -> None:
    """With its line, and what there is."""
    with pytest.raises(RejectedInput, match=f"t.test.yaml, line 4: .*{words}"):
        run(line)
