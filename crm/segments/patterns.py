"""RE2 patterns as PostgreSQL's: for segments there, which cannot call RE2.

Translates what both engines have with the meaning of RE2 (ASCII classes, `.` without line ends, ASCII word
boundaries); what is left out (Unicode classes, named groups, flags inside, counts beyond 255) is refused with a clear
sentence, and still works in flows. Greediness does not matter for "found or not". Which pattern is safe was decided
before, by RE2; PostgreSQL's engine needs no backtracking for what is translated.
"""

from __future__ import annotations

import re

from domain.errors import RejectedInput

MAX_COUNT = 255  # PostgreSQL's limit

_COUNT = re.compile(r"\{(\d+)(,(\d*))?\}")
_POSIX = re.compile(r"\[:(\^?)([a-z]+):\]")
_CLASSES = {"d": "0-9", "w": "0-9A-Za-z_", "s": r"\t\n\f\r "}
_POSIX_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "digit": "0-9",
    "lower": "a-z",
    "upper": "A-Z",
    "space": r"\t\n\v\f\r ",
    "xdigit": "0-9A-Fa-f",
    "word": "0-9A-Za-z_",
}
_WORD = f"[{_CLASSES['w']}]"
_BOUNDARY = f"(?:(?<!{_WORD})(?={_WORD})|(?<={_WORD})(?!{_WORD}))"
_NO_BOUNDARY = f"(?:(?<={_WORD})(?={_WORD})|(?<!{_WORD})(?!{_WORD}))"
_SIMPLE = {"A": "^", "z": "$", "n": r"\n", "t": r"\t", "r": r"\r", "f": r"\f", "v": r"\v", "b": _BOUNDARY}
_SIMPLE |= {"B": _NO_BOUNDARY, **{letter: f"[{items}]" for letter, items in _CLASSES.items()}}
_SIMPLE |= {letter.upper(): f"[^{items}]" for letter, items in _CLASSES.items()}


def postgresql_pattern(pattern: str) -> str:
    """The same pattern for PostgreSQL's `~`. Raises RejectedInput for what cannot be said there."""
    prefix, at = ("(?i)", 4) if pattern.startswith("(?i)") else ("", 0)
    out: list[str] = []
    while at < len(pattern):
        piece, at = _next(pattern, at)
        out.append(piece)
    return prefix + "".join(out)


def _next(pattern: str, at: int) -> tuple[str, int]:
    char = pattern[at]
    if char == "\\":
        return _escape(pattern, at)
    if char == "[":
        return _class(pattern, at)
    if char == "(":
        if pattern.startswith("(?", at) and not pattern.startswith("(?:", at):
            raise _refused("groups with names or flags")
        return "(?:", at + (3 if pattern.startswith("(?:", at) else 1)
    if char == "{":
        count = _COUNT.match(pattern, at)
        if count is None:
            return r"\{", at + 1
        if max(int(count[1]), int(count[3] or 0)) > MAX_COUNT:
            raise _refused(f"repetitions beyond {MAX_COUNT}")
        return count[0], count.end()
    if char == ".":
        return r"[^\n]", at + 1
    if char in ")|^$*+?":
        return char, at + 1
    return _literal(char), at + 1


def _escape(pattern: str, at: int) -> tuple[str, int]:
    char = pattern[at + 1]
    if char in _SIMPLE:
        return _SIMPLE[char], at + 2
    if char.isascii() and not char.isalnum():
        return _literal(char), at + 2
    raise _refused(f"\\{char}")


def _class(pattern: str, at: int) -> tuple[str, int]:
    at += 1
    out = ["["]
    if pattern.startswith("^", at):
        out.append("^")
        at += 1
    first = True
    while first or pattern[at] != "]":
        first = False
        posix = _POSIX.match(pattern, at)
        if posix is not None:
            if posix[1] or posix[2] not in _POSIX_CLASSES:
                raise _refused(posix[0])
            out.append(_POSIX_CLASSES[posix[2]])
            at = posix.end()
        elif pattern[at] == "\\":
            char = pattern[at + 1]
            if char in _CLASSES:
                out.append(_CLASSES[char])
            elif char in "ntrfv" or (char.isascii() and not char.isalnum()):
                out.append(f"\\{char}")
            else:
                raise _refused(f"[\\{char}]")
            at += 2
        else:
            char = pattern[at]
            out.append(char if char == "-" else _literal(char))
            at += 1
    return "".join(out) + "]", at + 1


def _literal(char: str) -> str:
    return f"\\{char}" if char.isascii() and not char.isalnum() and char not in " _\n\t\r" else char


def _refused(what: str) -> RejectedInput:
    return RejectedInput(f"patterns with {what} cannot be used in segments", where="value")
