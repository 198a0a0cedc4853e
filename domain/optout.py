"""STOP and START words: what a person writes to end, or to take up again, messages they did not ask for.

A text counts only when it *is* one of these words, folded for case, accents, punctuation and emoji: "stop" and
"STOP!!" do, "non stop" and "stop at 5" do not. Left out on purpose are words that are ordinary answers in the
middle of a flow and would silence somebody who only wants to change an order: "annulla", "cancella",
"cancel", "esci", "exit", "fine", "end", "quit", "no", "no grazie". With a second word that says what is ended
they count ("annulla iscrizione"). "basta" alone counts: at worst a person is asked whether they want to hear
from us again.

`/stop` counts like the word, because Telegram users know it as a command. `/start` is not an opt-in:
Telegram's button writes it, and whoever follows a link to an order has asked for nothing else.
"""

from __future__ import annotations

import unicodedata

MAX_LENGTH = 40  # characters; no word of the lists is longer, and longer texts need not be folded

_BLANKS = {code: " " for code in range(128) if not chr(code).isalnum()}

# Folded: no accents, no apostrophes.
_OUT = frozenset(
    {
        "stop",
        "stop all",
        "stopall",
        "stop messages",
        "stop messaggi",
        "stop promo",
        "stop promotions",
        "stop promozioni",
        "stop pubblicita",
        "stop marketing",
        "stop newsletter",
        "stop grazie",
        "stop per favore",
        "per favore stop",
        "stop please",
        "please stop",
        "stop thanks",
        "stop thank you",
        "stop stop",
        "stop stop stop",
        "unsubscribe",
        "unsubscribe me",
        "unsubscribe all",
        "opt out",
        "optout",
        "remove me",
        "basta",
        "basta messaggi",
        "basta pubblicita",
        "basta promozioni",
        "annulla iscrizione",
        "annulla l iscrizione",
        "cancella iscrizione",
        "cancella l iscrizione",
        "disiscrivimi",
        "disiscrivi",
        "disiscrivetemi",
        "disiscrizione",
        "disiscriviti",
        "disdici iscrizione",
        "cancellami",
        "cancellatemi",
        "rimuovimi",
        "rimuovetemi",
        "non scrivermi piu",
        "non scrivetemi piu",
    }
)
_IN = frozenset(
    {
        "start",
        "unstop",
        "subscribe",
        "subscribe me",
        "opt in",
        "optin",
        "resume",
        "riprendi",
        "riprendete",
        "iscrivimi",
        "iscrivetemi",
        "riattiva",
        "riattivami",
    }
)


def is_opt_out(text: str) -> bool:
    """Whether the whole text is a STOP word; a command may name the bot ("/stop@shop_bot")."""
    word = text[1:].partition("@")[0] if text.startswith("/") else text
    return len(text) <= MAX_LENGTH and _fold(word) in _OUT


def is_opt_in(text: str) -> bool:
    """Whether the whole text is a START word. A slash before it makes it a command, which is none."""
    return len(text) <= MAX_LENGTH and not text.startswith("/") and _fold(text) in _IN


def _fold(text: str) -> str:
    """Letters and digits in lower case without accents, words one blank apart: "  Opt-Out! " -> "opt out"."""
    if text.isascii():
        return " ".join(text.lower().translate(_BLANKS).split())
    letters = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join("".join(c if c.isalnum() else " " for c in letters).casefold().split())
