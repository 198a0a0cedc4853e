"""The SQL twin of `before`."""

from __future__ import annotations

from typing import Any

from crm.segments.operators import in_span, register
from crm.segments.subjects import Builder, Subject
from domain.operators.before import Before


@register("before")
def before(subject: Subject, value: Any, build: Builder) -> str:
    """Before the date begins."""
    return in_span(subject, Before().bounds(value), build)
