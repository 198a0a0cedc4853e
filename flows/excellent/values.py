"""Values of the expression language: what there is, how one kind becomes another, how each is written.

Text is `str`, a number `Decimal`, true and false `bool`, a date, datetime (always aware) or time that of Python, an
array a `list`, nothing `None`. `Object` has named properties and perhaps a value that stands for the whole,
`Function` can be called, `Fault` is an error: a value like others, that a function which meets it hands on.

Conversions give a Fault where there is no sensible reading; they never raise. A text of a value has at most MAX_TEXT
characters, a number less than MAX_DIGITS digits, an array or object at most MAX_ITEMS items.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.excellent.evaluation import Evaluation

MAX_TEXT = 10_000  # characters: RapidPro's limit of a template, too
MAX_ITEMS = 1_000  # of an array or object
MAX_DIGITS = 36  # before the point, and significant ones: RapidPro's limit, too
MAX_NESTED = 20  # arrays and objects within each other, when they are written or compared
PLACES = 16  # of a quotient

ARITHMETIC = Context(prec=MAX_DIGITS + PLACES, rounding=ROUND_HALF_UP, Emax=999, Emin=-999)
_NUMBER = re.compile(r"-?(?:[0-9]{1,60}(?:\.[0-9]{0,60})?|\.[0-9]{1,60})\Z", re.ASCII)
_TOO_BIG = Decimal(10) ** MAX_DIGITS


class Fault:
    """An error as a value. Written as nothing."""

    __slots__ = ("what",)

    def __init__(self, what: str) -> None:
        self.what = what[:300]

    def __repr__(self) -> str:
        return f"Fault({self.what!r})"


class Function:
    """Something that can be called with values: a built-in function or a lambda."""

    __slots__ = ("call", "name")

    def __init__(self, name: str, call: Callable[[Evaluation, Sequence[Any]], Any]) -> None:
        self.name = name
        self.call = call


class Object:
    """Named properties; the case of a name does not matter. `default` (or what that function gives) stands for the
    whole. What is read of `values` may have to be made first: they
    are functions without arguments (`lazy`) or plain data (`raw`). `dynamic`: a property that is not there is nothing
    in place of a Fault."""

    __slots__ = ("_default", "_folded", "dynamic", "lazy", "raw", "values")

    def __init__(
        self,
        values: Mapping[str, Any],
        *,
        default: Any = None,
        dynamic: bool = False,
        lazy: bool = False,
        raw: bool = False,
    ) -> None:
        self.values = values
        self._default = default
        self.dynamic = dynamic
        self.lazy = lazy
        self.raw = raw
        self._folded: dict[str, str] | None = None

    @property
    def default(self) -> Any:
        """The value that stands for the whole; None when there is none."""
        return self._default() if callable(self._default) else self._default

    @property
    def stands(self) -> Any:
        """The same as data: one that is made by a function only says how the properties are written together."""
        return None if callable(self._default) else self._default

    def get(self, name: str) -> Any:
        """The property's value; a Fault when there is none."""
        found = name if name in self.values else self._other_case(name)
        if found is None:
            return None if self.dynamic else Fault(f"object has no property '{name[:64]}'")
        value = self.values[found]
        if self.raw:
            return lift(value)
        return value() if self.lazy else value

    def has(self, name: str) -> bool:
        """Whether there is such a property."""
        return name in self.values or self._other_case(name) is not None

    def names(self) -> list[str]:
        """The properties, sorted."""
        return sorted(self.values)[:MAX_ITEMS]

    def items(self) -> Iterator[tuple[str, Any]]:
        """Each name and value."""
        for name in self.names():
            yield name, self.get(name)

    def _other_case(self, name: str) -> str | None:
        if self._folded is None:
            self._folded = {key.lower(): key for key in list(self.values)[:MAX_ITEMS]}
        return self._folded.get(name.lower())


def lift(value: Any, depth: int = 0) -> Any:
    """A value of the language from plain data (JSON's, and dates)."""
    match value:
        case None | bool() | str() | Decimal() | date() | time() | Object() | Function() | Fault():
            return value[:MAX_TEXT] if isinstance(value, str) else value
        case int():
            return checked(Decimal(value)) if abs(value) < 10**MAX_DIGITS else Fault("number out of range")
        case float():
            return _decimal(repr(value))
        case _ if depth >= MAX_NESTED:
            return Fault("nested too deep")
        case dict():
            kept = {str(key): item for key, item in list(value.items())[:MAX_ITEMS]}
            return Object({key: lift(item, depth + 1) for key, item in kept.items()})
        case set() | frozenset():
            return [lift(item, depth + 1) for item in sorted(value, key=str)[:MAX_ITEMS]]
        case list() | tuple():
            return [lift(item, depth + 1) for item in value[:MAX_ITEMS]]
    return str(value)[:MAX_TEXT]


def plain(value: Any) -> Any:
    """The value as plain data that JSON can hold, of at most MAX_ITEMS parts; nothing for faults and functions."""
    return _plain(value, [MAX_ITEMS], 0)


def _plain(value: Any, left: list[int], depth: int) -> Any:
    left[0] -= 1
    if left[0] < 0 or depth >= MAX_NESTED:
        return None
    match value:
        case None | bool() | str() | int() | float():
            return value
        case Decimal():
            return int(value) if value == value.to_integral_value() and abs(value) < 2**53 else float(value)
        case date() | time():
            return text(value)
        case list():
            return [_plain(item, left, depth + 1) for item in value]
        case Object() if value.stands is not None:
            return _plain(value.stands, left, depth + 1)
        case Object():
            return {name: _plain(item, left, depth + 1) for name, item in value.items()}
        case dict():
            return {str(name): _plain(item, left, depth + 1) for name, item in value.items()}
    return None


