"""`before`: the date lies before the start of the value (a day, or a moment). Anything else: false."""

from __future__ import annotations

from typing import Any

from domain.comparisons import ALWAYS, check_date, in_range, shown, span
from domain.operators import Base, in_words, moment_text, register


@register
class Before(Base):
    """`{"subject": "contact.fields.birthday", "op": "before", "value": "2008-01-01"}` (or `now`)."""

    key = "before"
    label = in_words("è prima di", "is before")
    types = frozenset({"date"})

    def check(self, value: Any, *, where: str) -> None:
        check_date(value, where)

    def ground(self, value: Any, now: int) -> Any:
        return moment_text(now) if value == "now" else value

    def bounds(self, value: Any) -> tuple[int, int]:
        """The range of milliseconds `[low, high)` that passes."""
        return -ALWAYS, span(value)[0]

    def matches(self, actual: Any, value: Any) -> bool:
        return in_range(actual, *self.bounds(value))

    def sentence(self, subject: str, value: Any, language: str) -> str:
        if value == "now":
            return f"{subject} {'è passato' if language == 'it' else 'is past'}"
        return f"{subject} {self.label[language]} {shown(value, language)}"
