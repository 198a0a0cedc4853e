"""Days, hours and moments as people write them in Italian and English: a small closed grammar, pure.

`domani alle 9`, `venerdì prossimo`, `il 5 dicembre alle 9:30`, `5/12`, `tra due settimane`, `stasera alle otto`, `le
nove e un quarto`, `next friday`, `half past nine`, `the 5th of December at 3pm`. Both languages are understood whatever
the session's. The whole text must fit: what is not understood wholly, names a day that does not exist, or can be taken
in two ways is refused with its reason, because a wrong appointment is worse than a second question. Rules:

* Figures are day first (`5/12` is 5 December); month first where the person is in the United States (`month_first`), or
  in an English session when day first is impossible (`12/25`). Without a year the next such day is meant, today
  included. Years of two figures lie between 89 years back and ten ahead.
* A weekday is the next one, today not counted: who means today says so. `prossimo` and `next` say the same; `venerdì
  della prossima settimana` and `friday next week` lie after this week's Sunday.
* `il 12` is the next 12th; `12` alone is no day. `mar` is Tuesday in Italian, before a number in English March.
* Hours follow the clock of 24 hours, but a bare `alle 3` may be night or afternoon: 1 to 6 are refused as ambiguous
  unless a part of the day is said (`di pomeriggio`, `pm`, `domani sera`), or it is written `03:00`. Midnight of a day
  and the hour that the clock goes through twice are ambiguous, too; the hour that it jumps over does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cache
from typing import NamedTuple, TypeVar

from flows.numerals import simple, whole

MAX_INPUT = 80  # characters: longer is a sentence, not a date
MAX_WORDS = 14  # "saturday the twenty first of december 2026 at half past nine in the morning" has 13
MAX_DAYS = 3_660  # "in n days": ten years
MAX_MONTHS = 1_200  # "n years ago": a century
FIRST_YEAR, LAST_YEAR = 1900, 2199

Words = tuple[str, ...]
Found = TypeVar("Found", "Day", "Clock")


class Refused(Exception):
    """What was said is no such thing; `reason` is the key of `invalid.<reason>`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Place(NamedTuple):
    """Where and when something was said: `today` is the contact's day."""

    today: date
    language: str = "it"
    month_first: bool = False


class Day(NamedTuple):
    """A day; `part` is the part of it that was named; `doubtful`: a weekday's name said on such a day."""

    date: date
    part: str = ""
    doubtful: bool = False


class Clock(NamedTuple):
    """An hour and minute. `sure`: False where it may belong to either half of the day; `bare`: a number alone;
    `midnight`: around it, where people do not agree which day a night belongs to; `plain`: nothing but the hour itself
    says that it is in the morning."""

    hour: int
    minute: int = 0
    sure: bool = True
    bare: bool = False
    midnight: bool = False
    plain: bool = False


# --- what answers call


def read_day(text: str, place: Place) -> date:
    """The day that a text names. Raises Refused: date, no_such_day, mismatch (of weekday and date), ambiguous."""
    words = _words(text)
    if not words:
        raise Refused("date")
    return _one(_days(words, place), "date").date


def read_clock(text: str, *, low: time | None = None, high: time | None = None) -> time:
    """The time of day. `low` and `high` decide which half of the day a bare `alle 3` means, when only one of them lies
    between; `alle 8` is in the evening where only that fits. Raises Refused: time, no_such_time, ambiguous."""
    words = _words(text)
    if not words:
        raise Refused("time")
    clock = _one(_clocks(words), "time")
    if clock.sure and not clock.plain:
        return time(clock.hour, clock.minute)
    halves = [time(clock.hour, clock.minute), time(clock.hour + 12, clock.minute)]
    fitting = [half for half in halves if (low or time.min) <= half <= (high or time.max)]
    if len(fitting) == 1:
        return fitting[0]
    if clock.sure:
        return halves[0]
    raise Refused("ambiguous")


