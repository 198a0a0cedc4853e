"""`has_tag`: a list holds exactly this text (case counts: tags are names). Missing: false."""

from __future__ import annotations

from typing import Any

from domain.comparisons import check_text, shown
from domain.operators import Base, in_words, register


@register
class HasTag(Base):
    """`{"subject": "contact.tags", "op": "has_tag", "value": "vip"}`; also for fields that are lists."""

    key = "has_tag"
    label = in_words("comprende", "includes")
    types = frozenset({"list"})

    def check(self, value: Any, *, where: str) -> None:
        check_text(value, where)

    def matches(self, actual: Any, value: Any) -> bool:
        return isinstance(actual, (list, tuple, set, frozenset)) and value in actual

    def sentence(self, subject: str, value: Any, language: str) -> str:
        return f"{subject} {self.label[language]} {shown(value, language)}"
