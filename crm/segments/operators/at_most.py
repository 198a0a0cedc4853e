"""The SQL twin of `at_most`."""

from __future__ import annotations

from typing import Any

from crm.segments.operators import compared, register
from crm.segments.subjects import Builder, Subject


@register("at_most")
def at_most(subject: Subject, value: Any, build: Builder) -> str:
    """The value or less."""
    bound = build.number(value)
    return compared(subject, build, lambda number: f"{number} <= {bound}")