def read_moment(text: str, now: datetime, place: Place) -> datetime:
    """The moment, in the zone of `now` (aware), to the minute. A time without a day is today's.

    Raises Refused: datetime, no_time (a day alone), no_such_day, no_such_time, mismatch, ambiguous, past (a time of
    today that is over).
    """
    if found := _ISO_MOMENT.match(text.strip()):
        return _iso_moment(found, now)
    words = _words(text)
    if not words:
        raise Refused("datetime")
    if (span := _span(words)) is not None:
        return (now + span).astimezone(UTC).astimezone(now.tzinfo).replace(second=0, microsecond=0)
    found_moments, refused = _moments(words, place)
    if len(found_moments) > 1:
        raise Refused("ambiguous")
    if found_moments:
        day, clock = found_moments.pop()
        return _joined(day, clock, now.tzinfo or UTC)
    if refused is not None:
        raise refused
    return _half_a_moment(words, now, place)


def in_zone(day: date, clock: time, zone: tzinfo) -> datetime:
    """The moment at which a clock in that zone shows the time. Raises Refused for an hour that does not exist there on
    that day, or is there twice."""
    naive = datetime.combine(day, clock)
    early, late = naive.replace(tzinfo=zone), naive.replace(tzinfo=zone, fold=1)
    if early.utcoffset() == late.utcoffset():
        return early
    exists = early.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == naive
    raise Refused("ambiguous" if exists else "no_such_time")


# --- words


_SPLIT = re.compile(r"\b(dell|dall|nell|all|mezz|un|l|d)'(?=[a-z0-9])")
_DOTTED = re.compile(r"\b([ap])\.\s?m\b\.?")
_GLUED = re.compile(r"(?<=[0-9])(am|pm)\b")
_HYPHEN = re.compile(r"(?<=[a-z])-(?=[a-z0-9])|(?<=[0-9])-(?=[a-z])")
_JOINED = re.compile(r"\b(h|ore|alle)(?=[0-9])|(?<=[0-9])(?=[a-z]{3})|\s?@\s?")
_SLASHES = re.compile(r"(?<=[0-9]) ?/ ?(?=[0-9])")
_OPENINGS: tuple[Words, ...] = (
    ("va", "bene"), ("per", "favore"), ("please",), ("si",), ("yes",), ("facciamo",), ("diciamo",), ("direi",),
    ("ok",), ("per",), ("for",), ("let's", "say"), ("nato",), ("nata",), ("born",),
)  # fmt: skip
_CLOSINGS: tuple[Words, ...] = (
    ("per", "favore"), ("per", "cortesia"), ("va", "bene"), ("grazie",), ("please",), ("thanks",), ("thank", "you"),
)  # fmt: skip


def _words(text: str) -> Words:
    """The words that count; none for what is too long."""
    if len(text) > MAX_INPUT:
        return ()
    text = _DOTTED.sub(r"\1m", simple(text))
    text = _HYPHEN.sub(" ", _GLUED.sub(r" \1", _SPLIT.sub(r"\1' ", text)))
    text = _SLASHES.sub("/", _JOINED.sub(lambda found: f" {found[1] or ''} ", text))
    cut = [word.strip('.,!?;:()"') for word in text.replace(", ", " ").split()]
    words = tuple(word for word in cut if word)
    words = _without_end(words, _CLOSINGS)
    for opening in _OPENINGS:
        if words[: len(opening)] == opening and len(words) > len(opening):
            words = words[len(opening) :]
    return words if len(words) <= MAX_WORDS else ()


def _without_end(words: Words, endings: tuple[Words, ...]) -> Words:
    for ending in endings:
        if words[-len(ending) :] == ending and len(words) > len(ending):
            return words[: -len(ending)]
    return words


def _without_start(words: Words, starts: frozenset[str]) -> Words:
    while len(words) > 1 and words[0] in starts:
        words = words[1:]
    return words


def _one(found: set[Found], nothing: str) -> Found:
    if len(found) > 1:
        raise Refused("ambiguous")
    if not found:
        raise Refused(nothing)
    return next(iter(found))


# --- days

