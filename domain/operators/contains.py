"""`contains`: the folded text stands somewhere in the folded text of the subject. Only for texts."""

from __future__ import annotations

from typing import Any

from domain.comparisons import check_text, fold, shown
from domain.operators import Base, in_words, register


@register
class Contains(Base):
    """`{"subject": "contact.name", "op": "contains", "value": "ross"}`. Only texts match."""

    key = "contains"
    label = in_words("contiene", "contains")
    types = frozenset({"text"})

    def check(self, value: Any, *, where: str) -> None:
        check_text(value, where)

    def matches(self, actual: Any, value: Any) -> bool:
        return isinstance(actual, str) and fold(value) in fold(actual)

    def sentence(self, subject: str, value: Any, language: str) -> str:
        return f"{subject} {self.label[language]} {shown(value, language)}"
