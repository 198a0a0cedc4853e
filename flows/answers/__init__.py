"""Typed answers, one file each, registered by `@answer` and found by a folder scan.

An answer type reads what somebody sent and gives a value, or the reason why it does not fit (`invalid.<reason>` in
`flows/words.py` is what the contact is told unless the author wrote something better).
"""

from __future__ import annotations

import importlib
import pkgutil
import unicodedata
from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Any, NamedTuple, Protocol, TypeVar

from domain.errors import RejectedInput
from domain.events import storable
from domain.messages import Received, ReceivedText

MAX_ANSWER = 4_000  # characters: what a chat message can hold, with room


class Reading(NamedTuple):
    """What reading an answer depends on. `region` completes phone numbers; `today` is the contact's day."""

    language: str
    region: str
    today: date
    minimum: float | None = None
    maximum: float | None = None


class Valid(NamedTuple):
    """A value that fits. `category` is the stable word for results and routing."""

    value: Any
    input: str
    category: str = "valid"


class Invalid(NamedTuple):
    """Why it does not fit: the key of `invalid.<reason>`."""

    reason: str


class AnswerType(Protocol):
    """What a file of this folder provides."""

    key: str  # the file's name
    label: Mapping[str, str]
    asks_for: str  # "" or what the platform can be asked for by a button of its own: "contact", "location"

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        """The value in what somebody sent. Pure."""


_registry: dict[str, AnswerType] = {}
Kind = TypeVar("Kind", bound=AnswerType)


def answer(kind: type[Kind]) -> type[Kind]:
    """Registers an answer type; a second one with the same key is an error at start."""
    instance = kind()
    if instance.key in _registry:
        raise RuntimeError(f"answer {instance.key!r} is registered twice: {kind.__module__}")
    _registry[instance.key] = instance
    return kind


@cache
def registry() -> Mapping[str, AnswerType]:
    """Every answer type by key; scans the folder once."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return _registry


def answer_type(key: str, *, where: str = "ask") -> AnswerType:
    """The answer type of that name. Raises RejectedInput listing the known ones."""
    found = registry().get(key)
    if found is None:
        known = ", ".join(sorted(registry()))
        raise RejectedInput(f"unknown kind of answer {key!r}; known are {known}", where=where)
    return found


def words_of(received: Received) -> str | None:
    """The words of a typed message, in NFC, trimmed and storable; None for anything but text."""
    if not isinstance(received, ReceivedText):
        return None
    text = received.text.strip()
    return text if text.isascii() and "\x00" not in text else unicodedata.normalize("NFC", storable(text))