_NEAR = {
    "oggi": 0, "domani": 1, "dopodomani": 2, "dopo domani": 2, "ieri": -1, "altro ieri": -2, "l' altro ieri": -2,
    "altroieri": -2, "l' altroieri": -2, "today": 0, "tomorrow": 1, "day after tomorrow": 2, "yesterday": -1,
    "domani l' altro": 2, "posdomani": 2, "day before yesterday": -2,
    "tmrw": 1, "tmr": 1, "tomorow": 1, "tommorow": 1, "tommorrow": 1,
}  # fmt: skip
_NEAR_PARTS = {
    "stasera": (0, "evening"), "questa sera": (0, "evening"), "stamattina": (0, "morning"), "stamani": (0, "morning"),
    "stamane": (0, "morning"), "questa mattina": (0, "morning"), "questo pomeriggio": (0, "afternoon"),
    "domattina": (1, "morning"), "tonight": (0, "evening"), "this evening": (0, "evening"),
    "this morning": (0, "morning"), "this afternoon": (0, "afternoon"), "ieri sera": (-1, "evening"),
    "last night": (-1, "evening"),
}  # fmt: skip
_NIGHT = {"stanotte", "questa notte", "domani notte", "tomorrow night"}  # which of two days?
_HOLIDAYS = {
    "natale": (12, 25), "christmas": (12, 25), "christmas day": (12, 25), "xmas": (12, 25), "vigilia": (12, 24),
    "vigilia di natale": (12, 24), "christmas eve": (12, 24), "santo stefano": (12, 26), "boxing day": (12, 26),
    "san silvestro": (12, 31), "new year's eve": (12, 31), "capodanno": (1, 1), "new year's day": (1, 1),
    "epifania": (1, 6), "befana": (1, 6), "ferragosto": (8, 15), "san valentino": (2, 14), "valentine's day": (2, 14),
}  # fmt: skip
_DAYS = {
    "lunedi": 0, "lunedi'": 0, "lun": 0, "martedi": 1, "martedi'": 1, "mar": 1, "mercoledi": 2, "mercoledi'": 2,
    "mer": 2, "giovedi": 3, "giovedi'": 3, "gio": 3, "venerdi": 4, "venerdi'": 4, "ven": 4, "sabato": 5, "sab": 5,
    "domenica": 6, "dom": 6,
    "monday": 0, "mon": 0, "tuesday": 1, "tue": 1, "tues": 1, "wednesday": 2, "wed": 2, "thursday": 3, "thu": 3,
    "thur": 3, "thurs": 3, "friday": 4, "fri": 4, "saturday": 5, "sat": 5, "sunday": 6, "sun": 6,
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
} | {"sett": 9, "sept": 9}
_PARTS = {
    "mattina": "morning", "mattino": "morning", "mattinata": "morning", "morning": "morning",
    "pomeriggio": "afternoon", "afternoon": "afternoon",
    "sera": "evening", "serata": "evening", "evening": "evening", "notte": "night", "night": "night",
}  # fmt: skip
_SPAN_DAYS = {
    "giorno": 1,
    "giorni": 1,
    "day": 1,
    "days": 1,
    "settimana": 7,
    "settimane": 7,
    "week": 7,
    "weeks": 7,
}
_SPAN_MONTHS = {
    "mese": 1,
    "mesi": 1,
    "month": 1,
    "months": 1,
    "anno": 12,
    "anni": 12,
    "year": 12,
    "years": 12,
}
_SPAN_MINUTES = {
    "minuto": 1, "minuti": 1, "min": 1, "minute": 1, "minutes": 1, "mins": 1,
    "ora": 60, "ore": 60, "hour": 60, "hours": 60,
}  # fmt: skip
_ARTICLES = frozenset(
    ("il", "lo", "la", "l'", "di", "del", "della", "dell'", "nel", "per", "on", "the", "of", "giorno")
)
_DAY_FIRST = frozenset(
    ("il", "l'", "giorno", "the", "del")
)  # before a number they say that it is a day of the month
_THIS = frozenset(("questo", "questa", "this"))
_NEXT = frozenset(("prossimo", "prossima", "next", "coming"))
_LAST = frozenset(("scorso", "scorsa", "last"))
_NEXT_WEEK: tuple[Words, ...] = (
    ("della", "prossima", "settimana"), ("della", "settimana", "prossima"), ("la", "prossima", "settimana"),
    ("la", "settimana", "prossima"), ("prossima", "settimana"), ("settimana", "prossima"), ("of", "next", "week"),
    ("next", "week"),
)  # fmt: skip

