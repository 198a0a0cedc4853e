"""Regular expressions, RE2 only: the time is linear in the text."""

from __future__ import annotations

from typing import Any

import re2

from domain.operators.matches_pattern import MAX_PATTERN, compiled
from flows.excellent.environment import Environment
from flows.excellent.values import Object
from flows.matchers import Match, Unfit, register

PATTERN = 1_200  # price: RE2 may take eight milliseconds to read one


@register("has_pattern", "text, text", it="corrisponde al modello", en="matches the pattern", price=PATTERN)
def has_pattern(environment: Environment, text: str, pattern: str) -> Match | None:
    """Found anywhere; case does not matter. `extra` holds the groups by their number."""
    found = program(pattern.strip()).search(text)
    if found is None:
        return None
    groups = [found.group(0), *found.groups()]
    return Match(found.group(0), Object({str(number): group or "" for number, group in enumerate(groups)}))


def program(pattern: str) -> Any:
    """The RE2 program of a pattern. Raises Unfit for what RE2 does not take."""
    if len(pattern) > MAX_PATTERN:
        raise Unfit(f"a pattern has at most {MAX_PATTERN} characters")
    try:
        return compiled(f"(?mi){pattern}")
    except re2.error as error:
        first = error.args[0] if error.args else "invalid"
        reason = first.decode("utf-8", "replace") if isinstance(first, bytes) else first
        raise Unfit(f"not a pattern that can be used: {reason}") from None
