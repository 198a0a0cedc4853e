"""Importers: flows of other systems become documents of ours, and what cannot be carried is named.

One package (or file) per format, registered by `@importer("<format>")` and found by a folder scan. An importer is
pure: a text in, texts out. It refuses what it cannot read (RejectedInput naming the place); what it reads but cannot
carry is in `unsupported`, with the source's own word for it and its id there, and the flow goes on at that place as
the source's engine would have done without it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

from domain.errors import RejectedInput

MAX_SOURCE = 16_000_000  # characters of a file: an export of some hundred large flows has a third of it


@dataclass(frozen=True, slots=True)
class ImportedFlow:
    """One flow: its key and its document as YAML text."""

    id: str
    text: str


@dataclass(frozen=True, slots=True, order=True)
class Unsupported:
    """Something that was not carried: `what` is the source's own type name, `where` its id there, `why` a sentence."""

    what: str
    where: str
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file gave."""

    flows: list[ImportedFlow]
    unsupported: list[Unsupported]


Importer = Callable[[str], Imported]
_registry: dict[str, Importer] = {}


def importer(key: str) -> Callable[[Importer], Importer]:
    """Registers a format; a second one with the same key is an error at start."""

    def registered(function: Importer) -> Importer:
        if key in _registry:
            raise RuntimeError(f"importer {key!r} is registered twice")
        _registry[key] = function
        return function

    return registered


@cache
def registry() -> Mapping[str, Importer]:
    """Every format by key; scans the folder once."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return _registry


def read(text: str, format: str) -> Imported:
    """The flows in an export of another system.

    Raises RejectedInput naming the place: an unknown format, a text that is too long, is not what the format says, or
    has something of the wrong type anywhere. Bounded: MAX_SOURCE characters, time linear in them.
    """
    found = registry().get(format)
    if found is None:
        raise RejectedInput(
            f"there is no such format; known are {', '.join(sorted(registry()))}", where=format
        )
    if len(text) > MAX_SOURCE:
        raise RejectedInput(f"at most {MAX_SOURCE} characters", where="file")
    return found(text)