def checked(value: Decimal) -> Decimal | Fault:
    """The number within our bounds, else a Fault."""
    if not value.is_finite() or abs(value) >= _TOO_BIG:
        return Fault("number out of range")
    return value


def text(value: Any, depth: int = 0) -> str:
    """How a value is written. Nothing for nothing and for a Fault; an object by the value that stands for it."""
    match value:
        case str():
            return value
        case None | Fault():
            return ""
        case bool():
            return "true" if value else "false"
        case Decimal():
            return _digits(value)
        case datetime():
            return iso(value)
        case date():
            return value.isoformat()
        case time():
            return value.strftime("%H:%M:%S.%f")
        case Function():
            return value.name
        case Object() if value.default is not None:
            return text(value.default, depth + 1)
        case _ if depth >= MAX_NESTED:
            return "…"
        case list():
            return "[" + _joined(text(item, depth + 1) for item in value) + "]"
        case Object():
            return "{" + _joined(f"{name}: {text(item, depth + 1)}" for name, item in value.items()) + "}"
    return str(value)


def _joined(parts: Iterable[str]) -> str:
    """Parts with commas between; no more of them than a text may hold."""
    kept, length = [], 0
    for part in parts:
        kept.append(part)
        length += len(part) + 2
        if length > MAX_TEXT:
            break
    return ", ".join(kept)[:MAX_TEXT]


def iso(moment: datetime) -> str:
    """`2026-12-05T10:00:00.000000+01:00`; UTC is Z."""
    offset = moment.utcoffset()
    if not offset:
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
    return moment.isoformat(timespec="microseconds")


def _digits(value: Decimal) -> str:
    """Without zeros at the end and without an exponent."""
    shown = format(value, "f")
    if "." in shown:
        shown = shown.rstrip("0").rstrip(".")
    return "0" if shown in ("-0", "") else shown


def number(value: Any) -> Decimal | Fault:
    """The number that a value is or spells."""
    match value:
        case Decimal():
            return value
        case bool():
            return Fault(f"unable to convert {text(value)} to a number")
        case str():
            found = _decimal(value.strip()) if _NUMBER.match(value.strip()) else None
            return Fault(f'unable to convert "{value[:64]}" to a number') if found is None else found
        case Object() if value.default is not None:
            return number(value.default)
        case Fault():
            return value
    return Fault(f"unable to convert {kind(value)} to a number")


def _decimal(spelled: str) -> Decimal | Fault:
    try:
        return checked(ARITHMETIC.create_decimal(spelled))
    except InvalidOperation:
        return Fault("number out of range")


def integer(value: Any) -> int | Fault:
    """The whole number that a value is or spells, without its fraction."""
    found = number(value)
    if isinstance(found, Fault):
        return found
    return int(found) if abs(found) < 2**53 else Fault("number out of range")


def truth(value: Any) -> bool | Fault:
    """Whether a value counts as true: nothing, "", "false", 0 and what is empty do not."""
    match value:
        case bool() | Fault():
            return value
        case None:
            return False
        case str():
            return value != "" and value.strip().lower() != "false"
        case Decimal():
            return value != 0
        case list():
            return bool(value)
        case Object() if value.default is not None:
            return truth(value.default)
        case Object():
            return bool(value.values)
    return True


def equal(left: Any, right: Any) -> bool:
    """Whether two values are written alike."""
    if isinstance(left, Decimal) and isinstance(right, Decimal):
        return left == right
    return text(left) == text(right)


def kind(value: Any) -> str:
    """What a value is, in a word."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "text"
        case Decimal():
            return "number"
        case datetime():
            return "datetime"
        case date():
            return "date"
        case time():
            return "time"
        case list():
            return "array"
        case Function():
            return "function"
        case Fault():
            return "error"
    return "object"


def to_json(value: Any) -> str | Fault:
    """JSON of a value, without spaces, names sorted; `null` for a function and a Fault."""
    parts: list[str] = []
    left = _written(value, parts, MAX_TEXT, 0)
    return "".join(parts) if left >= 0 else Fault(f"text longer than {MAX_TEXT} characters")


def _written(value: Any, parts: list[str], left: int, depth: int) -> int:
    """Appends the JSON of a value; gives the characters that are left, less than 0 when it was too long."""
    if left < 0:
        return left
    match value:
        case list() if depth < MAX_NESTED:
            return _written_items([("", item) for item in value], "[]", parts, left, depth)
        case Object() if depth < MAX_NESTED:
            named = [(json.dumps(name, ensure_ascii=False) + ":", item) for name, item in value.items()]
            return _written_items(named, "{}", parts, left, depth)
        case bool() | Decimal():
            shown = text(value)
        case str():
            shown = json.dumps(value, ensure_ascii=False)
        case date() | time():
            shown = json.dumps(text(value))
        case _:
            shown = "null"
    parts.append(shown)
    return left - len(shown)


def _written_items(items: list[tuple[str, Any]], around: str, parts: list[str], left: int, depth: int) -> int:
    parts.append(around[0])
    left -= 2
    for number, (name, item) in enumerate(items):
        start = f",{name}" if number else name
        parts.append(start)
        left = _written(item, parts, left - len(start), depth + 1)
        if left < 0:
            break
    parts.append(around[1])
    return left


def aware(moment: datetime) -> datetime:
    """The moment with a zone: UTC where it has none."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
