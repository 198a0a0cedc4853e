"""`at_least`: the subject's number is at least the value. Numeric text counts; others: false."""

from __future__ import annotations

from typing import Any

from domain.comparisons import check_number, number, shown
from domain.operators import Base, in_words, register


@register
class AtLeast(Base):
    """`{"subject": "contact.fields.age", "op": "at_least", "value": 18}`."""

    key = "at_least"
    label = in_words("è almeno", "is at least")
    types = frozenset({"number"})

    def check(self, value: Any, *, where: str) -> None:
        check_number(value, where)

    def matches(self, actual: Any, value: Any) -> bool:
        found = number(actual)
        return found is not None and found >= value

    def sentence(self, subject: str, value: Any, language: str) -> str:
        return f"{subject} {self.label[language]} {shown(value, language)}"
