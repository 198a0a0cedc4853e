"""`text`: any words, up to 4,000 characters; `min` and `max` bound their number.

`  La caldaia perde  ` → `"La caldaia perde"`.
"""

from __future__ import annotations

from domain.messages import Received
from domain.operators import in_words
from flows.answers import MAX_ANSWER, AnswerType, Invalid, Reading, Valid, answer, words_of


@answer
class Text(AnswerType):
    """Gives the words as they were written, trimmed."""

    key = "text"
    label = in_words("testo", "text")
    reasons = ("text", "too_short", "too_long")
    takes = frozenset(("min", "max"))
    bounds = "number"

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        text = words_of(received)
        if not text:
            return Invalid("text")
        low, high = reading.minimum, reading.maximum
        if isinstance(low, (int, float)) and len(text) < low:
            return Invalid("too_short")
        if len(text) > MAX_ANSWER or (isinstance(high, (int, float)) and len(text) > high):
            return Invalid("too_long")
        return Valid(text, text)
