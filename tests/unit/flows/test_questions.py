"""What every question can do, whatever it asks for: refuse, give up, be skipped, go back, time out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from domain.messages import ReceivedText, Tap
from flows import compiler, document
from flows.answers import registry
from flows.business import sample
from flows.document import DocumentRejected
from flows.inspection import check
from flows.player import contact_from
from flows.rehearsal import Rehearsal
from flows.versions import CompiledFlow

OPTIONS = [
    {"id": "red", "text": {"it": "Rosso", "en": "Red"}},
    {"id": "blue", "text": {"it": "Blu", "en": "Blue"}},
]
NONSENSE = "<boh> ?"  # an answer of no kind but a text's, and that is too short then
HOUR = 3_600_000


def question(kind: str, **keys: Any) -> dict[str, Any]:
    step: dict[str, Any] = {"ask": kind, "text": "Che cosa?", "next": "next", **keys}
    if kind in ("choice", "choices"):
        step["options"] = OPTIONS
    if kind == "text":
        step["min"] = 10
    return step


def made(asked: dict[str, Any], **more: Any) -> CompiledFlow:
    ends = {name: {"end": name} for name in ("next", "gave_up", "skipped", "late")}
    steps = {"a": asked, **more, **ends}
    flow = {"flow": "tested", "start": next(iter(more), "a"), "steps": steps}
    return compiler.compile(document.load(json.dumps(flow), "tested.yaml"), 1)


def begun(flow: CompiledFlow) -> Rehearsal:
    rehearsal = Rehearsal(
        [flow], channel_kind="telegram", language="it", contact=contact_from({}), business=sample()
    )
    rehearsal.begin()
    return rehearsal


def result_of(rehearsal: Rehearsal) -> str:
    session = rehearsal.state or rehearsal.last_state
    assert session is not None
    return session.results["a"].category


@pytest.mark.parametrize("kind", sorted(registry()))
def test_tries_used_up_lead_to_otherwise(kind: str) -> None:
    """The first answer that does not fit is answered with the author's words, the second one gives up."""
    rehearsal = begun(made(question(kind, tries=2, otherwise="gave_up", invalid="Come?")))
    rehearsal.answer(ReceivedText(NONSENSE))
    assert [getattr(content, "text", "") for content in rehearsal.messages] == ["Come?"]
    rehearsal.answer(ReceivedText(NONSENSE))
    assert (rehearsal.outcome, result_of(rehearsal)) == ("gave_up", "invalid")


@pytest.mark.parametrize("kind", sorted(registry()))
def test_own_words_for_one_reason(kind: str) -> None:
    """`errors` says it for its reason; our own words say it where the author wrote nothing."""
    reasons = registry()[kind].reasons
    rehearsal = begun(made(question(kind, errors={reason: f"[{reason}]" for reason in reasons})))
    rehearsal.answer(ReceivedText(NONSENSE))
    assert getattr(rehearsal.messages[0], "text", "").strip("[]") in reasons
    with pytest.raises(DocumentRejected, match="is no reason of this question"):
        made(question(kind, errors={"nothing": "?"}))


@pytest.mark.parametrize("kind", sorted(registry()))
def test_every_question_can_be_skipped(kind: str) -> None:
    """By its button and by its word."""
    for answer in (Tap("_skip", "Salta"), ReceivedText("salta")):
        rehearsal = begun(made(question(kind, skip="skipped")))
        rehearsal.answer(answer)
        assert (rehearsal.outcome, result_of(rehearsal)) == ("skipped", "skipped")


@pytest.mark.parametrize("kind", sorted(registry()))
def test_every_question_can_be_left_backwards(kind: str) -> None:
    """To the question before, by the word."""
    rehearsal = begun(made(question(kind, back=True), first={"ask": "text", "text": "Prima?", "next": "a"}))
    rehearsal.answer(ReceivedText("sì"))
    rehearsal.answer(ReceivedText("indietro"))
    assert [getattr(content, "text", "") for content in rehearsal.messages] == ["Prima?"]


@pytest.mark.parametrize("kind", sorted(registry()))
def test_every_question_can_time_out(kind: str) -> None:
    """After its time it goes where the author said."""
    rehearsal = begun(made(question(kind, timeout={"after": "1 hour", "goto": "late"})))
    rehearsal.pass_time(HOUR - 1)
    assert not rehearsal.ended
    rehearsal.pass_time(1)
    assert (rehearsal.outcome, result_of(rehearsal)) == ("late", "timeout")


def test_tapping_several_starts_the_time_anew() -> None:
    """Somebody who is choosing is not timed out between two taps."""
    rehearsal = begun(made(question("choices", timeout={"after": "1 hour", "goto": "late"})))
    rehearsal.pass_time(HOUR - 1)
    rehearsal.answer(Tap("red", "Rosso"))
    rehearsal.pass_time(HOUR - 1)
    assert not rehearsal.ended
    rehearsal.answer(Tap("_done", "Fatto"))
    assert rehearsal.outcome == "next"


