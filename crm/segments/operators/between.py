"""The SQL twin of `between`."""

from __future__ import annotations

from typing import Any

from crm.segments.operators import compared, register
from crm.segments.subjects import Builder, Subject


@register("between")
def between(subject: Subject, value: Any, build: Builder) -> str:
    """Between two numbers, both included."""
    low, high = build.number(value[0]), build.number(value[1])
    return compared(subject, build, lambda number: f"{number} BETWEEN {low} AND {high}")
