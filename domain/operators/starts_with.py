"""`starts_with`: the folded text of the subject begins with the folded text. Only for texts."""

from __future__ import annotations

from typing import Any

from domain.comparisons import check_text, fold, shown
from domain.operators import Base, in_words, register


@register
class StartsWith(Base):
    """`{"subject": "contact.phone", "op": "starts_with", "value": "+39"}`. Only texts match."""

    key = "starts_with"
    label = in_words("comincia con", "starts with")
    types = frozenset({"text"})

    def check(self, value: Any, *, where: str) -> None:
        check_text(value, where)

    def matches(self, actual: Any, value: Any) -> bool:
        return isinstance(actual, str) and fold(actual).startswith(fold(value))

    def sentence(self, subject: str, value: Any, language: str) -> str:
        return f"{subject} {self.label[language]} {shown(value, language)}"
