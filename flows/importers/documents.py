"""Writing a document of ours: names that are unique and readable, and YAML as an author would have written it."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import yaml

_NOT_PLAIN = re.compile(r"[^a-z0-9]+")
_MOST = 48  # characters of a made name: leaves room for a number behind it


def slug(text: str) -> str:
    """`Città e gusti` → `citta_e_gusti`; empty when nothing is left of the text."""
    plain = unicodedata.normalize("NFKD", text[:500]).encode("ascii", "ignore").decode().lower()
    return _NOT_PLAIN.sub("_", plain).strip("_")[:_MOST].rstrip("_")


class Names:
    """Unique names: the second `menu` is `menu_2`."""

    def __init__(self, *taken: str) -> None:
        self._taken = set(taken)
        self._next: dict[str, int] = {}

    def take(self, wanted: str) -> str:
        """The name, or the next free one that begins like it."""
        name, number = wanted, self._next.get(wanted, 2)
        while name in self._taken:
            name, number = f"{wanted}_{number}", number + 1
        self._next[wanted] = number
        self._taken.add(name)
        return name


class _Dumper(yaml.SafeDumper):
    """Our YAML has no anchors, and texts of several lines stand as blocks. Not the faster C one: it escapes emoji."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: Any, text: str) -> Any:
    block = "\n" in text and all(line == line.rstrip() for line in text.split("\n")) and text[:1] != " "
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if block else None)


class Line(dict[str, Any]):
    """A mapping that is written on one line: `{id: price, goto: prices}`."""


class Row(list[Any]):
    """A list that is written on one line: `[0, 240]`."""


_Dumper.add_representer(str, _text)
_Dumper.add_representer(
    Line,
    lambda dumper, data: dumper.represent_mapping("tag:yaml.org,2002:map", data.items(), flow_style=True),
)
_Dumper.add_representer(
    Row, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)
)


def written(document: dict[str, Any], heading: list[str]) -> str:
    """The YAML of a document, below lines of comment."""
    comment = "".join(f"# {_plain(line)}\n" for line in heading)
    text: str = yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=False
    )
    return comment + text


def _plain(line: str) -> str:
    """A line of comment: YAML refuses signs that nobody can see, there as well."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in line).split())
