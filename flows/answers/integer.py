"""`integer`: a whole number, in figures or words; `min` and `max` bound it.

`3` → `3` · `twenty-one` → `21` · `milleduecento` → `1200` · `nessuno` → `0`. `3,5` is refused as not whole.
"""

from __future__ import annotations

from domain.messages import Received
from domain.operators import in_words
from flows.answers import AnswerType, Invalid, Reading, Valid, answer, answer_type


@answer
class Integer(AnswerType):
    """Read as `number` is, and refused where something is left behind the mark."""

    key = "integer"
    label = in_words("numero intero", "whole number")
    reasons = ("number", "whole", "range")
    takes = frozenset(("min", "max"))
    bounds = "number"

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        found = answer_type("number").read(received, reading)
        return Invalid("whole") if isinstance(found, Valid) and isinstance(found.value, float) else found
