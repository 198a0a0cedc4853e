"""The SQL twin of `greater`."""

from __future__ import annotations

from typing import Any

from crm.segments.operators import compared, register
from crm.segments.subjects import Builder, Subject


@register("greater")
def greater(subject: Subject, value: Any, build: Builder) -> str:
    """More than the value."""
    bound = build.number(value)
    return compared(subject, build, lambda number: f"{number} > {bound}")
