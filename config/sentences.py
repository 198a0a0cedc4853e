"""What the command says, in Italian or English.

The program's own language is English: errors are raised and results are made with English sentences. `italian.txt` has
the Italian of those that a person meets at the command line; `{}` stands for a value that is carried over. A sentence
without an Italian form is said in English, which is better than not at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

LANGUAGES = ("it", "en")


def language() -> str:
    """it or en, as LC_ALL, LC_MESSAGES or LANG say."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name, ""):
            return "it" if value.lower().startswith("it") else "en"
    return "en"


def say(sentence: str, into: str | None = None) -> str:
    """The sentence in the person's language, or in `into`."""
    if (into or language()) != "it":
        return sentence
    known = italian()
    if direct := known.get(sentence):
        return direct
    for pattern, template in _patterns():
        if match := pattern.fullmatch(sentence):
            return _filled(template, match.groups())
    return sentence


def _filled(template: str, values: Sequence[str]) -> str:
    """The values, themselves in Italian where they are sentences of ours, in place of `{}`."""
    parts = template.split("{}")
    said = [*(say(value, "it") for value in values), *[""] * len(parts)]
    return parts[0] + "".join(value + part for value, part in zip(said, parts[1:], strict=False))


@cache
def italian() -> dict[str, str]:
    """English sentence → Italian sentence."""
    text = (Path(__file__).parent / "italian.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(zip(lines[::2], lines[1::2], strict=True))


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """The sentences with values, the longest first: the most particular one wins."""
    found = []
    for english in sorted((e for e in italian() if "{}" in e), key=len, reverse=True):
        parts = [re.escape(part) for part in english.split("{}")]
        found.append((re.compile("(.*?)".join(parts), re.DOTALL), italian()[english]))
    return found
