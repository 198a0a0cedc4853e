"""Trigger types: what starts a flow. One file each, registered by `@trigger("<type>")` and found by a folder scan.

A file holds a frozen pydantic model; its first field is named like the type and takes the main argument. Its
docstring's YAML is the example that the documentation shows. `fits` says whether an occasion is meant; it is pure, and
bounded in the length of what was written. Who wins where several fit stands in `flows.starting`.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar

from msgspec import Struct, field
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from domain.errors import meant
from domain.events import Referral

MAX_KEYWORDS = 100
MAX_NAMES = 50  # tags, fields, purposes … that one trigger names
MAX_PRIORITY = 100

# Ranks: what is meant most particularly comes first. The table for people stands in docs/howto/write-a-flow.md.
LINK, ADVERTISEMENT, WORDS, REPLY, FIRST, ELSE = 60, 50, 40, 30, 20, 0
CHANGE = 40


class Occasion(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that may start a flow, as triggers see it.

    `kind` is `message` or what else happened (`Trigger.hears`); `what` names which (the tag, the field, the purpose,
    the campaign, the outlet …), `value` what it is now. The members behind are those of a message: `words` as keywords
    are compared, `first`: the contact never wrote here before, `start`: the bot was opened (`/start`), `campaign`: the
    names of the one that it answers. `data` becomes variables of the session.
    """

    kind: str
    what: str = ""
    value: Any = None
    data: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    words: str = ""
    deep_link: str = ""
    referral: Referral | None = None
    first: bool = False
    start: bool = False
    campaign: tuple[str, ...] = ()


class Fit(NamedTuple):
    """That a trigger means an occasion. `value` is what it matched (for the log), `variables` the session's first
    ones, `language` the one that the words are in where the author said so."""

    value: str
    variables: Mapping[str, Any] = {}
    language: str = ""


def listed(value: Any) -> Any:
    """One text stands for a list of one; true, in the short form, for anything."""
    if value is True:
        return ["*"]
    return [value] if isinstance(value, str) else value


Name = Annotated[str, Field(min_length=1, max_length=200)]
Names = Annotated[tuple[Name, ...], BeforeValidator(listed), Field(min_length=1, max_length=MAX_NAMES)]


class Trigger(BaseModel):
    """What every trigger has.

    `interrupts`: whether it ends a session that waits (each type says what it does by itself); with `resume` the person
    is then offered to go on with what was interrupted. `priority` orders triggers of one rank, the highest first.
    `channels` narrows it to kinds of channels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    type: ClassVar[str]
    hears: ClassVar[str] = "message"
    rank: ClassVar[int] = CHANGE
    comes_in: ClassVar[bool] = False  # interrupts unless told otherwise
    in_groups: ClassVar[bool] = False  # in a group the bot speaks only when it is spoken to

    interrupts: bool | None = None
    resume: bool = False
    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    channels: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()

    @property
    def kind(self) -> str:
        """The type's key."""
        return self.type

    @property
    def may_interrupt(self) -> bool:
        """Whether it ends a session that waits."""
        return self.comes_in if self.interrupts is None else self.interrupts

    @property
    def precision(self) -> int:
        """Of two triggers of one rank and priority, the more precise one comes first."""
        return 0

    @property
    def claims(self) -> frozenset[str]:
        """What it takes for itself, word for word: two flows that claim the same collide. Empty: nothing certain."""
        return frozenset()

    @property
    def gives(self) -> frozenset[str] | None:
        """The session's variables that are there whenever it starts a flow; None: whoever sets it off decides."""
        return frozenset()

    def fits(self, occasion: Occasion) -> Fit | None:
        """Whether the occasion is meant."""
        raise TypeError(f"{type(self).__name__} does not say what it hears")


_registry: dict[str, type[Trigger]] = {}
Kind = TypeVar("Kind", bound=type[Trigger])


def trigger(key: str) -> Callable[[Kind], Kind]:
    """Registers a trigger type; a second one with the same key is an error at start."""

    def registered(kind: Kind) -> Kind:
        if key in _registry:
            raise RuntimeError(
                f"trigger {key!r} is registered twice: {_registry[key].__module__}, {kind.__module__}"
            )
        kind.type = key
        _registry[key] = kind
        return kind

    return registered


@cache
def registry() -> Mapping[str, type[Trigger]]:
    """Every trigger type by key; scans the folder once."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return _registry


def read_trigger(data: Any) -> Trigger:
    """The trigger in plain data. Exactly one key names its type. Raises ValueError or pydantic.ValidationError."""
    if isinstance(data, str):
        data = {data: True}
    if not isinstance(data, dict):
        raise ValueError("a trigger is a mapping, such as {keyword: [ciao, hello]}")
    named = [key for key in data if key in registry()]
    if len(named) != 1:
        known = ", ".join(sorted(registry()))
        found = " and ".join(map(str, named)) if named else f"only {', '.join(map(str, data)) or 'nothing'}"
        hint = "" if named else "".join(meant(str(key), registry()) for key in list(data)[:1])
        raise ValueError(f"a trigger is one of {known}; {hint}found {found}")
    return registry()[named[0]].model_validate(data)


def pattern_fits(pattern: str, payload: str) -> bool:
    """Whether `promo-*` fits; * stands for anything. Each piece is looked for once, so it is linear."""
    first, *middle = pattern.split("*")
    if not middle:
        return payload == first
    last = middle.pop()
    if len(payload) < len(first) + len(last) or not (payload.startswith(first) and payload.endswith(last)):
        return False
    at, end = len(first), len(payload) - len(last)
    for piece in middle:
        at = payload.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True


def named(patterns: tuple[str, ...], *names: str) -> str | None:
    """The first of the names that one of the patterns means, whatever its case; or None."""
    for name in names:
        folded = name.casefold()
        if any(pattern_fits(pattern.casefold(), folded) for pattern in patterns):
            return name
    return None
