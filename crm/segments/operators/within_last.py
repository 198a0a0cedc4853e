"""The SQL twin of `within_last`."""

from __future__ import annotations

from typing import Any

from crm.segments.operators import in_span, register
from crm.segments.subjects import Builder, Subject
from domain.operators.within_last import WithinLast


@register("within_last")
def within_last(subject: Subject, value: Any, build: Builder) -> str:
    """In the span that ends now (grounded)."""
    return in_span(subject, WithinLast().bounds(value), build)
