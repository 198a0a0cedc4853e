"""Operators of the predicate tree, one file each, registered by `@register` and found by a folder scan.

An operator compares a subject's value (None when missing) with the author's value. The pure half stands
here, its SQL twin in `crm/segments/operators/<key>.py`; a contract test holds both against each other on both
databases. `domain/comparisons.py` has the meaning of text, number, date and missing that they share.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from domain.comparisons import ceiling
from domain.errors import RejectedInput


class Operator(Protocol):
    """What a file of this folder provides (a class with these members, registered as an instance)."""

    key: str  # the wire name, the file's name: "equals"
    label: Mapping[str, str]  # {"it": …, "en": …}
    types: frozenset[str]  # subject types it makes sense for: text number date bool list

    def check(self, value: Any, *, where: str) -> None:
        """Raises RejectedInput when the author's value does not fit."""

    def ground(self, value: Any, now: int) -> Any:
        """The value with "now" and spans made absolute (`now` in ms UTC); most give it back as it is."""

    def matches(self, actual: Any, value: Any) -> bool:
        """Whether the subject's value (None: missing) passes; the author's value is grounded."""

    def sentence(self, subject: str, value: Any, language: str) -> str:
        """The comparison as a person would say it."""


class Base:
    """What most operators share: nothing in their value depends on the time."""

    key: str
    label: Mapping[str, str]
    types: frozenset[str]

    def ground(self, value: Any, now: int) -> Any:
        return value


def in_words(it: str, en: str) -> Mapping[str, str]:
    """A label in both languages."""
    return MappingProxyType({"it": it, "en": en})


def moment_text(now: int) -> str:
    """Milliseconds as the text form of a moment, cut to the second: `2026-12-05T10:00:00Z`."""
    return ceiling(now // 1000 * 1000)


_registry: dict[str, Operator] = {}


Kind = TypeVar("Kind", bound=Operator)


def register(kind: type[Kind]) -> type[Kind]:
    """Registers an operator class; a second one with the same key is an error at start."""
    instance = kind()
    if instance.key in _registry:
        raise RuntimeError(f"operator {instance.key!r} is registered twice: {kind.__module__}")
    _registry[instance.key] = instance
    return kind


@cache
def registry() -> Mapping[str, Operator]:
    """Every operator by key; scans the folder once."""
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{__name__}.{module.name}")
    return _registry


def operator(key: str, *, where: str = "op") -> Operator:
    """The operator of that name. Raises RejectedInput listing the known ones."""
    found = registry().get(key)
    if found is None:
        known = ", ".join(sorted(registry()))
        raise RejectedInput(f"unknown operator {key!r}; known are {known}", where=where)
    return found
