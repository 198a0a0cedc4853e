"""The SQL twins of the operators in `domain/operators/`, one file each under the same key.

A twin gives a condition on a subject; it may be NULL where the pure operator says false. Both registries must have
the same keys: a missing or a lonely twin is an error at start.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from crm.segments.subjects import Builder, Subject, either
from domain.comparisons import ceiling, fold, is_number, number
from domain.operators import registry as operators

Twin = Callable[[Subject, Any, Builder], str]

_registry: dict[str, Twin] = {}


def register(key: str) -> Callable[[Twin], Twin]:
    """Registers the twin of an operator; a second one is an error at start."""

    def add(function: Twin) -> Twin:
        if key in _registry:
            raise RuntimeError(f"the SQL twin of {key!r} is registered twice: {function.__module__}")
        _registry[key] = function
        return function

    return add


@cache
def twins() -> Mapping[str, Twin]:
    """Every twin by key; scans the folder once. Raises RuntimeError when operators and twins do not pair up."""
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{__name__}.{module.name}")
    alone = sorted(_registry.keys() ^ operators().keys())
    if alone:
        raise RuntimeError(f"operators and their SQL twins do not pair up: {', '.join(alone)}")
    return _registry


def twin(key: str) -> Twin:
    """The twin of an operator that the predicate was parsed with."""
    return twins()[key]


# --- what several twins share -----------------------------------------------------------------------------------------


def equals_any(subject: Subject, values: Sequence[Any], build: Builder) -> str:
    """Equality with one of the values, as `comparisons.equal`: two texts folded, else as numbers, yes/no alone."""
    texts = [value for value in values if isinstance(value, str)]
    spelled = [found for text in texts if (found := number(text)) is not None]
    plain = [value for value in values if is_number(value)]
    conditions = []
    if texts and subject.text is not None:
        conditions.append(_same_text(subject, [fold(text) for text in texts], build))
    if subject.number is not None:
        conditions += [f"{subject.number} = {build.number(value)}" for value in (*plain, *spelled)]
    shown = subject.of_text(build.spelled_number) if plain else None
    if shown is not None:
        conditions += [f"{shown} = {build.number(value)}" for value in plain]
    if subject.boolean is not None:
        conditions += [f"{subject.boolean} = {int(value)}" for value in values if isinstance(value, bool)]
    return either(conditions)


def _same_text(subject: Subject, folded: Sequence[str], build: Builder) -> str:
    """The condition that the value is a text that folds to one of these."""
    if len(folded) == 1 and subject.same is not None:
        return subject.same(folded[0])
    among = f"= {build.text(folded[0])}" if len(folded) == 1 else f"IN {build.values(folded)}"
    return subject.of_text(lambda text: f"{build.folded(text)} {among}") or "FALSE"


def compared(subject: Subject, build: Builder, condition: Callable[[str], str]) -> str:
    """A condition on the number that a value is or spells."""
    numbers = (subject.number, subject.of_text(build.spelled_number))
    known = [f"({one})" for one in numbers if one is not None]
    if not known:
        return "FALSE"
    # At most one is not NULL; COALESCE works the second out only where the first is NULL.
    return condition(known[0] if len(known) == 1 else f"COALESCE({', '.join(known)})")


def in_span(subject: Subject, bounds: tuple[int, int], build: Builder) -> str:
    """A date within `[low, high)` ms, as `comparisons.in_range`."""
    low, high = bounds
    conditions = []
    if subject.integer is not None:
        conditions.append(
            f"({subject.integer} >= {build.whole(low)} AND {subject.integer} < {build.whole(high)})"
        )
    moment = subject.of_text(build.spelled_moment)
    if moment is not None:
        first, end = build.text(ceiling(low)), build.text(ceiling(high))
        conditions.append(f"({moment} >= {first} AND {moment} < {end})")
    return either(conditions)
