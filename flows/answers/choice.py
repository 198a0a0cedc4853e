"""`choice`: one of the options that the step lists, by button, by its text in any language, or by its number.

With `options: [{id: red, text: {it: Rosso, en: Red}}]` `rosso`, `Red` and `1` → `"red"`. Which one was meant is decided
by `flows/options.py`.
"""

from __future__ import annotations

from domain.messages import Received
from domain.operators import in_words
from flows.answers import AnswerType, Invalid, Reading, Valid, answer


@answer
class Choice(AnswerType):
    """The step resolves the option before it asks here: what arrives did not name one."""

    key = "choice"
    label = in_words("scelta", "choice")
    reasons = ("choice",)
    takes = frozenset(("options",))

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        return Invalid("choice")
