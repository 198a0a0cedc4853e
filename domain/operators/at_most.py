"""`at_most`: the subject's number is at most the value. Numeric text counts; others: false."""

from __future__ import annotations

from typing import Any

from domain.comparisons import check_number, number, shown
from domain.operators import Base, in_words, register


@register
class AtMost(Base):
    """`{"subject": "contact.fields.age", "op": "at_most", "value": 18}`."""

    key = "at_most"
    label = in_words("è al massimo", "is at most")
    types = frozenset({"number"})

    def check(self, value: Any, *, where: str) -> None:
        check_number(value, where)

    def matches(self, actual: Any, value: Any) -> bool:
        found = number(actual)
        return found is not None and found <= value

    def sentence(self, subject: str, value: Any, language: str) -> str:
        return f"{subject} {self.label[language]} {shown(value, language)}"
