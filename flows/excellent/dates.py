"""Reading and writing dates, times and datetimes: ISO 8601, the way of the country, and by an author's format.

Formats are made of YYYY YY MMMM MMM MM M DD D EEEE EEE tt hh h mm m ss s fff ffffff fffffffff aa AA Z ZZZ;
between them stand spaces and `: , T - _ / .`. Datetimes are always aware; what is written without
a zone is in the environment's.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Any

from flows.excellent.environment import Environment
from flows.excellent.values import Fault, Object, kind

MAX_READ = 500  # characters in which a date is looked for
MAX_FORMAT = 100

_ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?\s?(Z|[+-][0-9]{2}:?[0-9]{2})?)?\Z",
    re.ASCII,
)
_YEAR_FIRST = re.compile(r"(?<![0-9])([0-9]{4})[-/. ]([0-9]{1,2})[-/. ]([0-9]{1,2})(?![0-9])", re.ASCII)
_YEAR_LAST = re.compile(
    r"(?<![0-9])([0-9]{1,2})[-/. ]([0-9]{1,2})[-/. ]([0-9]{4}|[0-9]{2})(?![0-9])", re.ASCII
)
_CLOCK = re.compile(
    r"(?<![0-9:.])([0-9]{1,2})(?::([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?)?\s?([AaPp])\.?[Mm]\b"
    r"|(?<![0-9:.])([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?(?![0-9])",
    re.ASCII,
)


def datetime_of(value: Any, environment: Environment, *, fill: time = time()) -> datetime | Fault:
    """The datetime that a value is or spells; where the text has no time of day, `fill` is it."""
    match value:
        case datetime():
            return value
        case date():
            return datetime.combine(value, fill, environment.zone)
        case str():
            found = read(value, environment, fill=fill)
            return Fault(f'unable to convert "{value[:64]}" to a datetime') if found is None else found
        case Object() if value.default is not None:
            return datetime_of(value.default, environment, fill=fill)
        case Fault():
            return value
    return Fault(f"unable to convert {kind(value)} to a datetime")


def date_of(value: Any, environment: Environment) -> date | Fault:
    """The date that a value is or spells. A datetime's date is that at its own place."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    found = datetime_of(value, environment)
    return Fault(found.what.replace("datetime", "date")) if isinstance(found, Fault) else found.date()


def time_of(value: Any, environment: Environment) -> time | Fault:
    """The time of day that a value is or spells."""
    match value:
        case time():
            return value
        case datetime():
            return value.timetz().replace(tzinfo=None)
        case str():
            found = read_time(value)
            return Fault(f'unable to convert "{value[:64]}" to a time') if found is None else found
        case Object() if value.default is not None:
            return time_of(value.default, environment)
        case Fault():
            return value
    return Fault(f"unable to convert {kind(value)} to a time")


def read(source: str, environment: Environment, *, fill: time = time()) -> datetime | None:
    """The first date in a text, with the time of day in it; None when there is no (possible) date."""
    source = source.strip()[:MAX_READ]
    if whole := _ISO.match(source):
        return _iso(whole, environment, fill)
    found = _YEAR_FIRST.search(source)
    order = (1, 2, 3)
    if found is None:
        found = _YEAR_LAST.search(source)
        order = (3, 1, 2) if environment.month_first else (3, 2, 1)
    if found is None:
        return None
    year, month, day = (int(found[group]) for group in order)
    if len(found[order[0]]) == 2:
        year += 2000 if 2000 + year <= environment.now.year + 20 else 1900
    clock = read_time(source[: found.start()] + " " + source[found.end() :])
    return _made(year, month, day, fill if clock is None else clock, environment.zone)


def read_time(source: str) -> time | None:
    """The first time of day in a text."""
    found = _CLOCK.search(source.strip()[:MAX_READ])
    if found is None:
        return None
    hour, minute, second, fraction = (found[n] or found[n + 5] for n in (1, 2, 3, 4))
    half = (found[5] or "").lower()
    return _time(int(hour), int(minute or 0), int(second or 0), fraction or "", half)


