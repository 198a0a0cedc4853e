"""What the parts of an expression do when they are evaluated: operators, properties, items, calls, lambdas.

Each function here takes closures and gives one. An operand that is a Fault is the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal, DecimalException
from typing import Any

from flows.excellent import dates
from flows.excellent.evaluation import MAX_CALLS, Evaluation, TooComplex
from flows.excellent.values import (
    ARITHMETIC,
    MAX_DIGITS,
    MAX_TEXT,
    PLACES,
    Fault,
    Function,
    Object,
    checked,
    equal,
    integer,
    kind,
    number,
    text,
)

Node = Callable[[Evaluation], Any]

TOLERANT = frozenset(
    ("default", "is_error", "has_error", "has_value")
)  # functions that deal with a Fault themselves
MAX_EXPONENT = 1_000
WHOLE = 1_500  # price of writing out an object
MAX_SIZE = 100_000  # characters, beyond which size makes no difference


def named(name: str, function: Function | None) -> Node:
    """A name of the context, else of a function."""

    def run(evaluation: Evaluation) -> Any:
        evaluation.spend()
        root = evaluation.root(name)
        if root is not None:
            return root()
        return function if function is not None else evaluation.context(name)

    return run


def property_of(inner: Node, name: str) -> Node:
    """`inner.name`; of an array the item with that number."""

    def run(evaluation: Evaluation) -> Any:
        evaluation.spend()
        return _within(inner(evaluation), name)

    return run


def item_of(inner: Node, key: Node) -> Node:
    """`inner[key]`."""

    def run(evaluation: Evaluation) -> Any:
        evaluation.spend()
        value, wanted = inner(evaluation), key(evaluation)
        if isinstance(value, Fault):
            return value
        return wanted if isinstance(wanted, Fault) else _within(value, wanted)

    return run


def _within(value: Any, key: Any) -> Any:
    if isinstance(value, list):
        index = integer(key)
        if isinstance(index, Fault):
            return index
        if not -len(value) <= index < len(value):
            return Fault(f"index {index} out of range for {len(value)} items")
        return value[index]
    if isinstance(value, Object):
        return value.get(text(key))
    return value if isinstance(value, Fault) else Fault(f"{kind(value)} has no property '{text(key)[:64]}'")


def call(function: Node, arguments: Sequence[Node]) -> Node:
    """A call. Functions look themselves at arguments that are Faults."""
    given = tuple(arguments)

    def run(evaluation: Evaluation) -> Any:
        evaluation.spend(2)
        called = function(evaluation)
        if isinstance(called, Function):
            return called.call(evaluation, [argument(evaluation) for argument in given])
        return called if isinstance(called, Fault) else Fault(f"{kind(called)} is not a function")

    return run


def function(names: Sequence[str], body: Node) -> Node:
    """A lambda; it keeps the variables around it."""
    wanted = tuple(names)

    def made(evaluation: Evaluation) -> Any:
        around = evaluation.scope

        def called(evaluation: Evaluation, arguments: Sequence[Any]) -> Any:
            if len(arguments) != len(wanted):
                return Fault(f"the function needs {len(wanted)} arguments, got {len(arguments)}")
            if evaluation.calls >= MAX_CALLS:
                raise TooComplex
            evaluation.spend(2 + len(wanted))
            before, evaluation.scope = (
                evaluation.scope,
                {**around, **dict(zip(wanted, arguments, strict=True))},
            )
            evaluation.calls += 1
            try:
                return body(evaluation)
            finally:
                evaluation.scope = before
                evaluation.calls -= 1

        return Function("function", called)

    return made


def negated(inner: Node) -> Node:
    """Unary minus."""

    def run(evaluation: Evaluation) -> Any:
        evaluation.spend()
        found = number(inner(evaluation))
        return found if isinstance(found, Fault) else -found

    return run


def binary(sign: str, left: Node, right: Node) -> Node:
    """A binary operator."""
    if sign == "&":
        return _concatenation(left, right)
    if sign in ("=", "!=", "<>"):
        return _equality(left, right, same=sign == "=")
    if sign in _ORDER:
        return _comparison(left, right, _ORDER[sign])
    return _arithmetic(left, right, _ARITHMETIC[sign])


def _concatenation(left: Node, right: Node) -> Node:
    def run(evaluation: Evaluation) -> Any:
        evaluation.spend()
        first, second = left(evaluation), right(evaluation)
        for value in (first, second):
            if isinstance(value, Fault):
                return value
        evaluation.spend(whole(first) + whole(second))
        made = text(first) + text(second)
        evaluation.spend(len(made) // 100)
        return made if len(made) <= MAX_TEXT else Fault(f"text longer than {MAX_TEXT} characters")

    return run


def _equality(left: Node, right: Node, *, same: bool) -> Node:
    def run(evaluation: Evaluation) -> Any:
        evaluation.spend()
        first, second = left(evaluation), right(evaluation)
        for value in (first, second):
            if isinstance(value, Fault):
                return value
            if isinstance(value, (list, Object, str)):
                evaluation.spend(size(value) // 100)
        return equal(first, second) is same

    return run


def _comparison(left: Node, right: Node, decide: Callable[[int], bool]) -> Node:
    def run(evaluation: Evaluation) -> Any:
        evaluation.spend()
        first, second = left(evaluation), right(evaluation)
        if isinstance(first, date) or isinstance(second, date):
            return _compared_dates(evaluation, first, second, decide)
        low, high = number(first), number(second)
        if isinstance(low, Fault):
            return low
        return high if isinstance(high, Fault) else decide((low > high) - (low < high))

    return run


def _compared_dates(evaluation: Evaluation, first: Any, second: Any, decide: Callable[[int], bool]) -> Any:
    low, high = (dates.datetime_of(value, evaluation.environment) for value in (first, second))
    if isinstance(low, Fault):
        return low
    return high if isinstance(high, Fault) else decide((low > high) - (low < high))


def _arithmetic(left: Node, right: Node, act: Callable[[Decimal, Decimal], Any]) -> Node:
    def run(evaluation: Evaluation) -> Any:
        evaluation.spend()
        first, second = number(left(evaluation)), number(right(evaluation))
        if isinstance(first, Fault):
            return first
        if isinstance(second, Fault):
            return second
        try:
            found = act(first, second)
        except (DecimalException, OverflowError, ValueError):
            return Fault("number out of range")
        return found if isinstance(found, Fault) else checked(found)

    return run


def divided(first: Decimal, second: Decimal) -> Decimal | Fault:
    """A quotient of PLACES places; a Fault for a division by zero."""
    if second == 0:
        return Fault("division by zero")
    found = ARITHMETIC.divide(first, second)
    if found.as_tuple().exponent < -PLACES:  # type: ignore[operator]  # finite: numbers are checked
        found = found.quantize(Decimal(1).scaleb(-PLACES), context=ARITHMETIC)
    return found


def _power(first: Decimal, second: Decimal) -> Decimal | Fault:
    if abs(second) > MAX_EXPONENT:
        return Fault("exponent out of range")
    if first == 0:
        return Fault("division by zero") if second < 0 else Decimal(int(second == 0))
    if first < 0 and second != second.to_integral_value():
        return Fault("root of a negative number")
    if abs(second * (first.copy_abs().adjusted() + 1)) > 3 * MAX_DIGITS + MAX_EXPONENT * 2:
        return Fault("number out of range")
    found = ARITHMETIC.power(first, second)
    if found.as_tuple().exponent < -PLACES:  # type: ignore[operator]  # finite: numbers are checked
        found = found.quantize(Decimal(1).scaleb(-PLACES), context=ARITHMETIC)
    return found


_ARITHMETIC: dict[str, Callable[[Decimal, Decimal], Any]] = {
    "+": ARITHMETIC.add,
    "-": ARITHMETIC.subtract,
    "*": ARITHMETIC.multiply,
    "/": divided,
    "^": _power,
}
_ORDER: dict[str, Callable[[int], bool]] = {
    "<": lambda sign: sign < 0,
    "<=": lambda sign: sign <= 0,
    ">": lambda sign: sign > 0,
    ">=": lambda sign: sign >= 0,
}


def whole(value: Any) -> int:
    """What it costs to write an object out, which shows only when it is done: of the contact's fields it may take
    milliseconds. One that has a value standing for it, as results have, costs nothing."""
    if isinstance(value, list):
        return sum(whole(item) for item in value[:10]) // 2
    return WHOLE if isinstance(value, Object) and value.stands is None else 0


def size(value: Any) -> int:
    """About how many characters a value takes when it is written; what a function pays by. At most MAX_SIZE: lists that
    hold each other many times are not walked to their end."""
    total, ahead = 0, [value]
    while ahead and total < MAX_SIZE:
        item = ahead.pop()
        if isinstance(item, str):
            total += len(item)
        elif isinstance(item, list):
            ahead.extend(item)
            total += 2 * len(item)
        else:
            total += 20 * len(item.values) if isinstance(item, Object) else 8
    return total
