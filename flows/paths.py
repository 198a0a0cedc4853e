"""Ways into an answer: `order.items[0].status` reads one value out of JSON, `items[*].price` a list of them.

Names are parted by points, `[0]` counts from the front and `[-1]` from the back, `[*]` (or `.*`) takes every item of a
list or every value of an object, `["a.b"]` is a name with points in it, `$` is the whole. A way that leads nowhere
gives None. There is nothing to call and nothing to compare, so reading costs what the way and MAX_ITEMS allow.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Final

from domain.errors import RejectedInput
from domain.events import storable

MAX_PATH = 200  # characters of a way
MAX_PARTS = 20  # of a way: deeper answers than this are not read by hand
MAX_ITEMS = 100  # that the stars of one way give: what a message could list
MAX_DEPTH = 20  # of a value that is kept
MAX_INTEGER = 2**63 - 1  # what the databases hold; longer numbers are kept as text

EVERY: Final = "*"  # a part for all items; a name that is a star is written ["*"]
_PART = re.compile(
    r"""\.?(?:(?P<name>[^.\[\]"'*$\s]+)|(?P<star>\*))|\[(?:(?P<index>-?[0-9]{1,6})|(?P<every>\*)|"(?P<quoted>[^"]+)")\]"""
)


class Path:
    """A way that is ready to be gone."""

    __slots__ = ("_parts",)

    def __init__(self, parts: tuple[tuple[str, str | int], ...]) -> None:
        self._parts = parts  # ("name", …), ("index", …) or ("every", "*")

    def read(self, data: Any) -> Any:
        """The value there, made fit to be kept; a list where the way has stars; None where there is nothing."""
        if all(kind != "every" for kind, _ in self._parts):
            return plain(next(_walk(data, self._parts), None))
        found: list[Any] = []
        for value in _walk(data, self._parts):
            found.append(plain(value))
            if len(found) >= MAX_ITEMS:
                break
        return found


def path(source: str, *, where: str) -> Path:
    """The way that a text describes. Raises RejectedInput."""
    if not source or len(source) > MAX_PATH:
        raise RejectedInput(f"a way into the answer has 1 to {MAX_PATH} characters", where=where)
    if source == "$":
        return Path(())
    rest = source.removeprefix("$.") if source.startswith("$.") else source.removeprefix("$")
    parts: list[tuple[str, str | int]] = []
    at = 0
    while at < len(rest):
        found = _PART.match(rest, at)
        if found is None or (found.group().startswith(".") and not parts):
            raise RejectedInput(
                f"{source!r} is no way into an answer; they look like order.items[0].status or items[*].price",
                where=where,
            )
        parts.append(_part(found))
        at = found.end()
        if at < len(rest) and rest[at] not in ".[":
            raise RejectedInput(f"{source!r}: parts are joined by points", where=where)
    if len(parts) > MAX_PARTS:
        raise RejectedInput(f"a way into the answer has at most {MAX_PARTS} parts", where=where)
    return Path(tuple(parts))


def _part(found: re.Match[str]) -> tuple[str, str | int]:
    if found["star"] or found["every"]:
        return "every", EVERY
    if found["index"]:
        return "index", int(found["index"])
    return "name", found["name"] or found["quoted"]


def _walk(data: Any, parts: tuple[tuple[str, str | int], ...]) -> Iterator[Any]:
    """What the rest of a way leads to; lazily, so that a long list costs what is taken of it."""
    if not parts:
        yield data
        return
    (kind, part), rest = parts[0], parts[1:]
    if kind == "every":
        items = data if isinstance(data, list) else data.values() if isinstance(data, dict) else ()
        for item in items:
            yield from _walk(item, rest)
    elif isinstance(data, dict):
        if str(part) in data:
            yield from _walk(data[str(part)], rest)
    elif isinstance(data, list):
        index = part if isinstance(part, int) else int(part) if part.isascii() and part.isdigit() else None
        if index is not None and -len(data) <= index < len(data):
            yield from _walk(data[index], rest)


def plain(value: Any, depth: int = 0) -> Any:
    """A value as the databases hold it: text without NUL, numbers that are numbers, nothing deeper than MAX_DEPTH."""
    match value:
        case str():
            return storable(value)
        case bool() | None:
            return value
        case int():
            return value if -MAX_INTEGER <= value <= MAX_INTEGER else str(value)
        case float():
            return value if math.isfinite(value) else None
        case list() | tuple() | dict() if depth >= MAX_DEPTH:
            return None
        case list() | tuple():
            return [plain(item, depth + 1) for item in value]
        case dict():
            return {storable(str(key)): plain(item, depth + 1) for key, item in value.items()}
        case set() | frozenset():
            return sorted(str(item) for item in value)
        case _:
            return str(value)
