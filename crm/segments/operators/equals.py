"""The SQL twin of `equals`."""

from __future__ import annotations

from typing import Any

from crm.segments.operators import equals_any, register
from crm.segments.subjects import Builder, Subject


@register("equals")
def equals(subject: Subject, value: Any, build: Builder) -> str:
    """The same text (folded), number, or yes/no."""
    return equals_any(subject, [value], build)
