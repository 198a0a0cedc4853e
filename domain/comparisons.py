"""How operators read values: the meaning that the pure operators and their SQL twins share.

Missing   None, "" and an empty list are missing. Every comparison with a missing value is false;
          `not_equals` and `is_not_set` are exact negations, so there it is true.
Text      compared by `fold`: each character by its simple lower-case mapping (what PostgreSQL's `lower`
          does under C.UTF-8), no trimming, no accents removed. Texts are made NFC where they enter.
Number    an int or float; or a text of the form `[+-]?digits[.digits]`, up to 15 digits on each side. Two
          texts are never compared as numbers by `equals`: one side must be a number. A bool is no number.
Date      an int (ms since 1970 UTC), or a text `YYYY-MM-DD` (that day's start in UTC),
          `YYYY-MM-DDTHH:MM:SSZ`, or the same with an offset, `…+01:00` (years 1000 to 9998). Any other text is
          no date and the comparison is false. A condition on dates
          is one half-open range of milliseconds `[low, high)`; texts of that form order like their instants,
          so SQL compares `text >= ceiling(low) AND text < ceiling(high)`, a day written as its first second.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

from domain.errors import RejectedInput

MAX_TEXT = 1_000  # characters of an author's value: longer than any field
MAX_ITEMS = 500  # values of `one_of`
NUMBER_PATTERN = r"^[+-]?[0-9]{1,15}(\.[0-9]{1,15})?$"
DATE_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?$"
COLLECTIONS = (list, tuple, set, frozenset)
DAY_MS = 86_400_000
# With an offset the day must exist, since it is moved to UTC; that needs more than the pattern, see `moment`.
OFFSET_PATTERN = (
    r"^(?!9999)[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9][+-](0[0-9]|1[0-4]):[0-5][0-9]$"
)
ALWAYS = 1 << 53  # ms; further away than any date that we hold (year 9999 is 2.5e14)

_number = re.compile(NUMBER_PATTERN[:-1] + r"\Z", re.ASCII)
_date = re.compile(DATE_PATTERN[:-1] + r"\Z", re.ASCII)
_offset = re.compile(OFFSET_PATTERN[:-1] + r"\Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def missing(actual: Any) -> bool:
    """Whether there is nothing to compare."""
    return actual is None or actual == "" or (isinstance(actual, COLLECTIONS) and not actual)


def fold(text: str) -> str:
    """The text without upper case, character by character (only the Turkish İ has a full mapping of two)."""
    if text.isascii():
        return text.lower()
    # İ would become two characters, and Σ another one at a word's end
    return text.replace("İ", "i").replace("Σ", "σ").lower()


def is_number(value: Any) -> bool:
    """Whether it is a finite int or float."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any) -> float | int | None:
    """The number that a value is or spells, else None."""
    if is_number(value):
        return value  # type: ignore[no-any-return]
    return float(value) if isinstance(value, str) and _number.match(value) else None


def equal(actual: Any, value: Any) -> bool:
    """The one meaning of equality; see the module's rules. Lists are equal to nothing."""
    if missing(actual) or missing(value):
        return False
    if isinstance(actual, bool) or isinstance(value, bool):
        return actual is value
    if isinstance(actual, str) and isinstance(value, str):
        return fold(actual) == fold(value)
    left, right = number(actual), number(value)
    return left is not None and left == right


def in_range(actual: Any, low: int, high: int) -> bool:
    """Whether a date lies in `[low, high)` (ms UTC)."""
    if isinstance(actual, int) and not isinstance(actual, bool):
        return low <= actual < high
    text = moment(actual) if isinstance(actual, str) else None
    return text is not None and ceiling(low) <= text < ceiling(high)


def moment(text: str) -> str | None:
    """The moment that a text spells, as `YYYY-MM-DDTHH:MM:SSZ`; None when it spells none."""
    if _date.match(text):
        return text if len(text) > 10 else f"{text}T00:00:00Z"
    if not _offset.match(text):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return None


def ceiling(ms: int) -> str:
    """The first whole second at or after `ms`, as `YYYY-MM-DDTHH:MM:SSZ` (clamped to years 0001 to 9999)."""
    seconds = -(-ms // 1000)
    try:
        return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
    except OverflowError:
        return "0001-01-01T00:00:00Z" if ms < 0 else "9999-99-99T99:99:99Z"


def span(value: str) -> tuple[int, int]:
    """The `[start, end)` in ms that a date or moment of the author covers: a day, or one millisecond."""
    if len(value) == 10:
        day = date.fromisoformat(value)
        start = (datetime(day.year, day.month, day.day, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
        return start, start + DAY_MS
    moment = (datetime.fromisoformat(value[:-1] + "+00:00") - _EPOCH) // timedelta(milliseconds=1)
    return moment, moment + 1


def check_text(value: Any, where: str) -> None:
    """Refuses anything but a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise RejectedInput("must be a text that is not empty", where=where)
    if len(value) > MAX_TEXT:
        raise RejectedInput(f"at most {MAX_TEXT} characters", where=where)


def check_number(value: Any, where: str) -> None:
    """Refuses anything but a finite number."""
    if not is_number(value):
        raise RejectedInput("must be a number", where=where)


def check_plain(value: Any, where: str) -> None:
    """Refuses anything but a text, a number, true or false."""
    if not isinstance(value, bool) and not is_number(value):
        check_text(value, where)


def check_date(value: Any, where: str) -> None:
    """Refuses anything but `YYYY-MM-DD`, `YYYY-MM-DDTHH:MM:SSZ` or `now`."""
    if value == "now":
        return
    if not isinstance(value, str) or not _date.match(value):
        raise RejectedInput("must be a date such as 2026-12-05, 2026-12-05T10:00:00Z, or now", where=where)
    try:
        span(value)
    except (ValueError, OverflowError):
        raise RejectedInput(f"there is no such date: {value}", where=where) from None


def check_nothing(value: Any, where: str) -> None:
    """Refuses a value where the operator needs none."""
    if value is not None:
        raise RejectedInput("this operator takes no value", where=where)


def shown(value: Any, language: str) -> str:
    """A value as a person would write it in a sentence."""
    if isinstance(value, bool):
        return {True: "sì", False: "no"}[value] if language == "it" else {True: "yes", False: "no"}[value]
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return f"“{value}”" if isinstance(value, str) else str(value)