_ISO = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})\Z", re.ASCII)
_YEAR_FIRST = re.compile(r"([0-9]{4})[/.]([0-9]{1,2})[/.]([0-9]{1,2})\Z", re.ASCII)
_FIGURES = re.compile(r"([0-9]{1,2})([/.\-])([0-9]{1,2})(?:\2([0-9]{4}|[0-9]{2}))?\Z", re.ASCII)
_SHORT_YEAR = re.compile(r"'([0-9]{2})\Z", re.ASCII)
_DAY_OF_MONTH = re.compile(r"([0-9]{1,2})(?:°|º|ª|\^|st|nd|rd|th)?\Z", re.ASCII)
_ISO_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2})(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})?\Z",
    re.ASCII,
)


def _days(words: Words, place: Place) -> set[Day]:
    """Every way of taking the words as a day. Raises Refused for one that is meant and does not exist."""
    phrase = " ".join(_without_start(words, _ARTICLES))
    if phrase in _NEAR:
        return {Day(place.today + timedelta(days=_NEAR[phrase]))}
    if phrase in _NEAR_PARTS:
        days, part = _NEAR_PARTS[phrase]
        return {Day(place.today + timedelta(days=days), part)}
    if phrase in _NIGHT:
        raise Refused("ambiguous")
    if len(words) > 1 and words[-1] in _PARTS:
        rest = words[:-1]
        while len(rest) > 1 and rest[-1] in ("di", "del", "della", "nel", "in", "the", "la", "al", "alla"):
            rest = rest[:-1]
        part = _PARTS[words[-1]]
        return {Day(day.date, part, day.doubtful) for day in _days(rest, place) if not day.part}
    try:
        return _plain_days(words, place)
    except (ValueError, OverflowError):  # 31 February, or past the year 9999
        raise Refused("no_such_day") from None


def _plain_days(words: Words, place: Place) -> set[Day]:
    if (day := _relative(words, place.today)) is not None:
        return {Day(day)}
    core = _without_start(words, _ARTICLES)
    found = set(_weekdays(core, place.today))
    skipped = words[: len(words) - len(core)]
    numbered = bool(_DAY_FIRST & set(skipped)) or (core[0] in _DAYS and len(core) > 1)
    found |= {Day(day) for day in _dated(core, place, numbered=numbered)}
    return found


def _relative(words: Words, today: date) -> date | None:
    """`fra 3 giorni`, `in two weeks`, `3 days from now`, `due settimane fa`, `a year ago`."""
    if words[0] in ("fra", "tra", "in"):
        sign, words = 1, words[1:]
    elif words[-1] in ("fa", "ago"):
        sign, words = -1, words[:-1]
    elif words[-2:] in (("from", "now"), ("from", "today"), ("da", "oggi")):
        sign, words = 1, words[:-2]
    else:
        return None
    if len(words) < 2:
        return None
    count = _count(words[:-1])
    if count is None or not count:
        return None
    if words[-1] in _SPAN_DAYS:
        days = count * _SPAN_DAYS[words[-1]]
        return today + timedelta(days=sign * days) if days <= MAX_DAYS else None
    months = count * _SPAN_MONTHS.get(words[-1], 0)
    return add_months(today, sign * months) if 0 < months <= MAX_MONTHS else None


def _count(words: Words) -> int | None:
    """`un paio` is no number of days: it says "about two"."""
    if words in (("un'",), ("a",), ("an",)):
        return 1
    return None if words[-1:] in (("paio",), ("couple",), ("di",), ("of",)) else whole(words)


