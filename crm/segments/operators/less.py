"""The SQL twin of `less`."""

from __future__ import annotations

from typing import Any

from crm.segments.operators import compared, register
from crm.segments.subjects import Builder, Subject


@register("less")
def less(subject: Subject, value: Any, build: Builder) -> str:
    """Less than the value."""
    bound = build.number(value)
    return compared(subject, build, lambda number: f"{number} < {bound}")
