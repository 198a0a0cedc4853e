"""Names as RapidPro makes keys of them."""

from __future__ import annotations

import re

_NOT_WORDS = re.compile(r"[\W]+")


def snake(name: str) -> str:
    """The key of a name: `Your Age?` → `your_age`. Letters of every alphabet stay."""
    return _NOT_WORDS.sub("_", name).strip("_").lower()
