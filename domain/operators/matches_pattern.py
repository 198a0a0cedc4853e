"""`matches_pattern`: a regular expression is found in the text. RE2 only: time is linear in the text."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

from domain.comparisons import check_text, shown
from domain.errors import RejectedInput
from domain.operators import Base, in_words, register

MAX_PATTERN = 500  # characters; RE2's own memory limit is the second wall
MAX_INPUT = 4_096  # characters of the subject that are looked at: one message


@lru_cache(maxsize=1_000)
def compiled(pattern: str) -> Any:
    """The RE2 program of a pattern. Raises `re2.error` for back references, look-around, huge repeats."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20  # bytes: enough for 500 characters without huge repeats
    return re2.compile(pattern, options)


@register
class MatchesPattern(Base):
    """`{"subject": "session.code", "op": "matches_pattern", "value": "^[A-Z]{2}[0-9]{4}$"}`.

    Found anywhere unless anchored; case counts unless the pattern begins with `(?i)`. Only texts match.
    """

    key = "matches_pattern"
    label = in_words("corrisponde al modello", "matches the pattern")
    types = frozenset({"text"})

    def check(self, value: Any, *, where: str) -> None:
        check_text(value, where)
        if len(value) > MAX_PATTERN:
            raise RejectedInput(f"a pattern has at most {MAX_PATTERN} characters", where=where)
        try:
            compiled(value)
        except re2.error as error:
            first = error.args[0]
            reason = first.decode("utf-8", "replace") if isinstance(first, bytes) else first
            raise RejectedInput(f"not a pattern that can be used: {reason}", where=where) from None

    def matches(self, actual: Any, value: Any) -> bool:
        return isinstance(actual, str) and compiled(value).search(actual[:MAX_INPUT]) is not None

    def sentence(self, subject: str, value: Any, language: str) -> str:
        return f"{subject} {self.label[language]} {shown(value, language)}"
