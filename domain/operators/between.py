"""`between`: the subject's number lies between two numbers, both included. Missing and others: false."""

from __future__ import annotations

from typing import Any

from domain.comparisons import check_number, number, shown
from domain.errors import RejectedInput
from domain.operators import Base, in_words, register


@register
class Between(Base):
    """`{"subject": "contact.fields.age", "op": "between", "value": [18, 30]}`."""

    key = "between"
    label = in_words("è fra", "is between")
    types = frozenset({"number"})

    def check(self, value: Any, *, where: str) -> None:
        if not isinstance(value, list) or len(value) != 2:
            raise RejectedInput("must be a list of two numbers", where=where)
        for index, bound in enumerate(value):
            check_number(bound, f"{where}[{index}]")
        if value[0] > value[1]:
            raise RejectedInput("the first number must not be greater than the second", where=where)

    def matches(self, actual: Any, value: Any) -> bool:
        found = number(actual)
        return found is not None and value[0] <= found <= value[1]

    def sentence(self, subject: str, value: Any, language: str) -> str:
        joint = "e" if language == "it" else "and"
        low, high = (shown(bound, language) for bound in value)
        return f"{subject} {self.label[language]} {low} {joint} {high}"
