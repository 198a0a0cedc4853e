"""What each kind of event does: one file per subject, registered by `@handles`; each kind has exactly one.

A handler runs in the worker's transaction, adds rows to the batch, and decides nothing that the engine decides.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar, get_args

from bot.flow_store import FlowStore
from bot.scope import Scope
from domain import events

Handle = Callable[[Scope, FlowStore, Any], None]
Function = TypeVar("Function", bound=Callable[..., None])
_registry: dict[type, Handle] = {}
_NEVER_OPEN = {events.DeliveryStatus, events.Unrecognised}  # done at intake


def handles(event: type) -> Callable[[Function], Function]:
    """Registers `function(scope, flows, event)`."""

    def register(function: Function) -> Function:
        if event in _registry:
            raise RuntimeError(f"event {event.__name__} is handled twice: {function.__module__}")
        _registry[event] = function
        return function

    return register


@cache
def registry() -> Mapping[type, Handle]:
    """Every event's handler; scans the folder once and demands one for each kind that intake leaves open."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    missing = [
        event.__name__
        for event in get_args(events.Event)
        if event not in _registry and event not in _NEVER_OPEN
    ]
    if missing:
        raise RuntimeError(f"nobody handles {', '.join(missing)}")
    return _registry
