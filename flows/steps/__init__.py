"""Step types, one file each, registered by `@step("<type>")` and found by a folder scan.

A file holds the document side (a frozen pydantic model; its first field is named like the type and takes the main
argument) and the running side (a `Runner`, made once per version by `prepare`). The docstring's YAML is the example
that the documentation shows. A type without `tests/flows/steps/<type>.json` fails the suite.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from domain import durations
from domain.errors import FlowError, RejectedInput, meant
from domain.events import HttpAnswered
from domain.messages import Received
from flows.texts import LocalText
from flows.versions import Runner

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

STEP_ID = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
FLOW_KEY = STEP_ID
CONTACT_TARGETS = ("name", "first_name", "last_name", "email", "phone", "language", "timezone")


def _duration(text: str) -> str:
    try:
        durations.parse(text)
    except RejectedInput as error:
        raise ValueError(error.what) from None
    return text


def savable(path: str) -> str:
    """The path, when a value can be put there. Raises ValueError."""
    root, _, rest = path.partition(".")
    fits = root == "session" or (
        root == "contact" and (rest in CONTACT_TARGETS or rest.startswith("fields."))
    )
    key = rest.removeprefix("fields.") if root == "contact" else rest
    if (
        not fits
        or not key.replace("_", "").replace("-", "").isalnum()
        or key.startswith("__" if root == "session" else "_")  # RapidPro's own variables begin with one
        or len(key) > 64
    ):
        allowed = f"session.<name>, contact.fields.<name> or contact.<{'|'.join(CONTACT_TARGETS)}>"
        raise ValueError(f"{path!r} cannot be written; it must be {allowed}")
    return path


StepId = Annotated[str, Field(pattern=STEP_ID)]
FlowKey = Annotated[str, Field(pattern=FLOW_KEY)]
OptionId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,39}$")]  # fits a callback's 64 bytes
Duration = Annotated[str, AfterValidator(_duration)]
SavePath = Annotated[str, AfterValidator(savable)]


class StepDocument(BaseModel):
    """What every step has. `next` "end" says that the flow ends there; `comment` is for its authors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    type: ClassVar[str]
    waits: ClassVar[str] = ""  # "answer", "wait", "call", or "" for a step that goes on at once

    next: StepId | None = None
    comment: str | None = Field(default=None, max_length=2_000)

    def waiting(self) -> str:
        """What the step waits for as it is written here; types for which that depends on their keys override it."""
        return self.waits

    def expects(self) -> Any:
        """What kind of answer or time is waited for: where it is equal in two versions, somebody who waits is moved
        from one to the other without a word (`moving`). A question expects its main argument, unless that is a text
        that is said; everything else all that is written, but for where it leads."""
        if self.waiting() == "answer":
            main = getattr(self, self.type, None)
            return None if isinstance(main, LocalText) else main
        return self.model_dump(exclude={"next", "comment", "on_message"})

    def prepare(self, maker: "Maker") -> Runner:
        """The running side; tells `maker` every text, condition, exit and variable of the step."""
        raise TypeError(f"{type(self).__name__} does not say how it runs")


class StepRun:
    """What a runner does with events that its step never waits for. Reached only by a state that was tampered with."""

    def answer(self, turn: "Turn", received: Received) -> None:
        raise FlowError("this step does not wait for an answer", step_id=turn.state.step)

    def due(self, turn: "Turn") -> None:
        raise FlowError("this step does not wait for a time", step_id=turn.state.step)

    def called(self, turn: "Turn", answer: HttpAnswered) -> None:
        raise FlowError("this step calls no service", step_id=turn.state.step)

    def returned(self, turn: "Turn", outcome: str) -> None:
        raise FlowError("this step calls no flow", step_id=turn.state.step)


_registry: dict[str, type[StepDocument]] = {}
Kind = TypeVar("Kind", bound=type[StepDocument])


def step(key: str) -> Callable[[Kind], Kind]:
    """Registers a step type; a second one with the same key is an error at start."""

    def registered(kind: Kind) -> Kind:
        if key in _registry:
            raise RuntimeError(
                f"step {key!r} is registered twice: {_registry[key].__module__}, {kind.__module__}"
            )
        kind.type = key
        _registry[key] = kind
        return kind

    return registered


@cache
def registry() -> Mapping[str, type[StepDocument]]:
    """Every step type by key; scans the folder once."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return _registry


def read_step(data: Any) -> StepDocument:
    """The step in plain data. Exactly one key names its type. Raises ValueError or pydantic.ValidationError."""
    if not isinstance(data, dict):
        raise ValueError("a step is a mapping, such as {send: Ciao, next: end}")
    named = [key for key in data if key in registry()]
    if len(named) != 1:
        known = ", ".join(sorted(registry()))
        found = (
            f"found {' and '.join(named)}"
            if named
            else f"found only {', '.join(map(str, data)) or 'nothing'}"
        )
        hint = "" if named else "".join(meant(str(key), registry()) for key in list(data)[:1])
        raise ValueError(f"exactly one key names the step's type ({known}); {hint}{found}")
    return registry()[named[0]].model_validate(data)
