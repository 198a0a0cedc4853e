"""`number`: a number as people write it in Italian (1.234,5) or English (1,234.5); `min` and `max` bound it."""

from __future__ import annotations

import re

from domain.messages import Received
from domain.operators import in_words
from flows.answers import Invalid, Reading, Valid, answer, words_of

MAX_INPUT = 40  # characters
_NUMBER = re.compile(r"[+-]?[0-9][0-9.,' ]*\Z", re.ASCII)
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
    if not _NUMBER.match(text):
        return None
    digits = text.replace(" ", "").replace("'", "")
    decimal = _decimal_mark(digits, language)
    if decimal:
        whole, _, part = digits.rpartition(decimal)
        digits = f"{whole.replace('.', '').replace(',', '')}.{part}"
    else:
        digits = digits.replace(".", "").replace(",", "")
    try:
        value = float(digits)
    except ValueError:
        return None
    return int(value) if value.is_integer() and abs(value) < 1e15 else value


def _decimal_mark(digits: str, language: str) -> str:
    """The mark before the decimals. A single mark before exactly three digits groups thousands if that is what it
    does in the language; of two different marks the last one counts."""
    points, commas = digits.count("."), digits.count(",")
    if points and commas:
        return "." if digits.rindex(".") > digits.rindex(",") else ","
    mark = "." if points else ","
    if points + commas != 1:
        return ""
    groups = "." if language == "it" else ","
    return "" if mark == groups and len(digits.rpartition(mark)[2]) == 3 else mark
