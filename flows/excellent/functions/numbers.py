"""Numbers: rounding, comparing, chance, writing."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal, DecimalException
from typing import Any

from flows.excellent.evaluation import Evaluation
from flows.excellent.functions import function
from flows.excellent.operations import divided
from flows.excellent.values import ARITHMETIC, Fault, checked, number, text

MAX_PLACES = 20


@function("number")
def abs_(evaluation: Evaluation, value: Decimal) -> Decimal:
    """The absolute value."""
    return value.copy_abs()


@function("number, [integer]")
def round_(evaluation: Evaluation, value: Decimal, places: int = 0) -> Any:
    """`round(12.146, 2)` → 12.15; places less than 0 round before the point."""
    return _rounded(value, places, ROUND_HALF_UP)


@function("number, [integer]")
def round_up(evaluation: Evaluation, value: Decimal, places: int = 0) -> Any:
    """`round_up(12.141)` → 13."""
    return _rounded(value, places, ROUND_CEILING)


@function("number, [integer]")
def round_down(evaluation: Evaluation, value: Decimal, places: int = 0) -> Any:
    """`round_down(12.6)` → 12."""
    return _rounded(value, places, ROUND_FLOOR)


def _rounded(value: Decimal, places: int, how: str) -> Any:
    if not -MAX_PLACES <= places <= MAX_PLACES:
        return Fault(f"places must be between -{MAX_PLACES} and {MAX_PLACES}")
    try:
        return value.quantize(Decimal(1).scaleb(-places), rounding=how, context=ARITHMETIC) + 0
    except DecimalException:
        return Fault("number out of range")


@function("number, number*")
def max_(evaluation: Evaluation, *values: Decimal) -> Decimal:
    """The greatest."""
    return max(values)


@function("number, number*")
def min_(evaluation: Evaluation, *values: Decimal) -> Decimal:
    """The least."""
    return min(values)


@function("number, number*")
def mean(evaluation: Evaluation, *values: Decimal) -> Any:
    """`mean(1, 2)` → 1.5."""
    return divided(sum(values, Decimal(0)), Decimal(len(values)))


@function("number, number")
def mod(evaluation: Evaluation, dividend: Decimal, divisor: Decimal) -> Any:
    """The remainder, with the sign of the divisor."""
    if divisor == 0:
        return Fault("division by zero")
    try:
        remainder = ARITHMETIC.remainder(dividend, divisor)
    except DecimalException:
        return Fault("number out of range")
    return remainder + divisor if remainder and (remainder < 0) != (divisor < 0) else remainder


@function("")
def rand(evaluation: Evaluation) -> Decimal:
    """A number from 0 to less than 1."""
    return ARITHMETIC.create_decimal(repr(evaluation.random().random()))


@function("integer, integer")
def rand_between(evaluation: Evaluation, least: int, most: int) -> Any:
    """A whole number, both ends included."""
    if most < least:
        return Fault("error calling rand_between: the second number is less than the first")
    return Decimal(evaluation.random().randint(least, most))


@function("number, [any], [boolean]")
def format_number(evaluation: Evaluation, value: Decimal, places: Any = None, humanize: bool = True) -> Any:
    """`format_number(1234.567, 2)` → 1,234.57; the third argument false leaves the commas out."""
    if places is not None:
        count = number(places)
        if isinstance(count, Fault) or not 0 <= count <= 9:
            return Fault("error calling format_number: places must be between 0 and 9")
        value = _rounded(value, int(count), ROUND_HALF_UP)
        if isinstance(value, Fault):
            return value
        return format(value, ",f" if humanize else "f")
    whole, _, fraction = text(value).partition(".")
    shown = f"{int(whole):,}" if humanize else whole
    if whole.startswith("-") and not shown.startswith("-"):
        shown = f"-{shown}"
    return f"{shown}.{fraction}" if fraction else shown


@function("number")
def percent(evaluation: Evaluation, value: Decimal) -> Any:
    """`percent(0.54234)` → 54%."""
    found = checked(value * 100)
    if isinstance(found, Fault):
        return found
    rounded = _rounded(found, 0, ROUND_HALF_UP)
    return rounded if isinstance(rounded, Fault) else f"{text(rounded)}%"
