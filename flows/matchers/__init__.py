"""Tests of routers: does this answer fit, and what in it did? One file a family, found by a folder scan.

`matcher("has_phrase").match("the Quick brown fox", ["quick brown"], environment)` gives `Match("Quick brown")`; None
when it does not fit; it raises `Unfit` when the value is an error or an argument cannot be read (`has_number_lt` with
"foo"). The steps `route` and `listen` ask them, and the expression language has each as a function. They follow
RapidPro's tests: words are compared without case, in the way of `flows.excellent.tokens`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from domain.errors import RejectedInput
from flows.excellent.environment import Environment
from flows.excellent.functions.arguments import CONVERT, read_signature
from flows.excellent.values import Fault, lift, text


class Match(NamedTuple):
    """What fitted: `value` as a value of the language (a number, a moment …), `extra` what was found besides."""

    value: Any
    extra: Any = None

    @property
    def text(self) -> str:
        """What fitted, as text: the value of a result."""
        return text(self.value)


class Unfit(ValueError):
    """The test cannot be made: the value is an error, or an argument is of another kind."""


Test = Callable[..., Match | None]


@dataclass(frozen=True, slots=True)
class Matcher:
    """One test. `label` says it in Italian and English; `least` to `most` arguments follow (-1: any number)."""

    key: str
    label: Mapping[str, str]
    least: int
    most: int
    price: int  # what it costs as a function, see `flows.excellent.evaluation`
    kinds: tuple[str, ...]
    rest: str
    test: Test
    tolerant: bool

    def match(self, value: Any, arguments: Sequence[Any], environment: Environment) -> Match | None:
        """What fits in the value (plain data or a value of the language), or None. Raises Unfit."""
        if not self.least <= len(arguments) or (self.most >= 0 and len(arguments) > self.most):
            raise Unfit(f"{self.key} needs {self.needs}, got {len(arguments)}")
        taken = [self._taken(0, lift(value), environment)]
        taken += [self._taken(at, lift(argument), environment) for at, argument in enumerate(arguments, 1)]
        return self.test(environment, *taken)

    @property
    def needs(self) -> str:
        """How many arguments it takes, in words."""
        if self.most < 0:
            return f"{self.least} or more arguments"
        if self.least == self.most:
            return "no arguments" if not self.most else f"{self.most} argument{'s' * (self.most > 1)}"
        return f"{self.least} to {self.most} arguments"

    def _taken(self, at: int, value: Any, environment: Environment) -> Any:
        if isinstance(value, Fault) and not self.tolerant:
            raise Unfit(value.what)
        kind = self.kinds[at] if at < len(self.kinds) else self.rest
        converted = CONVERT[kind](value, environment)
        if isinstance(converted, Fault) and not self.tolerant:
            raise Unfit(converted.what)
        return converted


_registry: dict[str, Matcher] = {}


def register(
    key: str, signature: str, *, it: str, en: str, price: int = 20, tolerant: bool = False
) -> Callable[[Test], Test]:
    """Registers a test of (environment, value, *arguments); `signature` as in `flows.excellent.functions.function`."""

    def registered(test: Test) -> Test:
        if key in _registry:
            raise RuntimeError(f"test {key!r} is registered twice: {test.__module__}")
        fixed, optional, rest = read_signature(signature)
        _registry[key] = Matcher(
            key=key,
            label=MappingProxyType({"it": it, "en": en}),
            least=len(fixed) - 1,
            most=-1 if rest else len(fixed) + len(optional) - 1,
            price=price,
            kinds=(*fixed, *optional),
            rest=rest,
            test=test,
            tolerant=tolerant,
        )
        return test

    return registered


@cache
def registry() -> Mapping[str, Matcher]:
    """Every test by its name; scans the folder once."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return _registry


def matcher(key: str, *, where: str = "test") -> Matcher:
    """The test of that name. Raises RejectedInput listing the known ones."""
    found = registry().get(key)
    if found is None:
        known = ", ".join(sorted(registry()))
        raise RejectedInput(f"unknown test {key!r}; known are {known}", where=where)
    return found
