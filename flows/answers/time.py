"""`time`: a time of day; `min` and `max` bound it (`'09:00'`, `'18:30'`).

`9:30`, `le nove e mezza`, `half past nine`, `9.30`, `alle 9 e 30` → `"09:30"`; `le otto di sera`, `8pm` → `"20:00"`;
`mezzogiorno` → `"12:00"`. A bare `alle 3` is ambiguous, unless only 15:00 lies between `min` and `max`; `alle 8`
is 08:00, unless only 20:00 lies between them.
"""

from __future__ import annotations

from domain.messages import Received
from domain.operators import in_words
from flows import bounds
from flows.answers import AnswerType, Invalid, Reading, Valid, answer, words_of
from flows.calendar_words import Refused, read_clock


@answer
class Time(AnswerType):
    """Gives `HH:MM` on the clock of 24 hours."""

    key = "time"
    label = in_words("ora", "time")
    reasons = ("time", "no_such_time", "ambiguous", "too_early", "too_late")
    takes = frozenset(("min", "max"))
    bounds = "clock"

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        text = words_of(received)
        if not text:
            return Invalid("time")
        low, high = bounds.clock(reading.minimum), bounds.clock(reading.maximum)
        try:
            clock = read_clock(text, low=low, high=high)
        except Refused as refused:
            return Invalid(refused.reason)
        if low is not None and clock < low:
            return Invalid("too_early")
        return (
            Invalid("too_late")
            if high is not None and clock > high
            else Valid(clock.isoformat("minutes"), text)
        )
