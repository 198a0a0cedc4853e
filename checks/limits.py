"""The limits of the product (I7): `docs/reference/limits.md` is made from this list and from the constants in the code.

A line of `limits.txt` is `file NAME | what is counted, with its unit | what happens past it | why so much`. The number
is read from the code, and so is the reason where the line gives none (the comment beside the constant). A constant
whose name says that it is a limit and that stands in no line breaks `make check`; so does a line whose constant is
gone.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOMS = ("config", "domain", "flows", "storage", "crm", "bot", "campaigns", "webhooks", "console", "api")
_SAYS_SO = re.compile(
    r"MAX_\w+|(\w+_)?LIMIT(_\w+)?|QUEUE_\w+|POOL|\w+_LIFE_MS|AT_ONCE|IN_FLIGHT|READY|AHEAD|(\w+_)?CONNECTIONS"
    r"|\w+_TIMEOUT_M?S|ROUND|SLICE|\w+_(RATE|BURST)"
)

HEAD = """# Limits

<!-- Generated from checks/limits.txt and the constants in the code by `make docs`. -->

Every queue, body, connection, file, template and wait ends somewhere. This page says where, why there, and what happens
past it. None of it is a setting: a number that somebody has to tune is a number that somebody gets wrong. Where a limit
of ours follows one of the platforms', the reason says so.

"Come back" is 503 or 429 with `Retry-After`: platforms deliver again, programs wait. Nothing that was acknowledged is
dropped at any of these limits.
"""

TABLE = Path(__file__).with_suffix(".txt")


@dataclass(frozen=True)
class Limit:
    """A line of the list; `value` is None when the constant is not there."""

    file: str
    name: str
    what: str
    past: str
    why: str
    value: object


def problems(root: Path) -> Iterator[str]:
    listed = {(one.file, one.name): one for _, limits in sections(root) for one in limits}
    for (file, name), one in listed.items():
        if one.value is None:
            yield f"checks/limits.txt names {name} of {file}, which is not there"
        elif not one.why:
            yield f"{file}: {name} has no reason, neither here nor in checks/limits.txt"
    for file in files(root):
        for name in constants(root / file):
            if _SAYS_SO.fullmatch(name.lstrip("_")) and (file, name) not in listed:
                yield f"{file}: the limit {name} stands in no line of checks/limits.txt"


def page(root: Path) -> str:
    """docs/reference/limits.md."""
    parts = [HEAD]
    for title, limits in sections(root):
        parts.append(f"\n## {title}\n\n| what | limit | past it | why | where |\n|---|---|---|---|---|\n")
        parts += [
            f"| {one.what} | {shown(one.name, one.value)} | {one.past} | {one.why} | `{one.file}` `{one.name}` |\n"
            for one in limits
        ]
    return "".join(parts)


def sections(root: Path) -> Iterator[tuple[str, list[Limit]]]:
    """The list by subject, with numbers and reasons from the code."""
    for part in TABLE.read_text().strip().split("\n# "):
        title, *lines = part.removeprefix("# ").splitlines()
        yield title, [_limit(root, line) for line in lines if line]


def _limit(root: Path, line: str) -> Limit:
    where, what, past, *why = (cell.strip() for cell in line.split("|"))
    file, name = where.split()
    value, comment = constants(root / file).get(name, (None, "")) if (root / file).exists() else (None, "")
    return Limit(file, name, what, past, why[0] if why else _reason(comment), value)


def _reason(comment: str) -> str:
    """The reason in a comment `characters: what a chat message holds`; one without such a mark is all reason."""
    return re.split(r"(?<=\w)[:;] ", comment, maxsplit=1)[-1]


def files(root: Path) -> Iterator[str]:
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path.relative_to(root).as_posix()


@cache
def constants(path: Path) -> dict[str, tuple[object, str]]:
    """Module-level constants that are numbers: name → (value, the comment on its line)."""
    source = path.read_text()
    lines = source.splitlines()
    known: dict[str, Any] = {"Rate": lambda per_second, burst: (per_second, burst)}
    found: dict[str, tuple[object, str]] = {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign) or len(node.targets) != 1:
            continue
        target = node.targets[0]
        names = [one.id for one in getattr(target, "elts", [target]) if isinstance(one, ast.Name)]
        value = _evaluated(node.value, known)
        values = value if isinstance(target, ast.Tuple) and isinstance(value, tuple) else (value,)
        if len(names) != len(values) or not all(map(_is_number, values)):
            continue
        comment = " ".join(
            line.partition("# ")[2].strip()
            for line in lines[node.lineno - 1 : node.end_lineno]
            if "# " in line
        )
        known.update(zip(names, values, strict=True))
        found.update({name: (one, comment) for name, one in zip(names, values, strict=True)})
    return found


def _evaluated(node: ast.expr, known: dict[str, Any]) -> object:
    try:  # arithmetic over the constants before it; anything else is no number
        return eval(compile(ast.Expression(node), "", "eval"), {"__builtins__": {}}, known)  # noqa: S307 (our own code)
    except Exception:
        return None


def _is_number(value: object) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(map(_is_number, value))
    return isinstance(value, int | float) and not isinstance(value, bool)


_SPANS = ((86_400_000, "days"), (3_600_000, "hours"), (60_000, "minutes"), (1_000, "s"), (1, "ms"))


def shown(name: str, value: object) -> str:
    """A number as people read it: `MAX_BODY` 4000000 → `4,000,000`, `ORPHAN_LIFE_MS` 600000 → `10 minutes`."""
    if isinstance(value, tuple):
        return ", ".join(shown(name, one) for one in value)
    assert isinstance(value, int | float)
    if name.endswith(("_MS", "_S")):
        ms = value if name.endswith("_MS") else value * 1000
        length, word = next((one for one in _SPANS if ms >= 2 * one[0] or one[0] == 1000 <= ms), _SPANS[-1])
        return f"{ms / length:g} {word}"
    return f"{int(value):,}" if value == int(value) else f"{value:g}"
