"""How arguments of functions and tests are declared and converted.

A signature names the kind of each: `"text, integer, [text]"`; in `[…]` those that may be missing; `kind*`: any number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flows.excellent import dates
from flows.excellent.environment import Environment
from flows.excellent.values import Fault, Function, Object, integer, kind, number, text, truth

CONVERT: dict[str, Callable[[Any, Environment], Any]] = {
    "any": lambda value, environment: value,
    "text": lambda value, environment: text(value),
    "number": lambda value, environment: number(value),
    "integer": lambda value, environment: integer(value),
    "boolean": lambda value, environment: truth(value),
    "datetime": dates.datetime_of,
    "date": dates.date_of,
    "time": dates.time_of,
    "array": lambda value, environment: _is(list, value, "array"),
    "object": lambda value, environment: _is(Object, value, "object"),
    "function": lambda value, environment: _is(Function, value, "function"),
}


def read_signature(signature: str) -> tuple[list[str], list[str], str]:
    """The kinds that must be there, those that may, and the kind of any number more ("": none)."""
    fixed, optional, rest = [], [], ""
    for part in (part.strip() for part in signature.split(",") if part.strip()):
        if part.endswith("*"):
            rest = part[:-1]
        elif part.startswith("["):
            optional.append(part.strip("[]"))
        else:
            fixed.append(part)
    return fixed, optional, rest


def _is(kind_of: type, value: Any, wanted: str) -> Any:
    return value if isinstance(value, kind_of) else Fault(f"unable to convert {kind(value)} to an {wanted}")
