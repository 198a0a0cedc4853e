"""A flow's compiled version: immutable, made once by the compiler, shared by every session that is pinned to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from domain.events import HttpAnswered
from domain.messages import Received
from flows.texts import LocalText

if TYPE_CHECKING:
    from flows.document import FlowDocument
    from flows.turns import Turn


class Runner(Protocol):
    """What a step does. Each method ends by exactly one of `turn.go`, `turn.finish`, `turn.wait_for_…`."""

    def enter(self, turn: Turn) -> None:
        """The session arrives at the step."""

    def answer(self, turn: Turn, received: Received) -> None:
        """The contact answered while the session waits here."""

    def due(self, turn: Turn) -> None:
        """The timer of this stay is due."""

    def called(self, turn: Turn, answer: HttpAnswered) -> None:
        """The call of this stay has come back."""

    def returned(self, turn: Turn, outcome: str) -> None:
        """The sub-flow that was called here has ended."""


@dataclass(frozen=True, slots=True)
class Exit:
    """One way out of a step. `target` None: not said where; "end": the flow ends; `flow`: another flow's start."""

    name: str  # "next", "otherwise", "option price" …
    target: str | None
    flow: str | None = None


@dataclass(frozen=True, slots=True)
class TemplateUse:
    """A platform's template that a step sends. `language` "" is the session's; `values`: the names of what the body is
    filled with, "" for a value by its place; `buttons`: the numbers of those that take a value. `sources` are the
    values as they were written, (field, source), and `open` the paths of those that come out empty when nothing is
    there."""

    name: str
    category: str
    language: str
    header: bool
    values: tuple[str, ...]
    buttons: tuple[str, ...]
    sources: tuple[tuple[str, str], ...] = ()
    open: tuple[tuple[str, frozenset[str]], ...] = ()


@dataclass(frozen=True, slots=True)
class CompiledStep:
    """One step, ready to run, with what inspection wants to know of it."""

    id: str
    type: str
    waits: str  # "answer", "wait", "call" or ""
    line: int
    runner: Runner
    exits: tuple[Exit, ...]
    texts: tuple[tuple[str, LocalText], ...]  # (field, text)
    reads: frozenset[str]  # paths that are read where nothing stands in for a missing value
    writes: frozenset[str]
    result: str | None  # the key of what a question gives
    calls: str | None  # the sub-flow it calls
    buttons: tuple[tuple[str, LocalText], ...]  # (option id, label)
    costs: str | None = None  # what each passing costs money for ("ai")
    secrets: frozenset[str] = frozenset()  # names of the installation's values that it uses
    own_scope: frozenset[str] | None = (
        None  # of the sub-flow: the variables that it begins with; None: it shares ours
    )
    shows: str = ""  # what its message is, where that has limits of its own: media, template
    weight: int = 1  # comparisons, placeholders and filters in it: about the microseconds that it may take
    counts: bool = False  # a text of it asks how often it was entered
    unknown: frozenset[str] = frozenset()  # names in its expressions that nothing answers to
    passes: frozenset[str] = frozenset()  # exits of a step that waits by which it may be left without waiting
    blank: frozenset[str] = frozenset()  # exits of a question that are also taken without an answer
    clears: frozenset[str] = frozenset()  # variables that it empties
    decides: frozenset[str] = frozenset()  # paths that its way on depends on
    ends: str | None = None  # the outcome with which it ends the flow
    ways: int = 0  # buttons of ours below a question: skip, back
    second: tuple[tuple[str, LocalText], ...] = ()  # buttons of a second question of the same step
    unsaid: frozenset[str] = frozenset()  # fields of texts that the contact does not see
    template: TemplateUse | None = None


@dataclass(frozen=True, slots=True)
class CompiledFlow:
    """A version of a flow. `version` is the id of its row (0 for one that is only tried out)."""

    key: str
    version: int
    languages: tuple[str, ...]
    start: str
    steps: Mapping[str, CompiledStep]
    document: FlowDocument
    expires_ms: int = 30 * 86_400_000


def pinned(library: Mapping[str, CompiledFlow], key: str, version: int) -> CompiledFlow | None:
    """Exactly that version of a flow in a library, or None.

    A library answers `key` (the published version) and, for sessions inside older ones, `key@version`.
    """
    found = library.get(f"{key}@{version}") or library.get(key)
    return found if found is not None and found.version == version else None
