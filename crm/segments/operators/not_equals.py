"""The SQL twin of `not_equals`."""

from __future__ import annotations

from typing import Any

from crm.segments.operators import equals_any, register
from crm.segments.subjects import Builder, Subject


@register("not_equals")
def not_equals(subject: Subject, value: Any, build: Builder) -> str:
    """Exactly where `equals` is false, so a missing value passes."""
    return f"({equals_any(subject, [value], build)}) IS NOT TRUE"