def add_months(day: date, months: int) -> date:
    """The same day so many months on; the month's last where it has no such day. Raises ValueError past year 9999."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    for last in (day.day, 30, 29, 28):
        try:
            return date(year, month + 1, min(day.day, last))
        except ValueError:
            if not 1 <= year <= 9999:
                raise
    raise ValueError("no such month")


def _weekdays(words: Words, today: date) -> Iterator[Day]:
    """`venerdì`, `venerdì prossimo`, `next friday`, `friday next week`, `venerdì scorso`."""
    for ending in _NEXT_WEEK:
        if words[1:] == ending and words[0] in _DAYS:
            monday = today - timedelta(days=today.weekday())
            yield Day(monday + timedelta(days=7 + _DAYS[words[0]]))
            return
    if words[-2:] == ("che", "viene"):
        words = ("prossimo", *words[:-2])
    if words[0] in _THIS and len(words) > 1:
        words = words[1:]
    said = [word for word in words if word not in _NEXT and word not in _LAST]
    if len(said) != 1 or said[0] not in _DAYS or len(words) > 2:
        return
    ahead = (_DAYS[said[0]] - today.weekday() - 1) % 7 + 1
    if _LAST & set(words):
        yield Day(today + timedelta(days=ahead - (14 if ahead == 7 else 7)))
    else:
        yield Day(today + timedelta(days=ahead), doubtful=ahead == 7 and len(words) == 1)


def _dated(words: Words, place: Place, *, numbered: bool) -> Iterator[date]:
    """Days named by figures or by a month, with or without the weekday before; `numbered`: the day of the month alone
    is enough."""
    if len(words) == 1 and (found := _ISO.match(words[0]) or _YEAR_FIRST.match(words[0])):
        yield _exact(int(found[1]), int(found[2]), int(found[3]))
        return
    phrase = " ".join(words)
    if phrase in _HOLIDAYS:
        month, number = _HOLIDAYS[phrase]
        yield _next(number, month, place.today)
        return
    march = words[0] == "mar" and place.language == "en"
    weekday = _DAYS.get(words[0]) if len(words) > 1 and not march else None
    for start in (0, 1) if weekday is not None else (0,):
        rest = _without_start(words[start:], _ARTICLES)
        for day in _unnamed(rest, place, numbered=numbered):
            if start and day.weekday() != weekday:
                raise Refused("mismatch")
            yield day


def _unnamed(words: Words, place: Place, *, numbered: bool) -> Iterator[date]:
    if len(words) == 1 and (found := _FIGURES.match(words[0])):
        swapped = found[2] != "."  # the dot is European: 9.30 is half past nine, never 30 September
        yield _by_figures(int(found[1]), int(found[3]), found[4], place, swapped=swapped)
        return
    words = tuple(word for word in words if word not in ("di", "of", "del", "the"))
    if len(words) == 1 and numbered and (number := _day_of_month(words)) is not None:
        yield _coming(number, place.today)
        return
    year = None
    if len(words) > 2 and (found := _SHORT_YEAR.match(words[-1])):
        year, words = _century(int(found[1]), place.today), words[:-1]
    elif len(words) > 2 and len(words[-1]) == 4 and words[-1].isascii() and words[-1].isdigit():
        year, words = int(words[-1]), words[:-1]
    if len(words) < 2:
        return
    orders = [(words[-1], words[:-1])]
    if words[0] != "mar" or place.language == "en":
        orders.append((words[0], words[1:]))
    for month, number_words in orders:
        number = _day_of_month(number_words)
        if month in _MONTHS and number is not None:
            yield _exact(year, _MONTHS[month], number) if year else _next(number, _MONTHS[month], place.today)


def _day_of_month(words: Words) -> int | None:
    """`5`, `5th`, `1°`, `primo`, `ventuno`, `twenty first`."""
    if len(words) == 1 and (found := _DAY_OF_MONTH.match(words[0])):
        return int(found[1])
    number = _ordinals().get(" ".join(words))
    if number is None and not any(word.isdigit() for word in words):
        number = whole(words)
    return number if number is not None and 1 <= number <= 31 else None


@cache
def _ordinals() -> dict[str, int]:
    small = (
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
        "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
    ).split()
    known = {word: number for number, word in enumerate(small, 1)} | {
        "primo": 1,
        "thirtieth": 30,
        "thirty first": 31,
    }
    return known | {f"twenty {word}": 20 + number for number, word in enumerate(small[:9], 1)}


def _by_figures(first: int, second: int, year: str | None, place: Place, *, swapped: bool) -> date:
    """`5/12`, `05/12/26`: day first but for the cases that the module's rules name."""
    orders = [(first, second), (second, first)]
    if not swapped:
        orders.pop()
    elif place.month_first:
        orders.reverse()
    elif place.language != "en":
        orders.pop()
    for day, month in orders:
        if month <= 12 and day <= 31:
            if year is None:
                return _next(day, month, place.today)
            return _exact(int(year) if len(year) == 4 else _century(int(year), place.today), month, day)
    raise Refused("no_such_day")