@pytest.mark.parametrize(
    ("step", "what"),
    [
        ({"ask": "email", "min": 1}, "min does not belong to the answer kind email"),
        ({"ask": "number", "min": "09:00"}, "min and max are numbers here"),
        ({"ask": "number", "min": 3, "max": 2}, "min is greater than max"),
        ({"ask": "time", "min": 9}, "hours such as '09:00'"),
        ({"ask": "time", "min": "9:00"}, "hours such as '09:00'"),
        ({"ask": "date", "max": "soon"}, "a span such as 30 days"),
        ({"ask": "date", "max": "99999 years"}, "a span such as 30 days"),
        ({"ask": "datetime", "min": "2026-02-31"}, "a span such as 30 days"),
        ({"ask": "text", "currency": "EUR"}, "currency does not belong"),
        ({"ask": "money", "currency": "euro"}, "must be an id"),
        ({"ask": "money", "country": "IT"}, "country does not belong"),
        ({"ask": "rating", "max": 1_000}, "whole numbers from 0 to 100"),
        ({"ask": "rating", "max": 4.5}, "whole numbers from 0 to 100"),
        ({"ask": "rating", "min": 7}, "max has to be said"),
        ({"ask": "choices", "options": OPTIONS, "max": 3}, "whole numbers from 0 to 2"),
        ({"ask": "choices", "options": OPTIONS, "max": 0}, "max is at least 1"),
        ({"ask": "choices"}, "options are what the answer kinds choice and choices need"),
        ({"ask": "yes_no", "options": OPTIONS}, "options are what the answer kinds choice and choices need"),
        ({"ask": "age"}, "unknown kind of answer 'age'; known are address, choice"),
    ],
)
def test_what_does_not_go_together_is_refused_when_it_is_saved(step: dict[str, Any], what: str) -> None:
    """Never while a contact waits."""
    with pytest.raises(DocumentRejected, match=what):
        made({"text": "?", "next": "next", **step})


def test_a_label_that_names_two_options_at_once_is_one() -> None:
    """`pane e olio` may be an option of its own; only what names no option is divided."""
    options = [
        {"id": each, "text": text} for each, text in (("b", "Pane"), ("o", "Olio"), ("bo", "Pane e olio"))
    ]
    step = {"ask": "choices", "text": "?", "options": options, "save": "session.x", "next": "next"}
    for said, chosen in (
        ("pane e olio", ["bo"]), ("olio e pane", ["b", "o"]), ("pane, olio", ["b", "o"]), ("1 2", ["b", "o"]),
        ("1,3", ["b", "bo"]), ("Tutti", ["b", "o", "bo"]), ("pane e olio e olio", ["o", "bo"]), ("2+1", ["b", "o"]),
    ):  # fmt: skip
        rehearsal = begun(made(step))
        rehearsal.answer(ReceivedText(said))
        assert rehearsal.last_state is not None, said
        assert rehearsal.last_state.variables["x"] == chosen, said
    for said in ("pane e burro", "1, 9", "pane olio", "e", ",", "1-3", "non pane", "x, " * 400):
        rehearsal = begun(made(step))
        rehearsal.answer(ReceivedText(said))
        assert not rehearsal.ended, said


def test_inspection_knows_the_questions_texts_and_buttons() -> None:
    """A reason's words that lack a language are found, as all texts are."""
    flow = made(question("number", errors={"range": {"it": "Troppo."}}, max=3))
    assert "missing_translation" in {finding.code for finding in check(flow, {})}


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("sì", "book"),
        ("certo", "book"),
        ("no grazie", "drop"),
        ("No", "drop"),
        ("un altra ora", None),
        ("👍", "book"),
    ],
)
def test_a_plain_yes_means_the_option_that_begins_with_it(words: str, option: str | None) -> None:
    """People write yes where a button says `Yes, book it`, and leave commas out."""
    labels = {"book": "Sì, confermo", "change": "Un'altra ora", "drop": "No, grazie"}
    options = [{"id": key, "text": text} for key, text in labels.items()]
    rehearsal = begun(made({"choose": "Confermo?", "options": options, "next": "next"}))
    rehearsal.answer(ReceivedText(words))
    assert (result_of(rehearsal) if rehearsal.ended else None) == option


@pytest.mark.parametrize("labels", [("Sì, oggi", "Sì, domani"), ("S", "M")])
def test_a_plain_yes_that_could_mean_two_options_or_none_is_asked_again(labels: tuple[str, str]) -> None:
    """Nothing is guessed."""
    options = [{"id": str(number), "text": text} for number, text in enumerate(labels, 5)]
    rehearsal = begun(made({"choose": "Quale?", "options": options, "next": "next"}))
    rehearsal.answer(ReceivedText("sì"))
    assert not rehearsal.ended
