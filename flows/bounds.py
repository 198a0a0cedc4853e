"""`min` and `max` of questions for days, hours and moments: what authors may write, and what it means when asked.

Days and moments: `today`, `now`, a date (`2026-12-05`), a date with an hour (`2026-12-05T09:00`), or a span from now,
back with a minus (`30 days`, `-18 years`, `2 ore`). Hours: `09:00`. What is written wrongly is refused when the flow is
saved, so that nothing can go wrong here while a contact waits.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta

from flows.answers import Bound, Reading
from flows.calendar_words import add_months

_CLOCK = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]\Z", re.ASCII)
_SPAN = re.compile(r"([+-]?)([0-9]{1,5}) ([a-z]+)\Z", re.ASCII)
_MINUTES = dict.fromkeys(("hour", "hours", "ora", "ore"), 60) | dict.fromkeys(
    ("minute", "minutes", "minuto", "minuti"), 1
)
_DAYS = dict.fromkeys(("day", "days", "giorno", "giorni"), 1) | dict.fromkeys(
    ("week", "weeks", "settimana", "settimane"), 7
)
_MONTHS = dict.fromkeys(("month", "months", "mese", "mesi"), 1) | dict.fromkeys(
    ("year", "years", "anno", "anni"), 12
)
MAX_MONTHS = 2_400  # two hundred years: a date of birth


def check(kind: str, bound: Bound) -> None:
    """Raises ValueError for a bound that is not of the form that the kind of answer wants."""
    if kind == "number":
        if isinstance(bound, str):
            raise ValueError(f"min and max are numbers here, not {bound!r}")
    elif kind == "clock":
        if not isinstance(bound, str) or not _CLOCK.match(bound):
            raise ValueError(f"min and max are hours such as '09:00' here, not {bound!r}")
    elif not isinstance(bound, str) or _check_moment(bound) is None:
        raise ValueError(
            "min and max are today, now, a date such as 2026-12-05 or a span such as 30 days or -18 years here, "
            f"not {bound!r}"
        )


def _check_moment(bound: str) -> bool | None:
    if bound in ("today", "now"):
        return True
    if found := _SPAN.match(bound):
        months = int(found[2]) * _MONTHS.get(found[3], 0)
        known = found[3] in _MINUTES or found[3] in _DAYS or 0 < months <= MAX_MONTHS
        return True if known else None
    try:
        datetime.fromisoformat(bound)
    except ValueError:
        return None
    return True if 10 <= len(bound) <= 16 else None


def clock(bound: Bound) -> time | None:
    """The hour of a bound."""
    return time.fromisoformat(bound) if isinstance(bound, str) else None


def moment(bound: Bound, reading: Reading, *, end: bool = False) -> datetime | None:
    """The moment of a bound on the contact's clock; `end`: a day means its last second."""
    if not isinstance(bound, str):
        return None
    now = reading.moment()
    if bound == "now":
        return now
    if bound == "today":
        return _day(reading.today, now, end=end)
    if found := _SPAN.match(bound):
        number, unit = int(f"{found[1]}{found[2]}"), found[3]
        if unit in _MINUTES:
            return now + timedelta(minutes=number * _MINUTES[unit])
        return _day(_from(reading.today, number, unit), now, end=end)
    if len(bound) == 10:
        return _day(date.fromisoformat(bound), now, end=end)
    return datetime.fromisoformat(bound).replace(tzinfo=now.tzinfo)


def day(bound: Bound, reading: Reading) -> date | None:
    """The day of a bound."""
    found = moment(bound, reading)
    return None if found is None else found.date()


def _from(today: date, number: int, unit: str) -> date:
    try:
        if unit in _DAYS:
            return today + timedelta(days=number * _DAYS[unit])
        return add_months(today, number * _MONTHS[unit])
    except (ValueError, OverflowError):
        return date.max if number > 0 else date.min


def _day(day: date, now: datetime, *, end: bool) -> datetime:
    return datetime.combine(day, time(23, 59, 59) if end else time(), tzinfo=now.tzinfo)
