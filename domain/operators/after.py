"""`after`: the date lies after the end of the value (a day, or a moment). Anything else: false."""

from __future__ import annotations

from typing import Any

from domain.comparisons import ALWAYS, check_date, in_range, shown, span
from domain.operators import Base, in_words, moment_text, register


@register
class After(Base):
    """`{"subject": "contact.created_at", "op": "after", "value": "2026-01-31"}` (or `now`)."""

    key = "after"
    label = in_words("è dopo", "is after")
    types = frozenset({"date"})

    def check(self, value: Any, *, where: str) -> None:
        check_date(value, where)

    def ground(self, value: Any, now: int) -> Any:
        return moment_text(now) if value == "now" else value

    def bounds(self, value: Any) -> tuple[int, int]:
        """The range of milliseconds `[low, high)` that passes."""
        return span(value)[1], ALWAYS

    def matches(self, actual: Any, value: Any) -> bool:
        return in_range(actual, *self.bounds(value))

    def sentence(self, subject: str, value: Any, language: str) -> str:
        if value == "now":
            return f"{subject} {'deve ancora venire' if language == 'it' else 'is yet to come'}"
        return f"{subject} {self.label[language]} {shown(value, language)}"
