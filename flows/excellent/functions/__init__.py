"""The functions of the expression language, one file a family, registered by `@function` and found by a folder scan.

A function is written with Python's values; its registration says how each argument is converted. An argument that
cannot be converted, and one that is a Fault, is the result, unless the function takes anything (`tolerant`).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from flows.excellent.evaluation import Evaluation
from flows.excellent.functions.arguments import CONVERT, read_signature
from flows.excellent.operations import size, whole
from flows.excellent.values import MAX_ITEMS, MAX_TEXT, Fault, Function, Object

Call = Callable[..., Any]
_registry: dict[str, Function] = {}


def function(
    signature: str, *, name: str = "", price: int = 0, per_character: int = 0, tolerant: bool = False
) -> Callable[[Call], Call]:
    """Registers a function of (evaluation, *arguments).

    `signature`: kinds of arguments, those in `[…]` may be missing, `kind*` takes any number: `"text, integer, [text]"`.
    It costs `price`, 1 for each hundred characters of its arguments, and `per_character` for each ten of them.
    """

    def registered(call: Call) -> Call:
        key = name or call.__name__.rstrip("_")
        if key in _registry:
            raise RuntimeError(f"function {key!r} is registered twice: {call.__module__}")
        _registry[key] = Function(key, _wrapped(key, call, signature, price, per_character, tolerant))
        return call

    return registered


@cache
def registry() -> Mapping[str, Function]:
    """Every function by its name in lower case; scans the folder once."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return _registry


def _wrapped(
    key: str, call: Call, signature: str, price: int, per_character: int, tolerant: bool
) -> Callable[[Evaluation, Sequence[Any]], Any]:
    fixed, optional, rest = read_signature(signature)
    kinds = [CONVERT[one] for one in (*fixed, *optional)]
    least, most = len(fixed), len(fixed) + len(optional)
    more = CONVERT[rest] if rest else None

    def run(evaluation: Evaluation, arguments: Sequence[Any]) -> Any:
        given = len(arguments)
        if given < least or (more is None and given > most):
            return Fault(f"error calling {key}: need {least} to {most} arguments, got {given}")
        characters = 0
        taken: list[Any] = []
        for position, argument in enumerate(arguments):
            if isinstance(argument, Fault) and not tolerant:
                return argument
            if not isinstance(argument, (Function, Object)):
                characters += len(argument) if isinstance(argument, str) else size(argument)
            convert = kinds[position] if position < most else more
            assert convert is not None
            if convert is CONVERT["text"]:
                evaluation.spend(whole(argument))
            value = convert(argument, evaluation.environment)
            if isinstance(value, Fault) and not tolerant:
                return Fault(f"error calling {key}: {value.what}")
            taken.append(value)
        evaluation.spend(price + characters // 100 + per_character * (characters // 10))
        found = call(evaluation, *taken)
        if isinstance(found, str) and len(found) > MAX_TEXT:
            return Fault(f"error calling {key}: text longer than {MAX_TEXT} characters")
        if isinstance(found, list) and len(found) > MAX_ITEMS:
            return Fault(f"error calling {key}: more than {MAX_ITEMS} items")
        return found

    return run