def _century(year: int, today: date) -> int:
    full = today.year - today.year % 100 + year
    return full - 100 if full > today.year + 10 else full


def _exact(year: int, month: int, day: int) -> date:
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise Refused("no_such_day")
    return date(year, month, day)


def _next(day: int, month: int, today: date) -> date:
    """The next such day, today included. Raises ValueError when there is none."""
    for year in range(today.year, today.year + 9):  # nine years hold a 29 February
        try:
            found = date(year, month, day)
        except ValueError:
            continue
        if found >= today:
            return found
    raise ValueError("no such day")


def _coming(day: int, today: date) -> date:
    """The next day of the month with that number, today included; a month that has none is not skipped."""
    month = today if day >= today.day else add_months(today.replace(day=1), 1)
    return month.replace(day=day)


# --- hours

_MARKS = frozenset(("alle", "all'", "alla", "le", "ore", "ora", "h", "a", "at"))
_MIDNIGHT = {"mezzanotte", "midnight"}
_NAMED = {"mezzogiorno": 12, "noon": 12, "midday": 12, "mezzanotte": 0, "midnight": 0}
_EXACTLY: tuple[Words, ...] = (
    ("in", "punto"),
    ("o'clock",),
    ("oclock",),
    ("sharp",),
    ("precise",),
    ("spaccate",),
)
_CLOCK_PARTS: dict[Words, str] = {
    (link, word): part
    for word, part in _PARTS.items()
    for link in ("di", "del", "della", "at")
    if (link == "at") == (word == "night")
} | {
    ("in", "the", "morning"): "morning", ("in", "the", "afternoon"): "afternoon", ("in", "the", "evening"): "evening",
    ("am",): "am", ("pm",): "pm",
}  # fmt: skip
_MINUTES = {
    "mezza": 30,
    "mezzo": 30,
    "un quarto": 15,
    "tre quarti": 45,
    "quarter": 15,
    "a quarter": 15,
    "half": 30,
}
_FIGURE = re.compile(r"([0-9]{1,2})[:.,h]([0-9]{2})(?::[0-9]{2})?\Z", re.ASCII)
_HOUR = re.compile(r"[0-9]{1,2}\Z", re.ASCII)
_HOURS = {  # what each part of the day makes of an hour, or of an hour on the clock of twelve
    "morning": {hour: hour for hour in range(12)},
    "am": {hour: hour for hour in range(1, 12)} | {12: 0},
    "pm": {hour: hour + 12 for hour in range(1, 12)} | {hour: hour for hour in range(12, 24)},
    "afternoon": {hour: hour + 12 for hour in range(1, 8)} | {hour: hour for hour in range(12, 20)},
    "evening": {hour: hour + 12 for hour in range(5, 12)} | {hour: hour for hour in range(17, 24)},
    "night": {hour: hour for hour in range(6)} | {10: 22, 11: 23, 22: 22, 23: 23},
}


def _clocks(words: Words, part: str = "") -> set[Clock]:
    """Every way of taking the words as a time of day. Raises Refused for one that is meant and does not exist."""
    if words[:2] == ("l'", "una"):  # one o'clock; l'8 is a day
        words = ("alle", *words[1:])
    marked = words[0] in _MARKS
    body = _without_start(words, _MARKS)
    for ending, named in _CLOCK_PARTS.items():
        if body[-len(ending) :] == ending and len(body) > len(ending):
            body, part, marked = body[: -len(ending)], named, True
            break
    exact = _without_end(body, _EXACTLY)
    marked = marked or exact != body
    found = {clock for clock in _read_clock(exact)}
    return {_placed(clock, part, bare=clock.bare and not marked) for clock in found}


