"""The SQL twin of `after`."""

from __future__ import annotations

from typing import Any

from crm.segments.operators import in_span, register
from crm.segments.subjects import Builder, Subject
from domain.operators.after import After


@register("after")
def after(subject: Subject, value: Any, build: Builder) -> str:
    """After the date has ended."""
    return in_span(subject, After().bounds(value), build)