def _time(hour: int, minute: int, second: int, fraction: str, half: str) -> time | None:
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "p" else 0)
    if hour == 24 and minute == second == 0:
        hour = 0
    if hour > 23 or minute > 59 or second > 59:
        return None
    return time(hour, minute, second, int(fraction[:6].ljust(6, "0")) if fraction else 0)


def _iso(found: re.Match[str], environment: Environment, fill: time) -> datetime | None:
    clock = fill
    if found[4] is not None:
        exact = _time(int(found[4]), int(found[5]), int(found[6] or 0), found[7] or "", "")
        if exact is None:
            return None
        clock = exact
    zone = environment.zone if found[8] is None else _offset(found[8])
    return None if zone is None else _made(int(found[1]), int(found[2]), int(found[3]), clock, zone)


def _offset(written: str) -> tzinfo | None:
    """The zone of `Z`, `+02:00`, `-0500`."""
    if written == "Z":
        return UTC
    digits = written[1:].replace(":", "")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    if int(digits[2:]) > 59 or minutes >= 24 * 60:
        return None
    return timezone(timedelta(minutes=-minutes if written[0] == "-" else minutes))


def _made(year: int, month: int, day: int, clock: time, zone: tzinfo) -> datetime | None:
    try:
        return datetime.combine(date(year, month, day), clock, zone)
    except ValueError:
        return None


# --- formats ------------------------------------------------------------------------------------------------

_PARTS = re.compile(
    r"YYYY|YY|MMMM|MMM|MM|M|DD|D|EEEE|EEE|tt|t|hh|h|mm|m|ss|s|f{1,9}|aa|AA|ZZZ|Z|[ :,T\-_/.]|.", re.DOTALL
)
_KNOWN = frozenset(
    "YYYY YY MMMM MMM MM M DD D EEEE EEE tt t hh h mm m ss s fff ffffff fffffffff aa AA ZZZ Z".split()
)
_BETWEEN = frozenset(" :,T-_/.")
_NAMES = {
    "it": (
        "lunedì martedì mercoledì giovedì venerdì sabato domenica".split(),
        "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre".split(),
    ),
    "en": (
        "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
        "January February March April May June July August September October November December".split(),
    ),
}


def names_of(language: str) -> tuple[list[str], list[str]]:
    """The weekdays (Monday first) and months in a language; English where it has none."""
    return _NAMES.get(language, _NAMES["en"])


def parts_of(layout: str) -> list[str] | Fault:
    """The parts of a format."""
    if len(layout) > MAX_FORMAT:
        return Fault("format too long")
    parts = _PARTS.findall(layout)
    for part in parts:
        if part not in _KNOWN and part not in _BETWEEN:
            return Fault(f"invalid date format, unknown {part!r}")
    return parts


def shown(moment: datetime, layout: str, language: str) -> str | Fault:
    """A datetime by a format."""
    parts = parts_of(layout)
    return parts if isinstance(parts, Fault) else "".join(_shown(moment, part, language) for part in parts)


def _shown(moment: datetime, part: str, language: str) -> str:
    days, months = names_of(language)
    match part:
        case "YYYY":
            return f"{moment.year:04}"
        case "YY":
            return f"{moment.year % 100:02}"
        case "MMMM":
            return months[moment.month - 1]
        case "MMM":
            return months[moment.month - 1][:3]
        case "EEEE":
            return days[moment.weekday()]
        case "EEE":
            return days[moment.weekday()][:3]
        case "MM" | "M":
            return str(moment.month).zfill(len(part))
        case "DD" | "D":
            return str(moment.day).zfill(len(part))
        case "tt" | "t":
            return str(moment.hour).zfill(len(part))
        case "hh" | "h":
            return str(moment.hour % 12 or 12).zfill(len(part))
        case "mm" | "m":
            return str(moment.minute).zfill(len(part))
        case "ss" | "s":
            return str(moment.second).zfill(len(part))
        case "fff" | "ffffff" | "fffffffff":
            return f"{moment.microsecond:06}000"[: len(part)]
        case "aa":
            return "am" if moment.hour < 12 else "pm"
        case "AA":
            return "AM" if moment.hour < 12 else "PM"
        case "Z" | "ZZZ":
            return offset_of(moment, short=part == "Z")
    return part


