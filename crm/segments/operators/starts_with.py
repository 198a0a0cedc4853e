"""The SQL twin of `starts_with`."""

from __future__ import annotations

from typing import Any

from crm.segments.operators import register
from crm.segments.subjects import Builder, Subject
from domain.comparisons import fold


@register("starts_with")
def starts_with(subject: Subject, value: Any, build: Builder) -> str:
    """The folded text begins the folded text."""
    folded, start = subject.of_text(build.folded), fold(value)
    return "FALSE" if folded is None else f"substr({folded}, 1, {len(start)}) = {build.text(start)}"
