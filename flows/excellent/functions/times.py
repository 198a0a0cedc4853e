"""Dates, times and datetimes."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from flows.excellent import dates
from flows.excellent.environment import zone_of
from flows.excellent.evaluation import Evaluation
from flows.excellent.functions import function
from flows.excellent.functions.numbers import format_number
from flows.excellent.values import ARITHMETIC, Fault, text

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS = {"W": 604_800, "D": 86_400, "h": 3_600, "m": 60, "s": 1}


@function("")
def now(evaluation: Evaluation) -> datetime:
    """This moment, at the contact's place."""
    return evaluation.environment.now


@function("")
def today(evaluation: Evaluation) -> date:
    """The day at the contact's place."""
    return evaluation.environment.now.date()


@function("integer, integer, integer")
def date_from_parts(evaluation: Evaluation, year: int, month: int, day: int) -> Any:
    """`date_from_parts(2017, 2, 31)` → 2017-03-03; the month must exist, days run on."""
    if not 1 <= month <= 12 or not 1 <= year <= 9999 or abs(day) > 10_000:
        return Fault("error calling date_from_parts: year, month or day out of range")
    try:
        return date(year, month, 1) + timedelta(days=day - 1)
    except OverflowError:
        return Fault("error calling date_from_parts: date out of range")


@function("integer, integer, integer")
def time_from_parts(evaluation: Evaluation, hour: int, minute: int, second: int) -> Any:
    """`time_from_parts(14, 40, 15)`."""
    try:
        return time(hour, minute, second)
    except (ValueError, OverflowError):
        return Fault("error calling time_from_parts: hour, minute or second out of range")


@function("number")
def datetime_from_epoch(evaluation: Evaluation, seconds: Decimal) -> Any:
    """The moment so many seconds after 1970."""
    try:
        return (_EPOCH + timedelta(microseconds=int(seconds * 1_000_000))).astimezone(
            evaluation.environment.zone
        )
    except (OverflowError, ValueError):
        return Fault("error calling datetime_from_epoch: date out of range")


@function("datetime")
def epoch(evaluation: Evaluation, moment: datetime) -> Decimal:
    """Seconds since 1970, with a fraction."""
    microseconds = (moment - _EPOCH) // timedelta(microseconds=1)
    return ARITHMETIC.divide(Decimal(microseconds), Decimal(1_000_000))


@function("text, text, [text]", price=60)
def parse_datetime(evaluation: Evaluation, source: str, layout: str, place: str | None = None) -> Any:
    """`parse_datetime("2010 5 10 12:50", "YYYY M DD tt:mm", "America/Los_Angeles")`."""
    zone = evaluation.environment.zone if place is None else zone_of(place)
    if zone is None:
        return Fault("error calling parse_datetime: unknown time zone")
    return dates.parsed(source, layout, zone, evaluation.environment.now.date())


@function("text, text", price=60)
def parse_time(evaluation: Evaluation, source: str, layout: str) -> Any:
    """`parse_time("2:40 pm", "h:mm aa")` → 14:40."""
    found = dates.parsed(source, layout, UTC, evaluation.environment.now.date())
    return Fault(f'unable to convert "{source[:64]}" to a time') if isinstance(found, Fault) else found.time()


