"""Functions of older flows (versions before 11) that have no namesake today, with the meaning that they had.

Where a namesake has another meaning (`word`, `word_slice` and `field` counted from 1) whoever imports an old flow
rewrites the call.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import ROUND_DOWN, ROUND_FLOOR, Decimal
from typing import Any

from flows.excellent import dates, operations
from flows.excellent.evaluation import Evaluation
from flows.excellent.functions import function, texts, times
from flows.excellent.functions.numbers import format_number, mean
from flows.excellent.tokens import words
from flows.excellent.values import ARITHMETIC, Fault, checked, number
from flows.excellent.values import text as text_of


@function("text", per_character=1)
def proper(evaluation: Evaluation, value: str) -> str:
    """`title`."""
    return str(texts.title(evaluation, value))


@function("text")
def len_(evaluation: Evaluation, value: str) -> Decimal:
    """`text_length`."""
    return Decimal(len(value))


@function("text, integer")
def left(evaluation: Evaluation, value: str, count: int) -> str:
    """The first characters."""
    return value[: max(count, 0)]


@function("text, integer")
def right(evaluation: Evaluation, value: str, count: int) -> str:
    """The last characters."""
    return value[-count:] if count > 0 else ""


@function("any*")
def concatenate(evaluation: Evaluation, *values: Any) -> Any:
    """Texts, one after the other."""
    return evaluation.made("".join(text_of(value) for value in values))


@function("text, text, text, [integer]")
def substitute(evaluation: Evaluation, value: str, old: str, new: str, which: int = -1) -> Any:
    """`replace`."""
    return texts.replace(evaluation, value, old, new, which)


@function("text, integer")
def rept(evaluation: Evaluation, value: str, count: int) -> Any:
    """`repeat`."""
    return texts.repeat(evaluation, value, count)


@function("text")
def first_word(evaluation: Evaluation, value: str) -> str:
    """The first word; nothing where there is none."""
    return next(iter(words(value)), "")


@function("text")
def read_digits(evaluation: Evaluation, value: str) -> Any:
    """`read_chars`."""
    return texts.read_chars(evaluation, value)


@function("text, text, integer", price=texts.PATTERN)
def regex_group(evaluation: Evaluation, value: str, pattern: str, group: int) -> Any:
    """`regex_match`."""
    return texts.regex_match(evaluation, value, pattern, group)


@function("text")
def unicode(evaluation: Evaluation, value: str) -> Any:
    """`code`."""
    return texts.code(evaluation, value)


@function("integer")
def unichar(evaluation: Evaluation, code: int) -> Any:
    """`char`."""
    return texts.char(evaluation, code)


@function("number, [integer], [boolean]")
def fixed(evaluation: Evaluation, value: Decimal, places: int = 2, plain: bool = False) -> Any:
    """`format_number`; the third argument true leaves the commas out."""
    return format_number(evaluation, value, Decimal(places), not plain)


@function("number, number*")
def average(evaluation: Evaluation, *values: Decimal) -> Any:
    """`mean`."""
    return mean(evaluation, *values)


@function("number, number")
def power(evaluation: Evaluation, value: Decimal, exponent: Decimal) -> Any:
    """`^`."""
    raised = operations.binary("^", lambda _: value, lambda _: exponent)
    return raised(evaluation)


@function("number")
def int_(evaluation: Evaluation, value: Decimal) -> Decimal:
    """Rounded down."""
    return value.to_integral_value(ROUND_FLOOR)


@function("number")
def trunc(evaluation: Evaluation, value: Decimal) -> Decimal:
    """Without the fraction."""
    return value.to_integral_value(ROUND_DOWN)


@function("integer, integer")
def randbetween(evaluation: Evaluation, least: int, most: int) -> Any:
    """`rand_between`."""
    return Decimal(evaluation.random().randint(least, most)) if least <= most else Fault("range is empty")


@function("datetime", price=10)
def year(evaluation: Evaluation, moment: datetime) -> Decimal:
    """The year."""
    return Decimal(moment.year)


@function("datetime", price=10)
def month(evaluation: Evaluation, moment: datetime) -> Decimal:
    """1 to 12."""
    return Decimal(moment.month)


@function("datetime", price=10)
def day(evaluation: Evaluation, moment: datetime) -> Decimal:
    """1 to 31."""
    return Decimal(moment.day)


@function("datetime", price=10)
def hour(evaluation: Evaluation, moment: datetime) -> Decimal:
    """0 to 23."""
    return Decimal(moment.hour)


@function("datetime", price=10)
def minute(evaluation: Evaluation, moment: datetime) -> Decimal:
    """0 to 59."""
    return Decimal(moment.minute)


@function("datetime", price=10)
def second(evaluation: Evaluation, moment: datetime) -> Decimal:
    """0 to 59."""
    return Decimal(moment.second)


@function("date", price=10)
def datevalue(evaluation: Evaluation, value: date) -> date:
    """`date`."""
    return value


@function("time", price=10)
def timevalue(evaluation: Evaluation, value: time) -> time:
    """`time`."""
    return value


@function("date, date", price=10)
def days(evaluation: Evaluation, end: date, start: date) -> Any:
    """Days from the second date to the first."""
    return checked(Decimal((end - start) // timedelta(days=1)))


@function("date, date, text", price=10)
def datedif(evaluation: Evaluation, start: date, end: date, unit: str) -> Any:
    """Whole units d, m, y, md, ym, yd between two dates, as Excel counts them."""
    if start > end:
        return Fault("error calling datedif: the first date lies behind the second")
    months = (end.year - start.year) * 12 + end.month - start.month - (end.day < start.day)
    match unit.lower():
        case "d":
            return Decimal((end - start).days)
        case "m":
            return Decimal(months)
        case "y":
            return Decimal(months // 12)
        case "ym":
            return Decimal(months % 12)
        case "md":
            return Decimal((end.day - start.day) % 31)
        case "yd":
            return Decimal((end.timetuple().tm_yday - start.timetuple().tm_yday) % 365)
    return Fault(f"error calling datedif: unknown unit: {unit[:20]}")


@function("datetime, integer", price=10)
def edate(evaluation: Evaluation, moment: datetime, months: int) -> Any:
    """The same day so many months later."""
    return times.datetime_add(evaluation, moment, months, "M")


@function("any, any", price=20)
def legacy_add(evaluation: Evaluation, first: Any, second: Any) -> Any:
    """The old `+`, where only the values say what is meant: numbers are added, a number added to a date means days.
    Flows that RapidPro itself has brought to newer versions are full of it."""
    left, right = number(first), number(second)
    if isinstance(left, Decimal) and isinstance(right, Decimal):
        return checked(ARITHMETIC.add(left, right))
    for moment, days in ((first, right), (second, left)):
        found = dates.datetime_of(moment, evaluation.environment)
        if isinstance(found, datetime) and isinstance(days, Decimal) and abs(days) < 2**31:
            return times.datetime_add(evaluation, found, int(days), "D")
    return Fault("error calling legacy_add: needs two numbers, or a date and a number")
