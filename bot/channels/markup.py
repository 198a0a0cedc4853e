"""Our light markup, and what channels make of it: `*bold*`, `_italic_`, `~struck~`, `` `code` ``, `\\*` for a star.

A mark opens before a non-blank and after anything but a letter or digit; it closes after a non-blank and before
anything but a letter or digit, on the same line. So `snake_case`, `2*3*4` and a URL's underscores stay as they
are. A mark without its other half stands for itself: no text is ever refused or lost. Nothing nests inside code.
"""

from __future__ import annotations

import re
from enum import Enum
from html import escape

_TAGS = {"*": "b", "_": "i", "~": "s", "`": "code"}
_SPECIAL = re.compile(r"[*_~`\\]")
_SPECIAL_OR_LINE = re.compile(r"[*_~`\\\n]")
_ESCAPABLE = frozenset("*_~`\\")
# WhatsApp knows no escape. A star that must not make bold becomes a character that looks like one.
_LOOK_ALIKE = {"*": "\u2217", "_": "\uff3f", "~": "\u223c", "`": "\u02cb"}


class _Role(Enum):
    """What one character of the text does."""

    opens = 1
    closes = 2
    escapes = 3  # a backslash: it goes, and the next character stands for itself


def to_html(text: str) -> str:
    """Telegram's HTML: `*a* < b` -> `<b>a</b> &lt; b`."""
    if not _SPECIAL.search(text):
        return escape(text, quote=False)
    parts: list[str] = []
    start = 0
    for at, role in _roles(text):
        parts.append(escape(text[start:at], quote=False))
        if role is not _Role.escapes:
            parts.append(f"<{'' if role is _Role.opens else '/'}{_TAGS[text[at]]}>")
        start = at + 1
    parts.append(escape(text[start:], quote=False))
    return "".join(parts)


def to_plain(text: str) -> str:
    """What a person reads, without any marks: for lengths, previews and channels without markup."""
    if not _SPECIAL.search(text):
        return text
    parts: list[str] = []
    start = 0
    for at, _ in _roles(text):
        parts.append(text[start:at])
        start = at + 1
    parts.append(text[start:])
    return "".join(parts)


def to_marks(text: str) -> str:
    """WhatsApp's marks, which are ours but for code (three backquotes) and for the lack of an escape."""
    if not _SPECIAL.search(text):
        return text
    roles = dict(_roles(text))
    shown: list[str] = []
    literal: set[int] = set()  # positions in `shown` whose mark was escaped
    code: set[int] = set()
    for at, char in enumerate(text):
        role = roles.get(at)
        if role is _Role.escapes:
            literal.add(len(shown))
            continue
        if role is not None and char == "`":
            code.add(len(shown))
        shown.append(char)
    return "".join("```" if at in code else char for at, char in enumerate(_without_pairs(shown, literal)))


def literal_marks(text: str) -> str:
    """Text without markup of ours, such that WhatsApp shows its marks instead of obeying them."""
    if not _SPECIAL.search(text):
        return text
    return "".join(_without_pairs(list(text), set(range(len(text)))))


def _without_pairs(shown: list[str], literal: set[int]) -> list[str]:
    """The characters, with look-alikes for those literal ones that WhatsApp would read as marks."""
    for pair in _pairs("".join(shown), escapes=False)[0]:
        for at in pair:
            if at in literal:
                shown[at] = _LOOK_ALIKE[shown[at]]
    return shown


def _roles(text: str) -> list[tuple[int, _Role]]:
    """Position and role of each character that is not plain text, in order."""
    pairs, escapes = _pairs(text, escapes=True)
    roles = [(at, _Role.escapes) for at in escapes]
    for opening, closing in pairs:
        roles.append((opening, _Role.opens))
        roles.append((closing, _Role.closes))
    roles.sort(key=_position)
    return roles


def _position(role: tuple[int, _Role]) -> int:
    return role[0]


def _pairs(text: str, *, escapes: bool) -> tuple[list[tuple[int, int]], list[int]]:
    """Positions of marks that belong together, properly nested, and of backslashes that escape something.

    One pass over the special characters: linear in the length of the text, whatever it holds.
    """
    pairs: list[tuple[int, int]] = []
    backslashes: list[int] = []
    waiting: list[int] = []  # opening marks, innermost last
    count = dict.fromkeys(_TAGS, 0)  # of each mark in `waiting`: a search there always finds
    skip = -1
    for found in _SPECIAL_OR_LINE.finditer(text):
        at, char = found.start(), found.group()
        if at == skip:
            continue
        if char == "\n":
            waiting.clear()
            count = dict.fromkeys(_TAGS, 0)
        elif char == "\\":
            if escapes and text[at + 1 : at + 2] in _ESCAPABLE:
                backslashes.append(at)
                skip = at + 1
        elif count[char] and _closes(text, at):
            opening = _take(text, waiting, count, char)
            if char == "`":  # nothing nests inside code
                while pairs and pairs[-1][0] > opening:
                    pairs.pop()
            pairs.append((opening, at))
        elif _opens(text, at):
            waiting.append(at)
            count[char] += 1
    return pairs, backslashes


def _take(text: str, waiting: list[int], count: dict[str, int], mark: str) -> int:
    while True:  # marks in between found no other half: they stand for themselves
        opening = waiting.pop()
        count[text[opening]] -= 1
        if text[opening] == mark:
            return opening


def _opens(text: str, at: int) -> bool:
    after = text[at + 1 : at + 2]
    return bool(after) and not after.isspace() and not text[at - 1 : at].isalnum()


def _closes(text: str, at: int) -> bool:
    before = text[at - 1]
    return not before.isspace() and before != text[at] and not text[at + 1 : at + 2].isalnum()
