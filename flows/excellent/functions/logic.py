"""Logic: and, or, if, default, is_error."""

from __future__ import annotations

from typing import Any

from flows.excellent.evaluation import Evaluation
from flows.excellent.functions import function
from flows.excellent.values import Fault, Object, truth


@function("any, boolean*", name="and")
def and_(evaluation: Evaluation, first: Any, *others: bool) -> Any:
    """Whether all values count as true."""
    value = truth(first)
    return value if isinstance(value, Fault) else value and all(others)


@function("any, boolean*", name="or")
def or_(evaluation: Evaluation, first: Any, *others: bool) -> Any:
    """Whether any value counts as true."""
    value = truth(first)
    return value if isinstance(value, Fault) else value or any(others)


@function("any, any, any", name="if", tolerant=True)
def if_(evaluation: Evaluation, test: Any, yes: Any, no: Any) -> Any:
    """The second or third value, by the first. Only an error in the first one, or in the one that is taken, counts."""
    value = truth(test)
    if isinstance(value, Fault):
        return value
    return yes if value else no


@function("any, any", tolerant=True)
def default(evaluation: Evaluation, value: Any, other: Any) -> Any:
    """The first value; the other where that is an error or empty, or an object whose value is."""
    shown = value.default if isinstance(value, Object) and value.default is not None else value
    empty = shown is None or shown == "" or isinstance(shown, Fault)
    return other if empty else value


@function("any", tolerant=True)
def is_error(evaluation: Evaluation, value: Any) -> bool:
    """Whether the value is an error."""
    return isinstance(value, Fault)
