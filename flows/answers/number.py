"""`number`: a number as people write it in Italian or English; `min` and `max` bound it.

`3,5` → `3.5` · `1.234,50` → `1234.5` · `ventuno` → `21` · `due e mezzo` → `2.5` · `un paio` → `2` · `10mila` → `10000`.
What only contains a number ("siamo in tre") is refused.
"""

from __future__ import annotations

from domain.messages import Received
from domain.operators import in_words
from flows.answers import AnswerType, Invalid, Reading, Valid, answer, plain_number, within, words_of
from flows.numerals import MAX_INPUT, number


@answer
class Number(AnswerType):
    """Whole numbers come as int, others as float."""

    key = "number"
    label = in_words("numero", "number")
    reasons = ("number", "range")
    takes = frozenset(("min", "max"))
    bounds = "number"

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        text = words_of(received)
        if not text or len(text) > MAX_INPUT:
            return Invalid("number")
        value = number(text.strip(" €$%!?;").rstrip(".,"), reading.language)
        if value is None:
            return Invalid("number")
        return Valid(plain_number(value), text) if within(value, reading) else Invalid("range")
