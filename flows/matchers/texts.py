"""Is there text, is it this one."""

from __future__ import annotations

from typing import Any

from flows.excellent.environment import Environment
from flows.excellent.values import Fault
from flows.excellent.values import text as text_of
from flows.matchers import Match, register


@register("has_text", "text", it="c'è del testo", en="has some text")
def has_text(environment: Environment, text: str) -> Match | None:
    """Anything but white space; what fits is the text without it at both ends."""
    return Match(text.strip()) if text.strip() else None


@register("has_value", "any", it="c'è un valore", en="has a value", tolerant=True)
def has_value(environment: Environment, value: Any) -> Match | None:
    """Neither empty nor an error."""
    return None if isinstance(value, Fault) or text_of(value) == "" else Match(value)


@register("has_only_text", "text, text", it="è esattamente", en="is exactly")
def has_only_text(environment: Environment, text: str, wanted: str) -> Match | None:
    """The same text, case and spaces included."""
    return Match(text) if text == wanted else None


@register("has_beginning", "text, text", it="comincia con", en="begins with")
def has_beginning(environment: Environment, text: str, beginning: str) -> Match | None:
    """Without white space at both ends; case does not matter."""
    text, beginning = text.strip(), beginning.strip()
    head = text[: len(beginning)]
    return Match(head) if beginning and head.lower() == beginning.lower() else None
