"""The Italian of the command: complete pairs, values carried over."""

from __future__ import annotations

import pytest

from config import sentences
from flows.dialogues import unlike


def test_every_pair_carries_the_same_values() -> None:
    for english, italian in sentences.italian().items():
        assert english.count("{}") == italian.count("{}"), english
        assert english != italian


@pytest.mark.parametrize(
    ("variables", "language"),
    [
        ({}, "en"),
        ({"LANG": "it_IT.UTF-8"}, "it"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "it_IT.UTF-8", "LC_ALL": "en_GB.UTF-8"}, "en"),
        ({"LANG": "C", "LC_MESSAGES": "it"}, "it"),
    ],
)
def test_the_language_is_that_of_the_person(
    variables: dict[str, str], language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LANG", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert sentences.language() == language


def test_values_stay_and_unknown_sentences_stay_english() -> None:
    assert sentences.say("there is no channel 'shop {x}'", "it") == "il canale 'shop {x}' non esiste"
    assert sentences.say("there is no channel 'shop'", "en") == "there is no channel 'shop'"
    assert sentences.say("nobody has said this before", "it") == "nobody has said this before"


def test_a_failed_test_is_told_in_italian_with_the_mark_at_its_place() -> None:
    """The lines one under the other stay as wide as the English ones, or the mark below them would point elsewhere."""
    difference = unlike("Salve!", "Ciao!")
    english, italian = (
        difference.splitlines(),
        [sentences.say(line, "it") for line in difference.splitlines()],
    )
    assert italian[:2] == ["  atteso 'Salve!'", "ricevuto 'Ciao!'"]
    assert [len(line) for line in italian] == [len(line) for line in english]
    assert sentences.say("expected 'a' in 'b'", "it") == "atteso 'a' in 'b'"
