"""Plain data from libyaml's events (`flows.yaml_reader`, which says what is refused)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from domain.errors import RejectedInput
from flows.yaml_reader import MAX_DEPTH, MAX_ITEMS, MAX_KEY, MAX_SHOWN, MAX_VALUES, Document, Path

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})\Z", re.ASCII)
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})\.[0-9]{1,18}\Z", re.ASCII)
_CONSTANTS = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class Builder:
    """Walks the event stream once; recursion is as deep as MAX_DEPTH at most."""

    def __init__(self, events: Iterator[Any], name: str) -> None:
        self._events = events
        self._name = name
        self._document = Document(None)
        self._count = 0

    def build(self) -> Document:
        """The document. Raises RejectedInput, and the reader's own errors."""
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._document.data = self._value(next(self._events), ())
                break
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                second: Any = event.start_mark
                raise self._refused("only one document in a file", second.line + 1)
        return self._document

    def _value(self, event: Any, path: Path) -> Any:
        line = event.start_mark.line + 1
        if len(path) > MAX_DEPTH:
            raise self._refused(f"nested more than {MAX_DEPTH} levels deep", line)
        self._count += 1
        if self._count > MAX_VALUES:
            raise self._refused(f"at most {MAX_VALUES} values in all", line)
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise self._refused(
                "anchors (&) and aliases (*) are not allowed; a text that begins so needs quotation marks around it",
                line,
            )
        if event.tag is not None and event.tag != "!":
            raise self._refused(f"tags such as {event.tag[:MAX_SHOWN]} are not allowed", line)
        self._document.lines.by_path[path] = line
        if isinstance(event, yaml.ScalarEvent):
            if "\x00" in event.value:  # by an escape: no database keeps it
                raise self._refused("holds the control character U+0000", line)
            return _scalar(event)
        return self._list(path) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(path)

    def _list(self, path: Path) -> list[Any]:
        values: list[Any] = []
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            if len(values) >= MAX_ITEMS:
                raise self._refused(f"a list has at most {MAX_ITEMS} items", event.start_mark.line + 1)
            values.append(self._value(event, (*path, len(values))))
        return values

    def _mapping(self, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            line: int = event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None or event.tag is not None:
                raise self._refused("a key must be a plain text, without tag or anchor", line)
            key = event.value
            if key in values:
                raise self._refused(f"the key {key[:MAX_SHOWN]!r} is given twice", line)
            if len(key) > MAX_KEY:
                raise self._refused(f"a key has at most {MAX_KEY} characters", line)
            if len(values) >= MAX_ITEMS:
                raise self._refused(f"a mapping has at most {MAX_ITEMS} keys", line)
            values[key] = self._value(next(self._events), (*path, key))
            self._document.lines.by_path[(*path, key)] = line
        return values

    def _refused(self, what: str, line: int) -> RejectedInput:
        return RejectedInput(what, where=f"{self._name}, line {line}")


def _scalar(event: Any) -> Any:
    text: str = event.value
    if not event.implicit[0]:  # quoted, or a block: text
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.match(text):
        return int(text)
    # a decimal that a float would spell otherwise (5.50, thirty digits) stays as it was written
    return float(text) if _DECIMAL.match(text) and repr(float(text)) == text else text
