"""Reading somebody else's JSON: the text with limits, and a view that checks the type of everything it hands out.

An export comes from anywhere. Whatever is missing or of the wrong type is refused with its path
(`flows[0].nodes[3].router.cases[1].type must be a text`), so that what lies behind never meets a surprise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from domain.errors import RejectedInput
from domain.events import storable

MAX_DEPTH = 60  # levels; the deepest known export has fourteen


def parse(text: str) -> Any:
    """The data in a JSON text. Raises RejectedInput for what is no JSON or nested deeper than MAX_DEPTH."""
    try:
        data = json.loads(text.removeprefix("\ufeff"), parse_constant=_no_number)
    except RecursionError:
        raise RejectedInput(f"nested more than {MAX_DEPTH} levels deep", where="file") from None
    except ValueError as error:
        raise RejectedInput(f"not readable as JSON: {error}", where="file") from None
    if _deeper(data, MAX_DEPTH):
        raise RejectedInput(f"nested more than {MAX_DEPTH} levels deep", where="file")
    return data


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is not a number")


def _deeper(data: Any, limit: int) -> bool:
    level = [data]
    for _ in range(limit + 1):
        level = [inner for each in level if isinstance(each, (dict, list)) for inner in _inside(each)]
        if not level:
            return False
    return True


def _inside(data: Any) -> Iterator[Any]:
    return iter(data.values() if isinstance(data, dict) else data)


def refused(where: str, what: str) -> RejectedInput:
    """The refusal of a place."""
    return RejectedInput(what, where=where)


class Item:
    """An object of the source with its path. Every reading checks the type; what may be absent has a default."""

    __slots__ = ("data", "where")

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, dict):
            raise refused(where, "must be an object")
        self.data: dict[str, Any] = data
        self.where = where

    def at(self, key: str) -> str:
        """The path of a key."""
        return f"{self.where}.{key}" if self.where else key

    def text(self, key: str, default: str | None = None) -> str:
        """A text; without a default it must be there. A number counts as the text it is written with."""
        value = self.data.get(key)
        if value is None and default is not None:
            return default
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise refused(self.at(key), "must be a text" if key in self.data else "is missing")
        return storable(value)

    def number(self, key: str, default: float = 0) -> float:
        """A number, also one in a text."""
        value = self.data.get(key)
        if value is None or value == "":
            return default
        try:
            if isinstance(value, bool) or not -1e15 < float(value) < 1e15:
                raise ValueError
        except (TypeError, ValueError):
            raise refused(self.at(key), "must be a number") from None
        return float(value)

    def flag(self, key: str) -> bool:
        """True or false; absent is false."""
        value = self.data.get(key)
        if value is not None and not isinstance(value, bool):
            raise refused(self.at(key), "must be true or false")
        return bool(value)

    def object(self, key: str) -> Item | None:
        """An object, or None when there is none."""
        value = self.data.get(key)
        return None if value is None else Item(value, self.at(key))

    def entries(self, key: str) -> list[Any]:
        """A list; absent is empty."""
        value = self.data.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise refused(self.at(key), "must be a list")
        return value

    def objects(self, key: str, most: int | None = None) -> list[Item]:
        """A list of objects, at most so many."""
        found = self.entries(key)
        if most is not None and len(found) > most:
            raise refused(self.at(key), f"has {len(found)} entries; at most {most}")
        return [Item(each, f"{self.at(key)}[{number}]") for number, each in enumerate(found)]

    def texts(self, key: str, most: int | None = None) -> list[str]:
        """A list of texts, at most so many."""
        found = self.entries(key)
        if most is not None and len(found) > most:
            raise refused(self.at(key), f"has {len(found)} entries; at most {most}")
        return [Item({"": each}, f"{self.at(key)}[{number}]")._plain() for number, each in enumerate(found)]

    def mapping(self, key: str) -> dict[str, str]:
        """An object whose values are texts; absent is empty."""
        inner = self.object(key)
        return {storable(name): inner.text(name, "") for name in inner.data} if inner else {}

    def _plain(self) -> str:
        value = self.data[""]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise refused(self.where, "must be a text")
        return storable(value)
