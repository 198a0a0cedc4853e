"""The SQL twin of `has_tag`."""

from __future__ import annotations

from typing import Any

from crm.segments.operators import register
from crm.segments.subjects import Builder, Subject


@register("has_tag")
def has_tag(subject: Subject, value: Any, build: Builder) -> str:
    """A list holds exactly this text."""
    return subject.member(build.text(value)) if subject.member is not None else "FALSE"
