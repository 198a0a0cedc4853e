"""`one_of`: equals any of the values, each by the rules of `equals`. A missing value: false."""

from __future__ import annotations

from typing import Any

from domain.comparisons import MAX_ITEMS, check_plain, equal, shown
from domain.errors import RejectedInput
from domain.operators import Base, in_words, register


@register
class OneOf(Base):
    """`{"subject": "session.interest", "op": "one_of", "value": ["price", "visit"]}`."""

    key = "one_of"
    label = in_words("è uno fra", "is one of")
    types = frozenset({"text", "number", "bool", "date"})

    def check(self, value: Any, *, where: str) -> None:
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_ITEMS:
            raise RejectedInput(f"must be a list of 1 to {MAX_ITEMS} values", where=where)
        for index, item in enumerate(value):
            check_plain(item, f"{where}[{index}]")

    def matches(self, actual: Any, value: Any) -> bool:
        return any(equal(actual, item) for item in value)

    def sentence(self, subject: str, value: Any, language: str) -> str:
        return f"{subject} {self.label[language]} {', '.join(shown(item, language) for item in value)}"
