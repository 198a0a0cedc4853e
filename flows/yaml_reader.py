"""YAML by the rules of version 1.2, with limits, and with the line of every value kept for error messages.

We take libyaml's event stream and build plain data ourselves, because the usual loaders read `no` as false, `22:30`
as 1350 and `012` as 10, resolve tags and follow aliases. Here:

* plain `true`, `false`, `null`, `~`, empty, whole and decimal numbers without leading zeros are values; everything
  else, and everything quoted, is text; keys are always text;
* refused with their line: tags, anchors and aliases, a key given twice, a second document, control characters, more
  than `MAX_DEPTH` levels, `MAX_VALUES` values, `MAX_ITEMS` in one list or mapping, `MAX_SIZE` characters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from domain.errors import RejectedInput

MAX_SIZE = 1_000_000  # characters: a thousand steps in three languages need a third of it
MAX_DEPTH = 40  # levels: conditions (16) inside a step leave room
MAX_VALUES = 50_000  # values and keys in all: a thousand steps of fifty each, three times what real ones have
MAX_ITEMS = 2_000  # of one list or mapping: twice the steps of a flow
MAX_KEY = 1_000  # characters of a key: paths into the answers of services are the longest
MAX_SHOWN = 60  # characters of what was written that a message repeats
Path = tuple[str | int, ...]

# What YAML 1.2 calls printable (5.1); all else is no text.
_ODD = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Lines:
    """Where each path of a document stands, lines counted from 1."""

    by_path: dict[Path, int] = field(default_factory=dict)

    def of(self, *path: str | int) -> int:
        """The line of a path or of the nearest thing around it."""
        while path and path not in self.by_path:
            path = path[:-1]
        return self.by_path.get(path, 1)


@dataclass(slots=True)
class Document:
    """Plain data (dict, list, str, int, float, bool, None) and the lines of everything in it."""

    data: Any
    lines: Lines = field(default_factory=Lines)

    def line(self, path: Path) -> int:
        """The line of a path or of the nearest thing around it."""
        return self.lines.of(*path)


def read(text: str, *, name: str) -> Document:
    """The document in a text. `name` (a file's name) opens the `where` of errors.

    Raises RejectedInput with `where` = `name, line n`.
    """
    if len(text) > MAX_SIZE:
        raise RejectedInput(f"at most {MAX_SIZE} characters", where=_place(name, text, MAX_SIZE))
    odd = _ODD.search(text)
    if odd is not None:
        raise RejectedInput(_oddity(odd[0]), where=_place(name, text, odd.start()))
    import yaml  # a thirtieth of a server's start, which reads none

    from flows.yaml_builder import Builder

    try:
        return Builder(yaml.parse(text, Loader=yaml.CSafeLoader), name).build()
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark
        where = f"{name}, line {mark.line + 1}" if mark else name
        said = _plain(str(error.problem or error.context), _line_of(text, mark))
        raise RejectedInput(f"not readable as YAML: {said}", where=where) from None
    except yaml.YAMLError as error:
        raise RejectedInput(f"not readable as YAML: {str(error).splitlines()[0]}", where=name) from None


def _place(name: str, text: str, at: int) -> str:
    return f"{name}, line {text.count(chr(10), 0, at) + 1}"


def _line_of(text: str, mark: Any) -> str:
    lines = text.splitlines()
    return lines[mark.line] if mark and mark.line < len(lines) else ""


def _plain(problem: str, line: str) -> str:
    """What is most likely the matter, for those who do not know YAML's words; with the reader's own words behind it."""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "lines are indented with spaces, not with tabs"
    for words, meaning in _MEANINGS.items():
        if words in problem:
            return f"{meaning} ({problem})"
    return problem


_QUOTE = "a text with a comma, a colon or quotation marks in it needs quotation marks around it"
_INDENT = "this line, or one just above it, is not indented like its neighbours"
_MEANINGS = {
    "mapping values are not allowed": "a text with a colon in it needs quotation marks around it",
    "expected ',' or '}'": f"between {{ and }} {_QUOTE}, and the }} must be there",
    "expected ',' or ']'": f"between [ and ] {_QUOTE}, and the ] must be there",
    "expected key": _INDENT,
    "expected <block end>": _INDENT,
    "expected '-' indicator": _INDENT,
    "find expected ':'": "a key without a colon behind it, or a text of several lines without quotation marks",
    "unexpected end of stream": "a quotation mark is never closed",
    "cannot start any token": "a text that begins with this sign needs quotation marks around it",
    "alphabetic or numeric": "a text that begins with * or & needs quotation marks around it",
}


def _oddity(sign: str) -> str:
    if "\ud800" <= sign <= "\udfff":
        return "holds half of a character pair (a lone surrogate)"
    return f"not readable as YAML: holds the control character U+{ord(sign):04X}"
