"""Effects of the engine become rows of the batch: one file per effect, registered by `@applies`.

A room above registers its own in the same way; a second function for one effect is an error at start, and so is an
effect that nobody applies (`check`).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar, get_args

from bot.scope import Scope
from domain import effects as vocabulary

Apply = Callable[[Scope, Any], None]
Function = TypeVar("Function", bound=Callable[..., None])
_registry: dict[type, Apply] = {}


def applies(effect: type) -> Callable[[Function], Function]:
    """Registers `function(scope, effect)`: adds the effect's rows to the batch."""

    def register(function: Function) -> Function:
        if effect in _registry:
            raise RuntimeError(f"effect {effect.__name__} is applied twice: {function.__module__}")
        _registry[effect] = function
        return function

    return register


@cache
def registry() -> Mapping[type, Apply]:
    """Every effect's function; scans the folder once and demands one for each effect of the vocabulary."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    missing = [effect.__name__ for effect in get_args(vocabulary.Effect) if effect not in _registry]
    if missing:
        raise RuntimeError(f"nobody applies {', '.join(missing)}")
    return _registry


def apply(scope: Scope, effects: list[vocabulary.Effect]) -> None:
    """Applies effects in their order."""
    functions = registry()
    for effect in effects:
        functions[type(effect)](scope, effect)
