"""`date`: a day; `min` and `max` bound it (`today`, `2026-12-05`, `30 days`, `-18 years`).

`oggi`, `dopodomani`, `fra 3 giorni`, `venerdì prossimo`, `il 5 dicembre`, `5/12`, `next friday`, `december 5th`,
`in two weeks` → `"2026-12-05"`. The rules (day first, the next such day, what is ambiguous) are
`flows/calendar_words.py`'s. With `open: true` the business has to be open on that day.
"""

from __future__ import annotations

from domain.messages import Received
from domain.operators import in_words
from flows import bounds
from flows.answers import AnswerType, Invalid, Reading, Valid, answer, words_of
from flows.business import receives
from flows.calendar_words import Place, Refused, read_day


@answer
class Date(AnswerType):
    """Gives `YYYY-MM-DD`."""

    key = "date"
    label = in_words("data", "date")
    reasons = ("date", "no_such_day", "mismatch", "ambiguous", "past", "too_early", "too_late", "closed")
    takes = frozenset(("min", "max", "open"))
    bounds = "day"

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        text = words_of(received)
        if not text:
            return Invalid("date")
        try:
            day = read_day(text, Place(reading.today, reading.language, reading.month_first))
        except Refused as refused:
            return Invalid(refused.reason)
        low, high = bounds.day(reading.minimum, reading), bounds.day(reading.maximum, reading)
        if low is not None and day < low:
            return Invalid("past" if day < reading.today and low >= reading.today else "too_early")
        if high is not None and day > high:
            return Invalid("too_late")
        if reading.opening is not None and not receives(reading.opening, day):
            return Invalid("closed")
        return Valid(day.isoformat(), text)