@function("datetime, datetime, text", price=10)
def datetime_diff(evaluation: Evaluation, first: datetime, second: datetime, unit: str) -> Any:
    """Whole units from the first to the second; W D h m s count time gone by, Y and M the calendar."""
    if unit == "Y":
        return Decimal(second.year - first.year)
    if unit == "M":
        return Decimal((second.year - first.year) * 12 + second.month - first.month)
    if unit not in _SECONDS:
        return Fault(
            f"error calling datetime_diff: unknown unit: {unit[:20]}, must be one of s, m, h, D, W, M, Y"
        )
    micro = (second - first) // timedelta(microseconds=1)
    size = _SECONDS[unit] * 1_000_000
    return Decimal(-(-micro // size) if micro < 0 else micro // size)


@function("datetime, integer, text", price=10)
def datetime_add(evaluation: Evaluation, moment: datetime, offset: int, unit: str) -> Any:
    """`datetime_add("2017-01-15", 5, "D")`. Y, M, W, D go by the calendar, h, m, s by the clock."""
    try:
        return _added(moment, offset, unit)
    except (OverflowError, ValueError):
        return Fault("error calling datetime_add: date out of range")


def _added(moment: datetime, offset: int, unit: str) -> Any:
    if unit in ("Y", "M"):
        months = moment.month - 1 + offset * (12 if unit == "Y" else 1)
        first = moment.replace(year=moment.year + months // 12, month=months % 12 + 1, day=1)
        return first + timedelta(days=moment.day - 1)  # 31 January and a month is 2 or 3 March: days run on
    if unit in ("W", "D"):
        return moment + timedelta(days=offset * (7 if unit == "W" else 1))
    if unit in _SECONDS:
        return (moment.astimezone(UTC) + timedelta(seconds=offset * _SECONDS[unit])).astimezone(moment.tzinfo)
    return Fault(f"error calling datetime_add: unknown unit: {unit[:20]}, must be one of s, m, h, D, W, M, Y")


@function("datetime, time", price=20)
def replace_time(evaluation: Evaluation, moment: datetime, clock: time) -> datetime:
    """The same day at that time."""
    return datetime.combine(moment.date(), clock, moment.tzinfo)


@function("datetime", price=10)
def tz(evaluation: Evaluation, moment: datetime) -> str:
    """The name of the zone: `Europe/Rome`; nothing for a bare offset."""
    if moment.tzinfo is UTC:
        return "UTC"
    return getattr(moment.tzinfo, "key", "")


@function("datetime", price=10)
def tz_offset(evaluation: Evaluation, moment: datetime) -> str:
    """`+0200`."""
    return dates.offset_of(moment, colon=False)


@function("date", price=10)
def weekday(evaluation: Evaluation, day: date) -> Decimal:
    """0 is Sunday."""
    return Decimal(day.isoweekday() % 7)


@function("date", price=10)
def week_number(evaluation: Evaluation, day: date) -> Decimal:
    """1 to 54; weeks begin on Sunday, the one with 1 January is the first."""
    first = date(day.year, 1, 1)
    return Decimal((day.timetuple().tm_yday + first.isoweekday() % 7 - 1) // 7 + 1)


@function("any, [text]", price=20)
def format_date(evaluation: Evaluation, value: Any, layout: str | None = None) -> Any:
    """`format_date("1979-07-18", "YYYY M DD")` → 1979 7 18."""
    day = dates.date_of(value, evaluation.environment)
    if isinstance(day, Fault):
        return Fault(f"error calling format_date: {day.what}")
    moment = datetime.combine(day, time(), evaluation.environment.zone)
    return dates.shown(moment, layout or evaluation.environment.date_format, evaluation.environment.language)


@function("datetime, [text], [text]", price=20)
def format_datetime(
    evaluation: Evaluation, moment: datetime, layout: str | None = None, place: str | None = None
) -> Any:
    """`format_datetime("2010-05-10T19:50:00Z", "hh:mm AA", "America/Los_Angeles")` → 12:50 PM."""
    environment = evaluation.environment
    zone = environment.zone if place is None else zone_of(place)
    if zone is None:
        return Fault("error calling format_datetime: unknown time zone")
    try:
        local = moment.astimezone(zone)
    except (OverflowError, ValueError):
        return Fault("error calling format_datetime: date out of range")
    return dates.shown(local, layout or f"{environment.date_format} tt:mm", environment.language)


@function("time, [text]", price=20)
def format_time(evaluation: Evaluation, clock: time, layout: str | None = None) -> Any:
    """`format_time("14:50:30", "h:mm aa")` → 2:50 pm."""
    parts = dates.parts_of(layout or "tt:mm")
    if isinstance(parts, Fault):
        return Fault(f"error calling format_time: {parts.what}")
    if wrong := next((part for part in parts if part[0] in "YMDEZ"), ""):
        return Fault(f"error calling format_time: a time has no {wrong}")
    moment = datetime.combine(date(2000, 1, 1), clock, UTC)
    return dates.shown(moment, layout or "tt:mm", evaluation.environment.language)


@function("any", price=20, name="format", tolerant=True)
def format_(evaluation: Evaluation, value: Any) -> Any:
    """The value by its kind, as people here write it."""
    match value:
        case Fault():
            return value
        case datetime():
            return format_datetime(evaluation, value)
        case date():
            return format_date(evaluation, value)
        case time():
            return format_time(evaluation, value)
        case Decimal():
            return format_number(evaluation, value)
    return text(value)