def offset_of(moment: datetime, *, short: bool = False, colon: bool = True) -> str:
    """`+02:00`; with `short`, Z for UTC; without `colon`, `+0200`."""
    minutes = int((moment.utcoffset() or timedelta()).total_seconds() // 60)
    if short and minutes == 0:
        return "Z"
    sign, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
    return f"{sign}{minutes // 60:02}{':' if colon else ''}{minutes % 60:02}"


_FRACTION = r"(?:\.(?P<fraction>[0-9]{1,9}))?"
_FIGURES = {
    "YYYY": r"(?P<year>[0-9]{4})", "YY": r"(?P<short>[0-9]{2})",
    "MM": r"(?P<month>[0-9]{2})", "M": r"(?P<month>[0-9]{1,2})",
    "DD": r"(?P<day>[0-9]{2})", "D": r"(?P<day>[0-9]{1,2})",
    "tt": r"(?P<hour>[0-9]{2})", "t": r"(?P<hour>[0-9]{1,2})",
    "hh": r"(?P<half>[0-9]{2})", "h": r"(?P<half>[0-9]{1,2})",
    "mm": r"(?P<minute>[0-9]{2})", "m": r"(?P<minute>[0-9]{1,2})",
    "ss": r"(?P<second>[0-9]{2})",
    "s": r"(?P<second>[0-9]{1,2})",
    "aa": r"(?P<noon>[AaPp][Mm])", "AA": r"(?P<noon>[AaPp][Mm])",
    "Z": r"(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})", "ZZZ": r"(?P<zone>[+-][0-9]{2}:?[0-9]{2})",
}  # fmt: skip


def parsed(source: str, layout: str, zone: tzinfo, today: date) -> datetime | Fault:
    """The datetime that a text gives by a format, in the zone. Parts that the format lacks are those of the year 1,
    midnight."""
    parts = parts_of(layout)
    if isinstance(parts, Fault):
        return parts
    exact = any(part.startswith("f") for part in parts)  # else a fraction of a second may follow it
    pattern = ""
    for part in parts:
        piece = rf"(?P<fraction>[0-9]{{{len(part)}}})" if part.startswith("f") else _FIGURES.get(part)
        if piece is None:
            if part in _KNOWN:
                return Fault(f"{part} is only for writing dates")
            piece = re.escape(part)
        elif piece[: piece.index(">")] in pattern:
            return Fault(f"invalid date format, {part} twice")
        pattern += piece + (_FRACTION if part in ("s", "ss") and not exact else "")
    found = re.match(pattern + r"\Z", source.strip()[:MAX_READ], re.ASCII)
    moment = _assembled(found.groupdict(), zone, today) if found else None
    if moment is None or not 1 < moment.year < 9999:  # a zone on either side of the calendar's end
        return moment or Fault(f'unable to convert "{source[:64]}" to a datetime')
    return moment.astimezone(zone)


def _assembled(figures: dict[str, str | None], zone: tzinfo, today: date) -> datetime | None:
    short = figures.get("short")
    year = int(figures.get("year") or 1)
    if short:
        year = int(short) + (2000 if 2000 + int(short) <= today.year + 20 else 1900)
    half = (figures.get("noon") or "").lower()[:1]
    clock = _time(
        int(figures.get("hour") or figures.get("half") or 0),
        int(figures.get("minute") or 0),
        int(figures.get("second") or 0),
        figures.get("fraction") or "",
        half,
    )
    written = figures.get("zone")
    where = zone if written is None else _offset(written)
    if clock is None or where is None:
        return None
    return _made(year, int(figures.get("month") or 1), int(figures.get("day") or 1), clock, where)
