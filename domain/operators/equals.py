"""`equals`: the same text (folded), number, or yes/no. A missing value equals nothing."""

from __future__ import annotations

from typing import Any

from domain.comparisons import check_plain, equal, shown
from domain.operators import Base, in_words, register


@register
class Equals(Base):
    """`{"subject": "contact.fields.city", "op": "equals", "value": "Roma"}`."""

    key = "equals"
    label = in_words("è", "is")
    types = frozenset({"text", "number", "bool", "date"})

    def check(self, value: Any, *, where: str) -> None:
        check_plain(value, where)

    def matches(self, actual: Any, value: Any) -> bool:
        return equal(actual, value)

    def sentence(self, subject: str, value: Any, language: str) -> str:
        return f"{subject} {self.label[language]} {shown(value, language)}"
