"""`text`: any words, up to 4,000 characters; `min` and `max` bound their number."""

from __future__ import annotations

from domain.messages import Received
from domain.operators import in_words
from flows.answers import MAX_ANSWER, Invalid, Reading, Valid, answer, words_of


@answer
class Text:
    """Gives the words as they were written, trimmed."""

    key = "text"
    label = in_words("testo", "text")
    asks_for = ""

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        text = words_of(received)
        if not text or len(text) < (reading.minimum or 1):
            return Invalid("text")
        if len(text) > min(reading.maximum or MAX_ANSWER, MAX_ANSWER):
            return Invalid("too_long")
        return Valid(text, text)
