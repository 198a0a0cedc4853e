"""The SQL twin of `is_not_set`."""

from __future__ import annotations

from typing import Any

from crm.segments.operators import register
from crm.segments.subjects import Builder, Subject


@register("is_not_set")
def is_not_set(subject: Subject, value: Any, build: Builder) -> str:
    """There is none."""
    return subject.missing
