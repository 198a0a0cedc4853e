"""`datetime`: a day with its hour, on the contact's clock; `min` and `max` bound it, and without `min` it lies ahead.

`domani alle 9`, `il 5 dicembre alle 9:30`, `stasera alle otto`, `next friday at half past nine`, `5/12 9:30`, `fra due
ore` → `"2026-12-05T09:30:00+01:00"`. A day alone is asked for its hour, an hour alone is today's; what can be meant in
two ways, and hours that the clock skips, are refused. With `open: true` the business has to be open then, and `alle 4`
is the one of the two at which it is.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from domain.messages import Received
from domain.operators import in_words
from flows import bounds
from flows.answers import AnswerType, Invalid, Reading, Valid, answer, words_of
from flows.business import receives
from flows.calendar_words import Place, Refused, read_moment


@answer
class DateTime(AnswerType):
    """Gives ISO 8601 with the offset of the contact's zone at that moment."""

    key = "datetime"
    label = in_words("data e ora", "date and time")
    reasons = (
        "datetime", "no_time", "no_such_day", "no_such_time", "mismatch", "ambiguous", "past", "too_early", "too_late",
        "closed",
    )  # fmt: skip
    takes = frozenset(("min", "max", "open"))
    bounds = "moment"

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        text = words_of(received)
        if not text:
            return Invalid("datetime")
        now = reading.moment()
        try:
            moment = read_moment(text, now, Place(reading.today, reading.language, reading.month_first))
        except Refused as refused:
            open_one = _open_half(text, reading) if refused.reason == "ambiguous" else None
            if open_one is None:
                return Invalid("datetime" if refused.reason in ("date", "time") else refused.reason)
            moment = open_one
        low = bounds.moment(reading.minimum or "now", reading)
        high = bounds.moment(reading.maximum, reading, end=True)
        if low is not None and moment < low.replace(second=0, microsecond=0):
            return Invalid("past" if moment <= now else "too_early")
        if high is not None and moment > high:
            return Invalid("too_late")
        if reading.opening is not None and not receives(reading.opening, moment):
            return Invalid("closed")
        return Valid(moment.isoformat(timespec="seconds"), text)


def _open_half(text: str, reading: Reading) -> datetime | None:
    """Of the two hours that `lunedì alle 4` may be, the one at which the business is open; None: both, or neither."""
    if reading.opening is None or not reading.opening.opening_hours:
        return None
    found = []
    for half in ("am", "pm"):
        with suppress(Refused):
            moment = read_moment(
                f"{text} {half}",
                reading.moment(),
                Place(reading.today, reading.language, reading.month_first),
            )
            if receives(reading.opening, moment):
                found.append(moment)
    return found[0] if len(found) == 1 else None
