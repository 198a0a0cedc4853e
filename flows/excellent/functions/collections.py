"""Arrays and objects."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from flows.excellent.evaluation import Evaluation
from flows.excellent.functions import function
from flows.excellent.operations import size
from flows.excellent.values import (
    ARITHMETIC,
    MAX_TEXT,
    Fault,
    Function,
    Object,
    checked,
    equal,
    kind,
    number,
    text,
    truth,
)


@function("array, integer, [integer]")
def slice_(evaluation: Evaluation, values: list[Any], start: int, end: int | None = None) -> list[Any]:
    """`slice(array(1, 2, 5), 1, 3)` → [2, 5]; negative numbers count from the end."""
    return values[start:end]


@function("array, any", per_character=1)
def contains(evaluation: Evaluation, values: list[Any], wanted: Any) -> bool:
    """Whether the array holds the value, of the same kind: `contains(array(1), "1")` → false."""
    return any(kind(value) == kind(wanted) and equal(value, wanted) for value in values)


@function("array, text")
def join(evaluation: Evaluation, values: list[Any], separator: str) -> Any:
    """`join(array("a", "b"), "|")` → a|b."""
    fault = next((value for value in values if isinstance(value, Fault)), None)
    if fault is not None:
        return fault
    if size(values) + len(separator) * len(values) > 2 * MAX_TEXT + 2 * len(values):
        return Fault(f"error calling join: text longer than {MAX_TEXT} characters")
    return evaluation.made(separator.join(text(value) for value in values))


@function("array")
def reverse(evaluation: Evaluation, values: list[Any]) -> list[Any]:
    """From the last to the first."""
    return values[::-1]


@function("array", per_character=1)
def sort(evaluation: Evaluation, values: list[Any]) -> Any:
    """In order; the items must be of one kind that has an order."""
    kinds = {kind(value) for value in values}
    if len(kinds) > 1 or not kinds <= {"text", "number", "date", "datetime", "time", "boolean"}:
        return [] if not values else Fault("error calling sort: items must be of one kind that has an order")
    return sorted(values)


@function("any, number*")
def sum_(evaluation: Evaluation, values: Any, *others: Decimal) -> Any:
    """`sum(array(1, 2))` → 3; numbers one by one as in older flows, too."""
    total = Decimal(0)
    for value in values if isinstance(values, list) else [values]:
        found = number(value)
        if isinstance(found, Fault):
            return Fault(f"error calling sum: {found.what}")
        total = ARITHMETIC.add(total, found)
    for other in others:
        total = ARITHMETIC.add(total, other)
    return checked(total)


@function("array", per_character=1)
def unique(evaluation: Evaluation, values: list[Any]) -> list[Any]:
    """Each value once, in order."""
    seen: set[str] = set()
    found = []
    for value in values:
        key = text(value)
        if key not in seen:
            seen.add(key)
            found.append(value)
    return found


@function("array, array")
def concat(evaluation: Evaluation, first: list[Any], second: list[Any]) -> list[Any]:
    """Both arrays as one."""
    return first + second


@function("array, function")
def filter_(evaluation: Evaluation, values: list[Any], test: Function) -> Any:
    """`filter(array(1, 2, 3), (x) => x > 1)` → [2, 3]."""
    kept = []
    for value in values:
        found = truth(test.call(evaluation, [value]))
        if isinstance(found, Fault):
            return found
        if found:
            kept.append(value)
    return kept


@function("array, function, any*")
def foreach(evaluation: Evaluation, values: list[Any], act: Function, *more: Any) -> Any:
    """`foreach(array("a", "b"), upper)` → [A, B]."""
    made = []
    for value in values:
        found = _called(evaluation, act, value, more)
        if isinstance(found, Fault):
            return found
        made.append(found)
    return made


@function("object, function, any*")
def foreach_value(evaluation: Evaluation, values: Object, act: Function, *more: Any) -> Any:
    """The same for each property of an object."""
    made = {}
    for name, value in values.items():
        found = _called(evaluation, act, value, more)
        if isinstance(found, Fault):
            return found
        made[name] = found
    return Object(made)


def _called(evaluation: Evaluation, act: Function, value: Any, more: Sequence[Any]) -> Any:
    evaluation.spend(3)
    return act.call(evaluation, [value, *more])


@function("any")
def count(evaluation: Evaluation, values: Any) -> Any:
    """The items of an array or properties of an object; nothing has none."""
    if values is None:
        return Decimal(0)
    if isinstance(values, list):
        return Decimal(len(values))
    if isinstance(values, Object):
        return Decimal(len(values.values))
    return Fault(f"error calling count: {kind(values)} cannot be counted")


@function("any")
def keys(evaluation: Evaluation, values: Any) -> Any:
    """The names of an object's properties, sorted; nothing has none."""
    if values is None:
        return []
    if not isinstance(values, Object):
        return Fault(f"error calling keys: unable to convert {kind(values)} to an object")
    evaluation.spend(len(values.values) // 10)
    return values.names()


@function("object, text")
def extract(evaluation: Evaluation, values: Object, name: str) -> Any:
    """One property; nothing where the object has none of that name."""
    return _property(values, name)


@function("object, text*")
def extract_object(evaluation: Evaluation, values: Object, *names: str) -> Any:
    """An object of the named properties alone."""
    made = {name: _property(values, name) for name in names}
    return next((value for value in made.values() if isinstance(value, Fault)), Object(made))


def _property(values: Object, name: str) -> Any:
    return values.get(name) if values.has(name) else None
