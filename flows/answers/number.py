"""`number`: a number as people write it in Italian (1.234,5) or English (1,234.5); `min` and `max` bound it."""

from __future__ import annotations

import re

from domain.messages import Received
from domain.operators import in_words
from flows.answers import Invalid, Reading, Valid, answer, words_of

MAX_INPUT = 40  # characters
_PLAIN = re.compile(r"[+-]?[0-9]{1,15}(?:([.,])([0-9]{1,9}))?\Z", re.ASCII)
_GROUPED = re.compile(
    r"[+-]?[0-9]{1,3}(?:([.,' ])[0-9]{3})(?:\1[0-9]{3}){0,4}(?:(?!\1)[.,][0-9]{1,9})?\Z", re.ASCII
)
_WORDS = {
    "it": "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici".split(),
    "en": "zero one two three four five six seven eight nine ten eleven twelve".split(),
}


@answer
class Number:
    """Whole numbers come as int, others as float; words count up to twelve."""

    key = "number"
    label = in_words("numero", "number")
    asks_for = ""

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        text = words_of(received)
        value = _read(text.lower(), reading.language) if text and len(text) <= MAX_INPUT else None
        if value is None:
            return Invalid("number")
        if reading.minimum is not None and value < reading.minimum:
            return Invalid("range")
        if reading.maximum is not None and value > reading.maximum:
            return Invalid("range")
        return Valid(value, text or "")


def _read(text: str, language: str) -> int | float | None:
    text = text.strip(" €$%")
    for words in _WORDS.values():
        if text in words:
            return words.index(text)
    grouped = _GROUPED.match(text)
    plain = _PLAIN.match(text)
    if grouped and not (plain and _is_decimal(grouped[1], language)):
        text = text.replace(grouped[1], "")
    elif not plain:
        return None
    value = float(text.replace(",", "."))
    return int(value) if value.is_integer() else value


def _is_decimal(mark: str, language: str) -> bool:
    """Whether a single mark before three digits (`1.234`) begins the decimals: the comma does in Italian."""
    return mark == ("," if language == "it" else ".")
