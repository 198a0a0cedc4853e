"""The SQL twin of `matches_pattern`."""

from __future__ import annotations

from typing import Any

from crm.segments.operators import register
from crm.segments.subjects import Builder, Subject


@register("matches_pattern")
def matches_pattern(subject: Subject, value: Any, build: Builder) -> str:
    """The pattern is found in the first 4,096 characters."""
    return subject.of_text(lambda text: build.found(text, value)) or "FALSE"
