"""The SQL twin of `one_of`."""

from __future__ import annotations

from typing import Any

from crm.segments.operators import equals_any, register
from crm.segments.subjects import Builder, Subject


@register("one_of")
def one_of(subject: Subject, value: Any, build: Builder) -> str:
    """Equal to any of the values."""
    return equals_any(subject, value, build)
