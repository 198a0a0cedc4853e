"""Words of a text, as functions and router tests see them."""

from __future__ import annotations

import re
import unicodedata

# Runs of letters, figures, _ and ' are words (with the marks that combine with them); a symbol is one by itself.
# Symbols are the emoji and signs beyond ASCII: Python's \w has no class for them.
_WORD = re.compile(r"[\w'\u0300-\u036f]+|[^\w\s'\x00-\x7f]")
_MARKS = frozenset(("Mn", "Mc", "Me"))


def words(text: str) -> list[str]:
    """The words and symbols of a text, in order."""
    if text.isascii():
        return _WORD.findall(text)
    found = []
    for piece in _WORD.findall(text):
        group = unicodedata.category(piece[0])
        if len(piece) > 1 or piece.isalnum() or piece in "_'" or group[0] == "S":
            found.append(piece)
        elif group in _MARKS and found:
            found[-1] += piece
    return found


def split(text: str, delimiters: str) -> list[str]:
    """The parts of a text between any of the delimiters; empty ones are left out."""
    if not delimiters:
        return [text] if text else []
    return [part for part in re.split(f"[{re.escape(delimiters)}]+", text) if part]


def words_by(text: str, delimiters: str | None) -> list[str]:
    """`words`, or `split` where delimiters are given."""
    return split(text, delimiters) if delimiters else words(text)
