"""What the command can have done by the installation: one file per subject, each function registered by `@operation`.

An operation runs where the store is: inside the running server, when there is one (it comes through the control socket,
`config/control.py`), else in the command's own process. So its arguments and its result are plain data, and it reads no
file and no environment of whoever asked. `config/commands/` turns command lines into arguments and results into words.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from domain.errors import RejectedInput

if TYPE_CHECKING:
    from config.bootstrap import App

Arguments = TypeVar("Arguments", bound=msgspec.Struct)
Result = dict[str, Any]


@dataclass(frozen=True)
class Context:
    """What an operation is handed. `workspace_id`: the business it works on; `progress` tells whoever asked how far
    it is: `progress(done, total, what)`."""

    app: App
    workspace_id: int
    progress: Callable[[int, int, str], None]

    @property
    def now(self) -> int:
        """ms UTC."""
        return self.app.clock()

    @property
    def new_id(self) -> Callable[[], int]:
        """Makes ids."""
        return self.app.runtime.new_id


Function = Callable[[Context, Any], Awaitable[Result]]
_registry: dict[str, tuple[type[msgspec.Struct], Function]] = {}


def operation(
    name: str, arguments: type[Arguments]
) -> Callable[
    [Callable[[Context, Arguments], Awaitable[Result]]], Callable[[Context, Arguments], Awaitable[Result]]
]:
    """Registers `async function(context, arguments) -> dict`; a second one of the name is an error at start."""

    def register(
        function: Callable[[Context, Arguments], Awaitable[Result]],
    ) -> Callable[[Context, Arguments], Awaitable[Result]]:
        if name in _registry:
            raise RuntimeError(f"operation {name!r} is registered twice: {function.__module__}")
        _registry[name] = (arguments, function)
        return function

    return register


@cache
def registry() -> Mapping[str, tuple[type[msgspec.Struct], Function]]:
    """Every operation by name; scans this folder once."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_registry.items()))


async def run(context: Context, name: str, arguments: Mapping[str, Any]) -> Result:
    """Runs an operation. Raises RejectedInput for an unknown name or arguments of another form, and what it raises."""
    known = registry().get(name)
    if known is None:
        raise RejectedInput(
            "there is no such operation: the command and the server are of different versions", where=name
        )
    form, function = known
    try:
        checked = msgspec.convert(dict(arguments), form)
    except msgspec.ValidationError as error:
        raise RejectedInput(str(error), where=name) from None
    return await function(context, checked)
