"""Our light markup, and what channels make of it: `*bold*`, `_italic_`, `~struck~`, `` `code` ``, `\\*` for a star.

A mark opens before a non-blank and after anything but a letter or digit; it closes after a non-blank and before
anything but a letter or digit, on the same line. So `snake_case`, `2*3*4` and a URL's underscores stay as they
are. A mark without its other half stands for itself: no text is ever refused or lost. Nothing nests inside code.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_TAGS = {"*": "b", "_": "i", "~": "s", "`": "code"}
_SPECIAL = re.compile(r"[*_~`\\]")
_ESCAPABLE = frozenset("*_~`\\")
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
# WhatsApp knows no escape. A star that must not make bold becomes a character that looks like one.
_LOOK_ALIKE = {"*": "\u2217", "_": "\uff3f", "~": "\u223c", "`": "\u02cb"}


class _Letter(NamedTuple):
    """One character of the text; `role` is "open" or "close" for marks, "literal" when it was escaped, else ""."""

    char: str
    role: str = ""


def to_html(text: str) -> str:
    """Telegram's HTML: `*a* < b` -> `<b>a</b> &lt; b`."""
    if not _SPECIAL.search(text):
        return text.translate(_HTML)
    wrap = {"open": "<{}>", "close": "</{}>"}
    return "".join(
        wrap[role].format(_TAGS[char]) if role in wrap else char.translate(_HTML)
        for char, role in _letters(text)
    )


def to_plain(text: str) -> str:
    """What a person reads, without any marks: for lengths, previews and channels without markup."""
    if not _SPECIAL.search(text):
        return text
    return "".join(char for char, role in _letters(text) if role not in ("open", "close"))


def to_marks(text: str) -> str:
    """WhatsApp's marks, which are ours but for code (three backquotes) and for the lack of an escape."""
    if not _SPECIAL.search(text):
        return text
    return _as_marks(_letters(text))


def literal_marks(text: str) -> str:
    """Text without markup of ours, such that WhatsApp shows its marks instead of obeying them."""
    if not _SPECIAL.search(text):
        return text
    return _as_marks([_Letter(char, "literal") for char in text])


def _as_marks(letters: list[_Letter]) -> str:
    shown = [letter.char for letter in letters]
    for pair in _pairs("".join(shown), escapes=False):
        for at in pair:
            if letters[at].role == "literal":
                shown[at] = _LOOK_ALIKE[shown[at]]
    return "".join(
        "```" if letter.char == "`" and letter.role in ("open", "close") else char
        for char, letter in zip(shown, letters, strict=True)
    )


def _letters(text: str) -> list[_Letter]:
    roles: dict[int, str] = {}
    for opening, closing in _pairs(text, escapes=True):
        roles[opening], roles[closing] = "open", "close"
    letters: list[_Letter] = []
    escaped = False
    for at, char in enumerate(text):
        if escaped:
            letters.append(_Letter(char, "literal"))
            escaped = False
        elif _escapes(text, at):
            escaped = True
        else:
            letters.append(_Letter(char, roles.get(at, "")))
    return letters


def _pairs(text: str, *, escapes: bool) -> list[tuple[int, int]]:
    """Positions of marks that belong together, properly nested. One pass: linear in the length of the text."""
    pairs: list[tuple[int, int]] = []
    waiting: list[int] = []  # opening marks, innermost last
    count = dict.fromkeys(_TAGS, 0)  # of each mark in `waiting`: a search there always finds
    skip = False
    for at, char in enumerate(text):
        if skip:
            skip = False
        elif char == "\n":
            waiting.clear()
            count = dict.fromkeys(_TAGS, 0)
        elif escapes and _escapes(text, at):
            skip = True
        elif char in _TAGS:
            if count[char] and _closes(text, at):
                opening = _take(text, waiting, count, char)
                if char == "`":  # nothing nests inside code
                    while pairs and pairs[-1][0] > opening:
                        pairs.pop()
                pairs.append((opening, at))
            elif _opens(text, at):
                waiting.append(at)
                count[char] += 1
    return pairs


def _take(text: str, waiting: list[int], count: dict[str, int], mark: str) -> int:
    while True:  # marks in between found no other half: they stand for themselves
        opening = waiting.pop()
        count[text[opening]] -= 1
        if text[opening] == mark:
            return opening


def _escapes(text: str, at: int) -> bool:
    return text[at] == "\\" and text[at + 1 : at + 2] in _ESCAPABLE


def _opens(text: str, at: int) -> bool:
    after = text[at + 1 : at + 2]
    return bool(after) and not after.isspace() and not text[at - 1 : at].isalnum()


def _closes(text: str, at: int) -> bool:
    before = text[at - 1]
    return not before.isspace() and before != text[at] and not text[at + 1 : at + 2].isalnum()
