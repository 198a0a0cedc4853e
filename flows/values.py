"""Values that authors write into steps (`set`, `give`): fixed ones, texts with placeholders, and copies.

`Anna`, `3`, `true` · `"{{ session.interest }}"`, whose result is text · `{value: session.slots}`, a copy of whatever
stands there (list, number, place …), where a template would make text of it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from domain.errors import FlowError
from flows.paths import plain
from flows.texts import local_text

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

MAX_VALUE = 1_000  # characters of a text that is set
MAX_COPY = 10_000  # bytes of a copied list or mapping, as JSON: a list of slots or products, not a catalogue

Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


class Copy(BaseModel):
    """`{value: result.slots}`: the value itself, of whatever kind."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    value: Annotated[str, Field(min_length=1, max_length=MAX_VALUE)]


Plain = bool | int | float | Annotated[str, Field(max_length=MAX_VALUE)]


def _value(data: Any) -> Any:
    """One sentence for what is wrong, instead of one for every kind of value there is."""
    if isinstance(data, str) and len(data) > MAX_VALUE:
        raise ValueError(f"a value has at most {MAX_VALUE} characters")
    if not isinstance(data, (str, bool, int, float, BaseModel)) and not (
        isinstance(data, dict) and set(data) == {"value"}
    ):
        raise ValueError("a value is a text, a number, true, false or {value: path}")
    return data


Value = Annotated[Plain | Copy, BeforeValidator(_value)]


def value_of(value: Value, field: str, maker: "Maker") -> Callable[["Turn"], Any]:
    """The function that gives the value in a turn; None where there is nothing. `field`: its path, for faults."""
    if isinstance(value, Copy):
        return _bounded(maker.path(f"{field}.value", value.value))
    if isinstance(value, str) and value:
        text = maker.value(field, local_text(value))
        return lambda turn: text.render(turn)[:MAX_VALUE] or None
    return lambda turn: value


def _bounded(read: Callable[["Turn"], Any]) -> Callable[["Turn"], Any]:
    def copy(turn: "Turn") -> Any:
        value = plain(read(turn))
        if isinstance(value, (list, dict, str)) and len(msgspec.json.encode(value)) > MAX_COPY:
            raise FlowError(
                f"a value of more than {MAX_COPY} bytes cannot be copied", step_id=turn.state.step
            )
        return value

    return copy
