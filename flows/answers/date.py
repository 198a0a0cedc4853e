"""`date`: a day, by a small closed grammar in Italian and English.

`oggi`, `domani`, `dopodomani`, `fra 3 giorni`, `venerdì`, `venerdì prossimo`, `5 dicembre`, `il 5 dicembre 2026`,
`5/12`, `05/12/2026`, `2026-12-05`, and their English counterparts (`next friday`, `december 5th`, `in 3 days`).
Day and month without a year mean the next such day. Figures are day first in both languages, as in Europe. What is
not understood wholly is refused: a wrong date is worse than a second question.
"""

from __future__ import annotations

import re
from datetime import date, timedelta

from domain.comparisons import fold
from domain.messages import Received
from domain.operators import in_words
from flows.answers import Invalid, Reading, Valid, answer, words_of

MAX_INPUT = 60  # characters
MAX_DAYS = 3_660  # "in n days": ten years

_NEAR = {
    "oggi": 0, "stasera": 0, "domani": 1, "domattina": 1, "dopodomani": 2, "ieri": -1, "l'altro ieri": -2,
    "today": 0, "tonight": 0, "tomorrow": 1, "the day after tomorrow": 2, "day after tomorrow": 2, "yesterday": -1,
}  # fmt: skip
_DAYS = {
    "lunedì": 0, "lunedi": 0, "lunedi'": 0, "lun": 0, "martedì": 1, "martedi": 1, "martedi'": 1, "mar": 1,
    "mercoledì": 2, "mercoledi": 2, "mercoledi'": 2, "mer": 2, "giovedì": 3, "giovedi": 3, "giovedi'": 3, "gio": 3,
    "venerdì": 4, "venerdi": 4, "venerdi'": 4, "ven": 4, "sabato": 5, "sab": 5, "domenica": 6, "dom": 6,
    "monday": 0, "mon": 0, "tuesday": 1, "tue": 1, "wednesday": 2, "wed": 2, "thursday": 3, "thu": 3,
    "friday": 4, "fri": 4, "saturday": 5, "sat": 5, "sunday": 6, "sun": 6,
}  # fmt: skip
_MONTHS = {
    name: number
    for names in (
        "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
        "gen feb mar apr mag giu lug ago set ott nov dic",
        "january february march april may june july august september october november december",
        "jan feb mar apr may jun jul aug sep oct nov dec",
    )
    for number, name in enumerate(names.split(), 1)
}
_SMALL = {"un": 1, "uno": 1, "una": 1, "due": 2, "tre": 3, "quattro": 4, "cinque": 5, "sei": 6, "sette": 7} | {
    "a": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7
}  # fmt: skip
_UNITS = {"giorno": 1, "giorni": 1, "day": 1, "days": 1}
_UNITS |= {"settimana": 7, "settimane": 7, "week": 7, "weeks": 7}
_LITTLE = {"il", "lo", "la", "l", "di", "del", "the", "of", "on", "per", "giorno", "questo", "questa", "this"}
_NEXT = {"prossimo", "prossima", "next", "che viene"}

_ISO = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})\Z", re.ASCII)
_FIGURES = re.compile(r"([0-9]{1,2})[/.\-]([0-9]{1,2})(?:[/.\-]([0-9]{4}|[0-9]{2}))?\Z", re.ASCII)
_DAY_OF_MONTH = re.compile(r"([0-9]{1,2})(?:°|º|st|nd|rd|th)?\Z", re.ASCII)


@answer
class Date:
    """Gives `YYYY-MM-DD`."""

    key = "date"
    label = in_words("data", "date")
    asks_for = ""

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        text = words_of(received)
        if not text or len(text) > MAX_INPUT:
            return Invalid("date")
        try:
            day = _read(fold(text).strip(" .,!?"), reading.today)
        except (ValueError, OverflowError):  # 31 February, or past the year 9999
            day = None
        return Invalid("date") if day is None else Valid(day.isoformat(), text)


def _read(text: str, today: date) -> date | None:
    text = " ".join(text.replace(",", " ").split())
    if text in _NEAR:
        return today + timedelta(days=_NEAR[text])
    if found := _ISO.match(text):
        return date(int(found[1]), int(found[2]), int(found[3]))
    if found := _FIGURES.match(text):
        return _dated(int(found[1]), int(found[2]), found[3], today)
    words = text.replace("l'", "").split()
    return _from_now(words, today) or _weekday(words, today) or _named_month(words, today)


def _dated(day: int, month: int, year: str | None, today: date) -> date:
    if year is not None:
        return date(int(year) + (2000 if len(year) == 2 else 0), month, day)
    for candidate in range(today.year, today.year + 9):  # nine years hold a 29 February
        try:
            found = date(candidate, month, day)
        except ValueError:
            continue
        if found >= today:
            return found
    raise ValueError("no such day")


def _from_now(words: list[str], today: date) -> date | None:
    """`fra 3 giorni`, `tra una settimana`, `in 3 days`, `3 days from now`."""
    if len(words) == 5 and words[3:] == ["from", "now"]:  # "in" was not said
        return None
    if words[2:] == ["from", "now"] or words[-2:] == ["from", "now"]:
        words = ["in", *words[:-2]]
    if len(words) != 3 or words[0] not in ("fra", "tra", "in") or words[2] not in _UNITS:
        return None
    count = int(words[1]) if words[1].isascii() and words[1].isdigit() else _SMALL.get(words[1])
    days = None if count is None else count * _UNITS[words[2]]
    return None if days is None or days > MAX_DAYS else today + timedelta(days=days)


def _weekday(words: list[str], today: date) -> date | None:
    """The next such day, today not counted; "next" says the same where the day is in the week ahead."""
    names = [word for word in words if word not in _LITTLE and word not in _NEXT]
    if len(names) != 1 or names[0] not in _DAYS:
        return None
    return today + timedelta(days=(_DAYS[names[0]] - today.weekday() - 1) % 7 + 1)


def _named_month(words: list[str], today: date) -> date | None:
    """`5 dicembre`, `sabato 5 dicembre 2026`, `december 5th`."""
    words = [word for word in words if word not in _LITTLE]
    months = [word for word in words if word in _MONTHS and not (word == "mar" and words[0] == word)]
    years = [word for word in words if len(word) == 4 and word.isascii() and word.isdigit()]
    days = [found[1] for word in words if (found := _DAY_OF_MONTH.match(word))]
    named = [word for word in words if word in _DAYS and word not in months]
    if len(months) != 1 or len(days) != 1 or len(years) > 1 or len(named) > 1:
        return None
    if len(words) != 2 + len(years) + len(named):
        return None
    day = _dated(int(days[0]), _MONTHS[months[0]], years[0] if years else None, today)
    if named and years and day.weekday() != _DAYS[named[0]]:
        return None
    return day
