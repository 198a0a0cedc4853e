"""Typed answers, one file each, registered by `@answer` and found by a folder scan.

An answer type reads what somebody sent and gives a value, or the reason why it does not fit (`invalid.<reason>` in
`flows/words.py` is what the contact is told unless the author wrote something better). Each understands Italian and
English whatever the session's language; numbers, days and hours are read by `flows/numerals.py` and
`flows/calendar_words.py`. Reading is pure, takes less than 5 ms and never raises; values are plain JSON.
"""

from __future__ import annotations

import datetime as calendar  # by this name, because modules of this folder are called date, time and datetime
import importlib
import pkgutil
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any, ClassVar, NamedTuple, TypeVar

from domain.errors import RejectedInput, meant
from domain.events import storable
from domain.messages import Received, ReceivedText
from flows.business import BusinessView

MAX_ANSWER = 4_000  # characters: what a chat message can hold, with room

Bound = (
    float | str | None
)  # `min` and `max` of a question: a number, or a day or hour in the form of its type


class Reading(NamedTuple):
    """What reading an answer depends on.

    `region` (ISO 3166) is the business's, or the `country` that the question names: it completes phone numbers, and
    says which postal codes and which money are meant. `today` and `now` (ms UTC) are the contact's, in `zone`.
    `currency` is the one that the question insists on. `month_first`: figures of dates are read as Americans do.
    `opening`: the business whose opening hours an answer has to keep to, when it has any.
    """

    language: str
    region: str
    today: calendar.date
    minimum: Bound = None
    maximum: Bound = None
    now: int = 0
    zone: calendar.tzinfo = calendar.UTC
    currency: str = ""
    month_first: bool = False
    opening: BusinessView | None = None

    def moment(self) -> calendar.datetime:
        """Now, on the contact's clock."""
        return calendar.datetime.fromtimestamp(self.now / 1000, self.zone)


class Valid(NamedTuple):
    """A value that fits. `category` is the stable word for results and routing."""

    value: Any
    input: str
    category: str = "valid"


class Invalid(NamedTuple):
    """Why it does not fit: the key of `invalid.<reason>`."""

    reason: str


class AnswerType(ABC):
    """What a file of this folder provides.

    `key` is the file's name, `label` what an editor shows. `reasons` are all that `read` may give. `asks_for` is what
    the platform can be asked for by a button of its own: "contact", "location". `takes` are the keys of the step that
    belong to this type; with "min" and "max" among them `bounds` says of what form they are: "number", or "day",
    "clock", "moment" (see `flows/bounds.py`).
    """

    key: ClassVar[str]
    label: ClassVar[Mapping[str, str]]
    reasons: ClassVar[tuple[str, ...]]
    asks_for: ClassVar[str] = ""
    takes: ClassVar[frozenset[str]] = frozenset()
    bounds: ClassVar[str] = ""

    @abstractmethod
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
        raise RejectedInput(
            f"unknown kind of answer {key!r}; {meant(key, registry())}known are {known}", where=where
        )
    return found


def words_of(received: Received) -> str | None:
    """The words of a typed message, in NFC, trimmed and storable; None for anything but text."""
    if not isinstance(received, ReceivedText):
        return None
    text = received.text.strip()
    return text if text.isascii() and "\x00" not in text else unicodedata.normalize("NFC", storable(text))


def within(value: float | Decimal, reading: Reading) -> bool:
    """Whether a number lies between the question's bounds."""
    low, high = reading.minimum, reading.maximum
    return not (isinstance(low, (int, float)) and value < low) and not (
        isinstance(high, (int, float)) and value > high
    )


def plain_number(value: Decimal) -> int | float:
    """The JSON number: whole ones as int, others as the float whose shortest form is the decimal."""
    return int(value) if value == value.to_integral_value() else float(value)