def _read_clock(words: Words) -> Iterator[Clock]:
    text = " ".join(words)
    if text in _NAMED:
        yield Clock(_NAMED[text], midnight=_NAMED[text] == 0)
        return
    if len(words) == 1 and (found := _FIGURE.match(text)):
        yield _clock(int(found[1]), int(found[2]), sure=len(found[1]) == 2)
        return
    if (hour := _hour(words)) is not None:
        yield _clock(hour, 0, sure=len(words) == 1 and words[0].startswith("0") and len(text) == 2, bare=True)
        return
    for place, word in enumerate(words):
        before, after = words[:place], words[place + 1 :]
        if before and after:
            for clock in _minutes_of(before, word, after):
                yield clock._replace(midnight=bool(_MIDNIGHT & set(words)))
    for place in range(1, len(words)):  # nine thirty, nine oh five
        minutes = words[place:]
        oh = minutes[0] in ("oh", "o") and len(minutes) == 2
        minute = _minute(minutes[1:] if oh else minutes)
        hour = _hour(words[:place])
        spelled = words[0] not in _NAMED and " ".join(minutes) not in _MINUTES and "".join(words).isalpha()
        if hour is not None and minute is not None and (oh or minute > 9) and spelled:
            yield _clock(hour, minute)


def _minutes_of(before: Words, word: str, after: Words) -> Iterator[Clock]:
    """`nove e un quarto`, `dieci meno dieci`, `half past nine`, `ten to nine`, `un quarto alle nove`."""
    match word:
        case "e" | "and" if (minute := _minute(after)) is not None and (hour := _hour(before)) is not None:
            yield _clock(hour, minute)
        case "meno" if (minute := _minute(after)) is not None and (hour := _hour(before)) is not None:
            yield _before(hour, minute)
        case "past" if (minute := _minute(before)) is not None and (hour := _hour(after)) is not None:
            yield _clock(hour, minute)
        case "to" | "alle" if (minute := _minute(before)) is not None and (hour := _hour(after)) is not None:
            if (minute not in (15, 20, 25) and before[-1] not in ("minutes", "minuti")) or hour > 12:
                raise Refused("ambiguous")  # "ten to twelve" may be from ten to twelve
            yield _before(hour, minute)


def _hour(words: Words) -> int | None:
    if len(words) == 1:
        if words[0] in _NAMED:
            return _NAMED[words[0]]
        if _HOUR.match(words[0]):
            return int(words[0])
        if words[0] in ("un", "un'", "uno", "a"):
            return None  # one o'clock is `una` or `one`
    if (
        not words
        or any(word.isdigit() for word in words)
        or words[-1] in ("paio", "couple", "dozzina", "dozen", "pair")
    ):
        return None
    number = whole(words)
    return number if number is not None and number <= 24 and words not in (("none",), ("nessuno",)) else None


def _minute(words: Words) -> int | None:
    text = " ".join(_without_end(words, (("minuti",), ("minutes",), ("min",))))
    if text in _MINUTES:
        return _MINUTES[text]
    number = whole(text.split())
    return number if number is not None and 0 < number < 60 else None


def _clock(hour: int, minute: int, *, sure: bool = False, bare: bool = False) -> Clock:
    if hour == 24:
        raise Refused("ambiguous" if minute == 0 else "no_such_time")
    if hour > 24 or minute > 59:
        raise Refused("no_such_time")
    return Clock(hour, minute, sure or not 1 <= hour <= 6, bare, plain=not sure and 1 <= hour <= 11)


