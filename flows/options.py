"""Choices of a question and how an answer finds its option: by id, then by its text in any language, then by number.

The number is what people type where buttons had to become numbered text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.comparisons import fold
from domain.messages import Button, Received, ReceivedText, Tap
from flows.expressions import Template
from flows.words import agrees

if TYPE_CHECKING:
    from flows.turns import Turn

Templates = Mapping[str, tuple[Template, ...]]
_BEGINNINGS = {True: frozenset(("sì", "si", "yes")), False: frozenset(("no", "non"))}
_SIGNS = re.compile(r"[.,;:!?…«»“”\"()]+")


@dataclass(frozen=True, slots=True)
class Option:
    """One choice: `id` comes back from a tap, `labels` are what is shown, `about` what stands beside it in a list."""

    id: str
    labels: Templates
    about: Templates | None = None


class Options:
    """The choices of one question, in order. `opener` labels what opens them where they become a list. With `agreeing`
    a plain yes or no means the only choice that begins with that word (`Sì, confermo`, `No, thanks`)."""

    __slots__ = ("_agreeing", "_changing", "_known", "all", "opener")

    def __init__(
        self, options: tuple[Option, ...], opener: Templates | None = None, *, agreeing: bool = False
    ) -> None:
        self.all = options
        self.opener = opener
        self._known: dict[str, str] = {}  # folded constant label → id; of two equal ones the first counts
        for option in options:
            for wordings in option.labels.values():
                for wording in wordings:
                    if wording.constant is not None:
                        self._known.setdefault(plain(wording.constant), option.id)
        for option in options:
            self._known[fold(option.id)] = option.id
        for label, option_id in list(self._known.items()):
            self._known.setdefault(_bare(label), option_id)
        self._agreeing = {yes: self._only(yes) for yes in (True, False)} if agreeing else {}
        self._changing = tuple(option for option in options if _changes(option))

    def buttons(self, turn: Turn) -> tuple[Button, ...]:
        """The buttons in the session's language."""
        return tuple(
            Button(
                option.id,
                turn.text(option.labels),
                description=turn.text(option.about) if option.about is not None else None,
            )
            for option in self.all
        )

    def find(self, turn: Turn, received: Received) -> str | None:
        """The id of the option that was meant, or None."""
        match received:
            case Tap(option_id=option_id, title=title):
                if any(option.id == option_id for option in self.all):
                    return option_id
                return self._by_text(turn, title) if title else None
            case ReceivedText(text=text):
                return self._by_text(turn, text)
            case _:
                return None

    def names(self, received: Received) -> bool:
        """Whether it is one of the choices by its button or by its whole label: not by number, not by a mere yes."""
        match received:
            case Tap(option_id=option_id):
                return any(option.id == option_id for option in self.all)
            case ReceivedText(text=text):
                return plain(text) in self._known
        return False

    def _by_text(self, turn: Turn, text: str) -> str | None:
        wanted = plain(text)
        known = self._known.get(wanted) or self._known.get(_bare(wanted))
        if known is not None:
            return known
        for option in self._changing:
            if plain(turn.text(option.labels)) == wanted:
                return option.id
        if wanted.isascii() and wanted.isdigit() and len(wanted) <= 3 and 1 <= int(wanted) <= len(self.all):
            return self.all[int(wanted) - 1].id
        return self._agreeing.get(meant) if self._agreeing and (meant := agrees(wanted)) is not None else None

    def _only(self, yes: bool) -> str | None:
        """The one option whose label begins with yes (or no) in some language."""
        found = {
            option_id
            for label, option_id in self._known.items()
            if _bare(label).partition(" ")[0] in _BEGINNINGS[yes]
        }
        return found.pop() if len(found) == 1 else None


def plain(text: str) -> str:
    """What counts when words are compared: folded, single spaces, without closing punctuation."""
    return " ".join(fold(text[:200]).split()).strip(" .,;:!?)(\"'“”«»¡¿")


def _bare(words: str) -> str:
    """Without the signs inside: people write `no grazie` for `No, grazie`."""
    return " ".join(_SIGNS.sub(" ", words).split())


def _changes(option: Option) -> bool:
    return any(wording.constant is None for wordings in option.labels.values() for wording in wordings)
