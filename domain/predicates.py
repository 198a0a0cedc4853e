"""The one predicate tree: conditions of branches and of segments are the same data.

JSON form (and, the same, in flow documents):
`{"all": [P, …]}` · `{"any": [P, …]}` · `{"not": P}` ·
`{"subject": "contact.fields.city", "op": "equals", "value": "Roma"}`

`subject` is a path: `contact.<column>`, `contact.fields.<key>`, `contact.tags`, `consent.<purpose>`,
`session.<variable>`, `result.<key>`, and what a room adds as a predicate source. `op` names an operator of
`domain/operators/` (one file each: key, label, value types, `matches`, `sentence`); its SQL twin for segments stands
in `crm/segments/operators/`. A missing value is None; every operator says what it makes of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from domain.errors import RejectedInput
from domain.operators import operator

MAX_DEPTH = 16  # a person cannot read deeper; keeps recursion and SQL small
MAX_TESTS = 200


class Test(Struct, frozen=True):
    """One comparison: `subject` `op` `value`."""

    __test__ = False  # not a test class for pytest

    subject: str
    op: str
    value: Any = None


class All(Struct, frozen=True):
    """Every part holds. No parts: true."""

    parts: tuple[Predicate, ...]


class AnyOf(Struct, frozen=True):
    """At least one part holds. No parts: false."""

    parts: tuple[Predicate, ...]


class Not(Struct, frozen=True):
    """The part does not hold."""

    part: Predicate


Predicate = All | AnyOf | Not | Test


def parse(data: Any, *, where: str = "predicate") -> Predicate:
    """A predicate from its JSON form. Raises RejectedInput naming the place of the first fault."""
    count = [0]
    return _parse(data, where, 0, count)


def to_data(predicate: Predicate) -> dict[str, Any]:
    """The JSON form of a predicate; `parse(to_data(p)) == p`."""
    match predicate:
        case All(parts):
            return {"all": [to_data(part) for part in parts]}
        case AnyOf(parts):
            return {"any": [to_data(part) for part in parts]}
        case Not(part):
            return {"not": to_data(part)}
        case Test(subject, op, value):
            data: dict[str, Any] = {"subject": subject, "op": op}
            return data if value is None else {**data, "value": value}


def matches(predicate: Predicate, lookup: Callable[[str], Any] | Mapping[str, Any]) -> bool:
    """Whether a grounded predicate holds. `lookup` gives the value of a subject, or None."""
    get = lookup.get if isinstance(lookup, Mapping) else lookup
    match predicate:
        case Test(subject, op, value):
            return operator(op).matches(get(subject), value)
        case All(parts):
            return all(matches(part, get) for part in parts)
        case AnyOf(parts):
            return any(matches(part, get) for part in parts)
        case Not(part):
            return not matches(part, get)


def grounded(predicate: Predicate, now: int) -> Predicate:
    """The predicate with "now" and spans ("30 days") made absolute at `now` (ms UTC), as `matches` and SQL need.

    The same object when nothing in it depends on the time.
    """
    match predicate:
        case Test(subject, op, value):
            absolute = operator(op).ground(value, now)
            return predicate if absolute is value else Test(subject, op, absolute)
        case All(parts) | AnyOf(parts):
            fixed = tuple(grounded(part, now) for part in parts)
            same = all(one is other for one, other in zip(fixed, parts, strict=True))
            return predicate if same else type(predicate)(fixed)
        case Not(part):
            inner = grounded(part, now)
            return predicate if inner is part else Not(inner)


def subjects(predicate: Predicate) -> Iterator[str]:
    """Every subject that it reads, in order, with repetitions."""
    match predicate:
        case Test(subject=subject):
            yield subject
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from subjects(part)
        case Not(part):
            yield from subjects(part)


def sentence(predicate: Predicate, language: str = "en") -> str:
    """The condition as a person would say it, in `it` or `en`."""
    joined = {
        "it": (" e ", " oppure ", "non ", "sempre", "mai"),
        "en": (" and ", " or ", "not ", "always", "never"),
    }
    both, either, negation, always, never = joined["it" if language == "it" else "en"]
    match predicate:
        case Test(subject, op, value):
            return operator(op).sentence(subject, value, language)
        case All(parts):
            return both.join(_bracket(part, language) for part in parts) or always
        case AnyOf(parts):
            return either.join(_bracket(part, language) for part in parts) or never
        case Not(part):
            return negation + _bracket(part, language)


def _bracket(predicate: Predicate, language: str) -> str:
    text = sentence(predicate, language)
    return text if isinstance(predicate, Test) else f"({text})"


def _parse(data: Any, where: str, depth: int, count: list[int]) -> Predicate:
    if depth > MAX_DEPTH:
        raise RejectedInput(f"conditions may be nested {MAX_DEPTH} deep", where=where)
    if not isinstance(data, dict):
        raise RejectedInput("a condition is an object with all, any, not, or subject and op", where=where)
    keys = set(data)
    for name, kind in (("all", All), ("any", AnyOf)):
        if keys == {name}:
            if not isinstance(data[name], list):
                raise RejectedInput("must be a list of conditions", where=f"{where}.{name}")
            parts = (
                _parse(part, f"{where}.{name}[{i}]", depth + 1, count) for i, part in enumerate(data[name])
            )
            return kind(tuple(parts))
    if keys == {"not"}:
        return Not(_parse(data["not"], f"{where}.not", depth + 1, count))
    if not {"subject", "op"} <= keys <= {"subject", "op", "value"}:
        raise RejectedInput("a condition has all, any, not, or subject, op and value", where=where)
    count[0] += 1
    if count[0] > MAX_TESTS:
        raise RejectedInput(f"at most {MAX_TESTS} comparisons", where=where)
    subject, op, value = data["subject"], data["op"], data.get("value")
    if not isinstance(subject, str) or not subject or len(subject) > 200:
        raise RejectedInput("must be a path such as contact.fields.city", where=f"{where}.subject")
    if not isinstance(op, str):
        raise RejectedInput("must be an operator's name", where=f"{where}.op")
    operator(op, where=f"{where}.op").check(value, where=f"{where}.value")
    return Test(subject, op, value)
