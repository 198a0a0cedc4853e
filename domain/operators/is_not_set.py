"""`is_not_set`: exactly when `is_set` is false."""

from __future__ import annotations

from typing import Any

from domain.comparisons import check_nothing, missing
from domain.operators import Base, in_words, register


@register
class IsNotSet(Base):
    """`{"subject": "contact.phone", "op": "is_not_set"}`."""

    key = "is_not_set"
    label = in_words("non è presente", "is not set")
    types = frozenset({"text", "number", "bool", "date", "list"})

    def check(self, value: Any, *, where: str) -> None:
        check_nothing(value, where)

    def matches(self, actual: Any, value: Any) -> bool:
        return missing(actual)

    def sentence(self, subject: str, value: Any, language: str) -> str:
        return f"{subject} {self.label[language]}"
