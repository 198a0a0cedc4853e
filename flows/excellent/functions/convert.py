"""Conversion: from one kind of value to another."""

from __future__ import annotations

import json as json_library
from typing import Any

from flows.excellent import dates
from flows.excellent.evaluation import Evaluation
from flows.excellent.functions import function, times
from flows.excellent.operations import whole
from flows.excellent.values import MAX_ITEMS, Fault, Object, integer, lift, to_json
from flows.excellent.values import text as text_of


@function("text")
def text(evaluation: Evaluation, value: str) -> str:
    """`text(3 = 3)` → true."""
    return value


@function("boolean")
def boolean(evaluation: Evaluation, value: bool) -> bool:
    """`boolean("FALSE")` → false."""
    return value


@function("number")
def number(evaluation: Evaluation, value: Any) -> Any:
    """`number("123.4500")` → 123.45."""
    return value


@function("any, [integer], [integer]", price=10)
def date(evaluation: Evaluation, value: Any, month: int | None = None, day: int | None = None) -> Any:
    """`date("10/05/2010")` → 2010-05-10. With three numbers as in older flows: year, month, day."""
    if month is not None and day is not None:
        year = integer(value)
        return year if isinstance(year, Fault) else times.date_from_parts(evaluation, year, month, day)
    return dates.date_of(value, evaluation.environment)


@function("datetime", price=10)
def datetime(evaluation: Evaluation, value: Any) -> Any:
    """`datetime("1979-07-18")` → midnight of that day, here."""
    return value


@function("any, [integer], [integer]", price=10)
def time(evaluation: Evaluation, value: Any, minute: int | None = None, second: int | None = None) -> Any:
    """`time("10:30")`. With three numbers as in older flows: hour, minute, second."""
    if minute is not None and second is not None:
        hour = integer(value)
        return hour if isinstance(hour, Fault) else times.time_from_parts(evaluation, hour, minute, second)
    return dates.time_of(value, evaluation.environment)


@function("any*")
def array(evaluation: Evaluation, *values: Any) -> Any:
    """`array("a", 3)[1]` → 3."""
    return list(values)


@function("any*")
def object_(evaluation: Evaluation, *pairs: Any) -> Any:
    """`object("a", 123, "b", "hello")`."""
    if len(pairs) % 2:
        return Fault("error calling object: need pairs of a name and a value")
    return Object({text_of(pairs[at]): pairs[at + 1] for at in range(0, len(pairs), 2)})


@function("any", per_character=1)
def json(evaluation: Evaluation, value: Any) -> Any:
    """The JSON of a value."""
    evaluation.spend(whole(value))
    return to_json(value)


@function("text", per_character=1)
def parse_json(evaluation: Evaluation, source: str) -> Any:
    """`parse_json("[1,2,3]")[2]` → 3."""
    try:
        data = json_library.loads(source, parse_float=float, parse_int=_whole)
    except (ValueError, RecursionError):
        return Fault("error calling parse_json: not JSON")
    if isinstance(data, (list, dict)) and len(data) > MAX_ITEMS:
        return Fault(f"error calling parse_json: more than {MAX_ITEMS} items")
    return lift(data)


def _whole(digits: str) -> int:
    if len(digits) > 40:
        raise ValueError("number out of range")
    return int(digits)