def _before(hour: int, minute: int) -> Clock:
    clock = _clock(hour, 0)
    moved = (clock.hour * 60 - minute) % (24 * 60)
    return Clock(moved // 60, moved % 60, clock.sure, plain=1 <= moved // 60 <= 11)


def _placed(clock: Clock, part: str, *, bare: bool) -> Clock:
    """The time in that part of the day."""
    if not part or clock.midnight:
        return clock._replace(bare=bare)
    hour = _HOURS[part].get(clock.hour)
    if hour is None:
        raise Refused("no_such_time")
    return Clock(hour, clock.minute, bare=bare, midnight=part == "night" and hour < 6)


# --- moments


def _moments(words: Words, place: Place) -> tuple[set[tuple[Day, Clock]], Refused | None]:
    """Every way of cutting the words into a day and a time, and why the first one failed that names both."""
    found: set[tuple[Day, Clock]] = set()
    refused: Refused | None = None
    for cut in range(1, len(words)):
        for day_words, clock_words in ((words[:cut], words[cut:]), (words[cut:], words[:cut])):
            try:
                found |= _met(day_words, clock_words, place, day_first=clock_words == words[cut:])
            except Refused as reason:
                refused = refused or reason
    return found, refused


def _met(day_words: Words, clock_words: Words, place: Place, *, day_first: bool) -> set[tuple[Day, Clock]]:
    """The day and the time that the two halves are. A number alone is an hour only behind a part of the day (`domani
    sera 8`)."""
    try:
        days, faulty = _days(day_words, place), None
    except Refused as reason:
        days, faulty = {Day(place.today)}, reason
    met = {
        (day, clock)
        for day in days
        for clock in _clocks(clock_words, day.part if not faulty else "")
        if not clock.bare or (day.part and day_first)
    }
    if met and faulty:
        raise faulty
    return met


def _joined(day: Day, clock: Clock, zone: tzinfo) -> datetime:
    if not clock.sure or clock.midnight or day.doubtful:
        raise Refused("ambiguous")
    return in_zone(day.date, time(clock.hour, clock.minute), zone)


def _half_a_moment(words: Words, now: datetime, place: Place) -> datetime:
    """A day alone is no moment; a time alone is today's, when it is still ahead."""
    wrong: Refused | None = None
    clocks: set[Clock] = set()
    try:
        clocks = {clock for clock in _clocks(words) if not clock.bare}
    except Refused as reason:
        wrong = reason
    if len(clocks) == 1:
        moment = _joined(Day(place.today), clocks.pop(), now.tzinfo or UTC)
        if moment <= now:
            raise Refused("past")
        return moment
    if _days(words, place):
        raise Refused("no_time")
    raise wrong or Refused("datetime")


def _span(words: Words) -> timedelta | None:
    """`adesso`, `fra due ore`, `in half an hour`, `un'ora fa`, `tra un'ora e mezza`."""
    if words in (("adesso",), ("now",), ("right", "now"), ("subito",)):
        return timedelta()
    if words[0] in ("fra", "tra", "in"):
        sign, words = 1, words[1:]
    elif words[-1] in ("fa", "ago"):
        sign, words = -1, words[:-1]
    elif words[-2:] == ("from", "now"):
        sign, words = 1, words[:-2]
    else:
        return None
    minutes = _SPANS.get(" ".join(words))
    if minutes is None and len(words) > 2 and words[-2:] in (("e", "mezza"), ("e", "mezzo")):
        count = _count(words[:-3]) if words[-3] in ("ora", "ore") else None
        minutes = None if count is None else count * 60 + 30
    if minutes is None and len(words) > 1 and words[-1] in _SPAN_MINUTES:
        count = _count(words[:-1])
        minutes = None if count is None else count * _SPAN_MINUTES[words[-1]]
    return timedelta(minutes=sign * minutes) if minutes and minutes <= MAX_DAYS * 1440 else None


_SPANS = {
    "mezz' ora": 30, "mezzora": 30, "mezza ora": 30, "half an hour": 30, "half hour": 30, "a half hour": 30,
    "un quarto d' ora": 15, "tre quarti d' ora": 45, "a quarter of an hour": 15, "an hour and a half": 90,
    "one hour and a half": 90,
}  # fmt: skip


def _iso_moment(found: re.Match[str], now: datetime) -> datetime:
    try:
        day = date.fromisoformat(found[1])
        clock = time.fromisoformat(found[2])
        if found[3] is None:
            return in_zone(day, clock, now.tzinfo or UTC)
        offset = found[3].replace("Z", "+00:00")
        return datetime.fromisoformat(f"{found[1]}T{found[2]}{offset}").astimezone(now.tzinfo)
    except (ValueError, OverflowError):
        raise Refused("no_such_time" if found[2] > "23:59" else "no_such_day") from None
