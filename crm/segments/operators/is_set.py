"""The SQL twin of `is_set`."""

from __future__ import annotations

from typing import Any

from crm.segments.operators import register
from crm.segments.subjects import Builder, Subject


@register("is_set")
def is_set(subject: Subject, value: Any, build: Builder) -> str:
    """There is a value."""
    return f"NOT {subject.missing}"
