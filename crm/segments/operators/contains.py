"""The SQL twin of `contains`."""

from __future__ import annotations

from typing import Any

from crm.segments.operators import register
from crm.segments.subjects import Builder, Subject
from domain.comparisons import fold


@register("contains")
def contains(subject: Subject, value: Any, build: Builder) -> str:
    """The folded text stands somewhere in the folded text."""
    folded = subject.of_text(build.folded)
    return "FALSE" if folded is None else f"{build.position(folded, build.text(fold(value)))} > 0"
