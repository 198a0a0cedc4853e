"""`is_set`: there is a value. None, "" and an empty list are none; 0 and false are values."""

from __future__ import annotations

from typing import Any

from domain.comparisons import check_nothing, missing
from domain.operators import Base, in_words, register


@register
class IsSet(Base):
    """`{"subject": "contact.email", "op": "is_set"}`."""

    key = "is_set"
    label = in_words("è presente", "is set")
    types = frozenset({"text", "number", "bool", "date", "list"})

    def check(self, value: Any, *, where: str) -> None:
        check_nothing(value, where)

    def matches(self, actual: Any, value: Any) -> bool:
        return not missing(actual)

    def sentence(self, subject: str, value: Any, language: str) -> str:
        return f"{subject} {self.label[language]}"
