"""One evaluation: the allowance that it spends, the variables of lambdas, the way to the data of the turn.

Every part of an expression costs something: a step 1, a text that is made or read 1 for each hundred characters, what
is dearer (patterns, phone numbers, dates) a price of its own. The allowance is for one template; who spends more gets
`TooComplex`, which the template turns into a Fault. So the time of an evaluation does not depend on its author's or
the contact's good will.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from flows.excellent.environment import Environment
from flows.excellent.values import MAX_TEXT, Fault

ALLOWANCE = 10_000  # of one template: about a microsecond or two each
MAX_CALLS = 12  # lambdas within lambdas; recursion is not a way to anywhere

Root = Callable[[], Any]


class TooComplex(Exception):
    """The allowance is used up."""


class Evaluation:
    """What closures are given. `root` answers a name of the context (None: there is none)."""

    __slots__ = ("_random", "calls", "environment", "faults", "left", "root", "scope", "seed")

    def __init__(
        self, environment: Environment, root: Callable[[str], Root | None], *, seed: int = 0
    ) -> None:
        self.environment = environment
        self.root = root
        self.seed = seed
        self.left = ALLOWANCE
        self.calls = 0
        self.scope: Mapping[str, Any] = {}
        self.faults: list[str] = []
        self._random: random.Random | None = None

    def spend(self, price: int = 1) -> None:
        """Takes from the allowance. Raises TooComplex."""
        self.left -= price
        if self.left < 0:
            raise TooComplex

    def context(self, name: str) -> Any:
        """The value of a name at the top of the context."""
        root = self.root(name)
        return Fault(f"context has no property '{name[:64]}'") if root is None else root()

    def random(self) -> random.Random:
        """Chance, the same for the same turn."""
        if self._random is None:
            self._random = random.Random(self.seed)  # noqa: S311  replay needs a seed, not secrecy
        return self._random

    def made(self, text: str) -> str | Fault:
        """A text that was made: paid for, and a Fault when it is too long."""
        self.spend(len(text) // 100)
        return text if len(text) <= MAX_TEXT else Fault(f"text longer than {MAX_TEXT} characters")
