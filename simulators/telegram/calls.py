"""One call of a bot, and the register of methods: functions marked `@method`, found by their name in any case.

A method gives the `result`, or a `Result` when the answer has more to it, and raises ApiError to refuse.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulators.telegram import markup as markups
from simulators.telegram import places
from simulators.telegram.errors import bad
from simulators.telegram.params import Params
from simulators.telegram.places import Place
from simulators.telegram.state import Bot, Message, Wire

if TYPE_CHECKING:
    from simulators.telegram.network import Telegram


@dataclass(slots=True)
class Call:
    """What a method works with, and the readings of parameters that many share."""

    tg: Telegram
    bot: Bot
    params: Params

    def place(self, name: str = "chat_id") -> Place:
        return places.find(self.tg, self.bot, self.params, name)

    def accessible(self) -> Place:
        """The chat, which the bot can act in."""
        place = self.place()
        places.check_access(self.bot, place)
        return place

    def markup(self) -> Wire | None:
        return markups.read(self.params) if "reply_markup" in self.params.values else None

    def message(self, place: Place, refusal: str, name: str = "message_id") -> Message:
        """The message that a call names; raises 400 with `refusal` when there is none."""
        found = place.history.get(self.params.integer(name))
        if found is None:
            raise bad(refusal)
        return found


@dataclass(slots=True)
class Result:
    """An answer with a description beside the result, or with a result that is JSON already."""

    value: Any = None
    description: str | None = None
    raw: bytes | None = None


Method = Callable[[Call], Any | Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Registered:
    name: str
    run: Method


METHODS: dict[str, Registered] = {}


def method(name: str) -> Callable[[Method], Method]:
    """Register a function as the method `name` of the Bot API."""

    def register(run: Method) -> Method:
        key = name.lower()
        if key in METHODS:
            raise RuntimeError(f"two methods are called {name}")
        METHODS[key] = Registered(name, run)
        return run

    return register
