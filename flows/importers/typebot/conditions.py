"""Conditions of Typebot as our predicate trees (https://docs.typebot.io/editor/blocks/logic/condition).

Theirs compare a variable with a text; ours say the same by operators. Ours take upper and lower case as the same, and
a value that is a variable itself cannot be compared with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flows.importers.typebot.texts import VARIABLE, Untranslatable

_SIMPLE = {
    "Equal to": "equals",
    "Not equal": "not_equals",
    "Contains": "contains",
    "Starts with": "starts_with",
    "Matches regex": "matches_pattern",
}
_NEGATED = {"Does not contain": "contains", "Does not match regex": "matches_pattern"}
_NUMBERS = {
    "Greater than": "greater",
    "Greater or equal to": "at_least",
    "Less than": "less",
    "Less or equal to": "at_most",
}
_NEVER: dict[str, Any] = {"any": []}
MAX_COMPARISONS = 50


def predicate(content: Any, paths: Mapping[str, str]) -> dict[str, Any]:
    """The predicate of `{logicalOperator, comparisons}`; `paths` maps a variable's id to its path of ours. Raises
    Untranslatable naming the comparison. No comparisons, or one that is not filled in: never true, as there."""
    comparisons = content.get("comparisons") if isinstance(content, dict) else None
    if not isinstance(comparisons, list) or not comparisons:
        return _NEVER
    if len(comparisons) > MAX_COMPARISONS:
        raise Untranslatable(f"more than {MAX_COMPARISONS} comparisons")
    parts = [_comparison(one, paths) for one in comparisons]
    if len(parts) == 1:
        return parts[0]
    return {"any" if content.get("logicalOperator") == "OR" else "all": parts}


def _comparison(data: Any, paths: Mapping[str, str]) -> dict[str, Any]:
    if not isinstance(data, dict):
        return _NEVER
    subject = paths.get(str(data.get("variableId")))
    op = data.get("comparisonOperator")
    if subject is None or op is None:
        return _NEVER
    if op == "Is set":
        return {"subject": subject, "op": "is_set"}
    if op == "Is empty":
        return {"subject": subject, "op": "is_not_set"}
    value = data.get("value")
    text = "" if value is None else str(value)
    if VARIABLE.search(text):
        raise Untranslatable(f"a comparison with another variable: {op} {text}")
    if text in ("", "null", "undefined"):
        return _with_nothing(subject, str(op))
    return _with(subject, str(op), text)


def _with_nothing(subject: str, op: str) -> dict[str, Any]:
    if op == "Equal to":
        return {"subject": subject, "op": "is_not_set"}
    if op == "Not equal":
        return {"subject": subject, "op": "is_set"}
    return {"all": []} if op == "Does not contain" else _NEVER


def _with(subject: str, op: str, text: str) -> dict[str, Any]:
    if op in _NUMBERS:
        return {"subject": subject, "op": _NUMBERS[op], "value": _number(op, text)}
    if op == "Ends with":
        return {"subject": subject, "op": "matches_pattern", "value": f"(?i){re.escape(text.strip())}\\s*$"}
    value = _pattern(text) if op.endswith("regex") else text
    if op in _SIMPLE:
        return {"subject": subject, "op": _SIMPLE[op], "value": value}
    if op in _NEGATED:
        return {"not": {"subject": subject, "op": _NEGATED[op], "value": value}}
    raise Untranslatable(f"the comparison {op}")


def _number(op: str, text: str) -> int | float:
    if not re.fullmatch(r"\s*-?[0-9]{1,15}(\.[0-9]{1,9})?\s*", text, re.ASCII):
        raise Untranslatable(f"{op} with something that is no number: {text}")
    number = float(text)
    return int(number) if number.is_integer() else number


def _pattern(text: str) -> str:
    """`/abc/i` as RE2 writes it; flags that change nothing here (g, u, y) go."""
    found = re.fullmatch(r"/(.+)/([gimsuy]*)", text, re.DOTALL)
    if found is None:
        return text
    flags = "".join(flag for flag in "ims" if flag in found[2])
    return f"(?{flags}){found[1]}" if flags else found[1]
