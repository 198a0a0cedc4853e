"""`within_last`: the date lies in the span that ends now, both ends included. Anything else: false."""

from __future__ import annotations

from typing import Any

from domain import durations
from domain.comparisons import in_range
from domain.operators import Base, in_words, register


@register
class WithinLast(Base):
    """`{"subject": "contact.created_at", "op": "within_last", "value": "30 days"}`.

    Grounded (see `predicates.grounded`) the value is `{"from": ms, "to": ms}`: only that can be compared.
    """

    key = "within_last"
    label = in_words("è negli ultimi", "is within the last")
    types = frozenset({"date"})

    def check(self, value: Any, *, where: str) -> None:
        durations.parse(value, where=where)

    def ground(self, value: Any, now: int) -> Any:
        return {"from": now - durations.parse(value), "to": now}

    def bounds(self, value: Any) -> tuple[int, int]:
        """The range of milliseconds `[low, high)` that passes."""
        return value["from"], value["to"] + 1

    def matches(self, actual: Any, value: Any) -> bool:
        return in_range(actual, *self.bounds(value))

    def sentence(self, subject: str, value: Any, language: str) -> str:
        return f"{subject} {self.label[language]} {value}"
