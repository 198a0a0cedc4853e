"""`not_equals`: exactly when `equals` is false; so a missing value passes."""

from __future__ import annotations

from typing import Any

from domain.comparisons import check_plain, equal, shown
from domain.operators import Base, in_words, register


@register
class NotEquals(Base):
    """`{"subject": "contact.language", "op": "not_equals", "value": "it"}`."""

    key = "not_equals"
    label = in_words("non è", "is not")
    types = frozenset({"text", "number", "bool", "date"})

    def check(self, value: Any, *, where: str) -> None:
        check_plain(value, where)

    def matches(self, actual: Any, value: Any) -> bool:
        return not equal(actual, value)

    def sentence(self, subject: str, value: Any, language: str) -> str:
        return f"{subject} {self.label[language]} {shown(value, language)}"
