"""STOP words stop, whatever their dress; ordinary answers do not."""

from __future__ import annotations

import pytest

from domain.optout import MAX_LENGTH, is_opt_in, is_opt_out


@pytest.mark.parametrize(
    "text",
    [
        "stop",
        "STOP",
        " Stop! ",
        "stop 🛑",
        "/stop",
        "ＳＴＯＰ",
        "basta",
        "Basta.",
        "annulla iscrizione",
        "Annulla l'iscrizione",
        "annulla l’iscrizione",
        "DISISCRIVIMI",
        "cancellami",
        "non scrivetemi più",
        "non scrivetemi piu'",
        "Unsubscribe",
        "opt-out",
        "OPT OUT",
        "Stop, grazie!",
        "stop per favore",
        "Please stop.",
        "STOP STOP",
        "/stop@bottega_bot",
    ],
)
def test_these_stop(text: str) -> None:
    """The whole text is a word of the list, in any spelling that people use."""
    assert is_opt_out(text)
    assert not is_opt_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "annulla",
        "cancella",
        "cancel",
        "no",
        "no grazie",
        "fine",
        "esci",
        "quit",
        "non stop",
        "stop alle 18",
        "basta così",
        "basta grazie",
        "stop@example.com",
        "nonstop",
        "",
        "🛑",
        "//stop me",
        "stop " * 20,
        "x" * (MAX_LENGTH + 1),
    ],
)
def test_these_are_ordinary_answers(text: str) -> None:
    """Somebody who changes an order must not be silenced."""
    assert not is_opt_out(text)


def test_start_words() -> None:
    """They ask to be written to again; Telegram's own /start does not."""
    for text in ("start", "START", "Riprendi!", "iscrivimi", "opt-in", "Unstop"):
        assert is_opt_in(text)
        assert not is_opt_out(text)
    for text in ("/start", "/start promo", "ricominciamo", "sì"):
        assert not is_opt_in(text)
