"""`set`: writes fields of the contact or variables of the session.

```yaml
remember:
  set:
    contact.fields.interest: "{{ session.interest }}"
    contact.language: it
    contact.fields.requests: {add: 1}
    contact.fields.slots: {value: result.slots}
    session.basket: {append: "{{ session.product }}"}
    session.wishes: {remove: "{{ session.product }}"}
    session.draft: null
    result.interest: {text: "{{ session.interest }}", category: Known}
  next: thanks
```

A text is a template, whose result is text; `{value: path}` copies what stands there as it is; `{add: n}` adds to a
number; `{append: …}` and `{remove: …}` change a list; null clears. `result.<key>` keeps a result as a question does:
a text, or `{text: …, category: …}`. `contact.language` is from then on the language
that the flow speaks, where it is written in it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from domain.errors import FlowError
from flows.expressions import Getter, getter, split
from flows.routing import MAX_VALUE as MAX_RESULT
from flows.state import Result
from flows.steps import StepDocument, StepRun, savable, step
from flows.values import MAX_VALUE, Copy, Plain, Value, value_of

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
MAX_ITEMS = 100  # of a list that a flow gathers: more is a table


class Add(BaseModel):
    """`{add: 1}`: adds to the number that is there; changes of others at the same time are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    add: Annotated[float, Field(ge=-1e15, le=1e15)]  # whole numbers stay whole in every database


class Append(BaseModel):
    """`{append: x}`: puts it at the end of the list; the items of a list one by one."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    append: Value


class Remove(BaseModel):
    """`{remove: x}`: takes every such item out of the list."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    remove: Value


class Kept(BaseModel):
    """`{text: "18", category: Adult}`: a result."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    text: Annotated[str, Field(max_length=MAX_VALUE)]
    category: Annotated[str, Field(max_length=MAX_VALUE)] = ""
    localized: Annotated[dict[str, str], Field(max_length=20)] = Field(default_factory=dict)  # in languages


def _place(path: str) -> str:
    key = path.removeprefix("result.")
    return path if key != path and _KEY.fullmatch(key) else savable(path)


CHANGES: dict[str, type[Add | Append | Remove | Copy | Kept]] = {
    "add": Add,
    "append": Append,
    "remove": Remove,
    "value": Copy,
    "text": Kept,
}


def _written(data: Any) -> Any:
    """One sentence for what is wrong, instead of one for every kind of change there is."""
    if isinstance(data, dict):
        kind = next((CHANGES[key] for key in CHANGES if key in data), None)
        if kind is None:
            raise ValueError(f"a change is one of {', '.join(CHANGES)}")
        return kind.model_validate(data)
    if isinstance(data, str) and len(data) > MAX_VALUE:
        raise ValueError(f"a value has at most {MAX_VALUE} characters")
    if data is not None and not isinstance(data, (str, bool, int, float, BaseModel)):
        raise ValueError(f"a value is a text, a number, true, false, null, or one of {', '.join(CHANGES)}")
    return data


Written = Annotated[Plain | Copy | Add | Append | Remove | Kept | None, BeforeValidator(_written)]
Change = Callable[["Turn"], None]


@step("set")
class Set(StepDocument):
    """The keys are `session.<name>`, `contact.fields.<key>`, `contact.<column>` and `result.<key>`, written in their
    order."""

    set: Annotated[dict[Annotated[str, AfterValidator(_place)], Written], Field(min_length=1, max_length=50)]

    def prepare(self, maker: "Maker") -> "SetRun":
        maker.exit("next", self.next)
        changes = []
        for path, value in self.set.items():
            changes.append(_change(path, value, maker))
            if value is None:
                maker.clears(path)
            else:
                maker.writes(path)
                maker.knows(path)
        return SetRun(tuple(changes), self.next)


def _change(path: str, value: Any, maker: "Maker") -> Change:
    field = f"set.{path}"
    if path.startswith("result.") or isinstance(value, Kept):
        return _result_change(path, value, field, maker)
    if isinstance(value, (Add, Append, Remove)) and not path.startswith(("session.", "contact.fields.")):
        raise ValueError(
            f"{path} is no {'number' if isinstance(value, Add) else 'list'}; "
            f"{next(iter(type(value).model_fields))} works on session.… and contact.fields.…"
        )
    match value:
        case Add(add=add):
            by = int(add) if add.is_integer() else add
            return lambda turn: turn.increment(path, by)
        case Append(append=item):
            return _list_change(path, value_of(item, f"{field}.append", maker), _appended)
        case Remove(remove=item):
            return _list_change(path, value_of(item, f"{field}.remove", maker), _without)
        case None:
            return lambda turn: turn.save(path, None)
        case _:
            read = value_of(value, field, maker)
            if maker.excellent:
                most = MAX_RESULT if path.startswith("contact.fields.") else MAX_VALUE
                return _when_readable(read, lambda turn, value: turn.save(path, _trimmed(value, most)))
            return lambda turn: turn.save(path, read(turn))


def _result_change(path: str, value: Any, field: str, maker: "Maker") -> Change:
    key = path.removeprefix("result.")
    if key == path or not isinstance(value, (str, int, float, Kept, NoneType)):
        raise ValueError(f"{path}: a result is a text or {{text, category}}, and only results are")
    if value is None:
        return lambda turn: turn.forget(key)
    category = value_of(value.category, f"{field}.category", maker) if isinstance(value, Kept) else None
    names = value.localized if isinstance(value, Kept) else {}
    read = value_of(value.text if isinstance(value, Kept) else value, field, maker)

    def keep(turn: "Turn", kept: Any) -> None:
        called = (category(turn) or "") if category else ""
        turn.record(key, Result("" if kept is None else kept, called, "", None, names.get(turn.language, "")))

    if maker.excellent:
        return _when_readable(read, lambda turn, kept: keep(turn, kept[:MAX_RESULT] if kept else kept))
    return lambda turn: keep(turn, read(turn))


def _when_readable(read: Getter, change: Callable[["Turn", Any], None]) -> Change:
    """RapidPro's way: what an expression in error would set stays as it was."""

    def changed(turn: "Turn") -> None:
        before = turn.faulted
        value = read(turn)
        if turn.faulted == before:
            change(turn, value)

    return changed


def _trimmed(value: Any, most: int) -> Any:
    """A text without white space at its ends, of the length that RapidPro keeps; nothing for an empty one."""
    return (value.strip()[:most] or None) if isinstance(value, str) else value


def _list_change(path: str, read: Getter, change: Callable[[list[Any], list[Any]], list[Any]]) -> Change:
    current = getter(split(path))

    def changed(turn: "Turn") -> None:
        items = change(_items(current(turn)), _items(read(turn)))
        if len(items) > MAX_ITEMS:
            raise FlowError(f"a list has at most {MAX_ITEMS} items ({path})", step_id=turn.state.step)
        turn.save(path, items)

    return changed


def _items(value: Any) -> list[Any]:
    """What is there as a list of plain items: no lists inside lists, which would grow without bound."""
    if value is None:
        return []
    items = (
        sorted(value)
        if isinstance(value, (set, frozenset))
        else value
        if isinstance(value, list)
        else [value]
    )
    return [item for item in items if isinstance(item, (str, int, float))]


def _appended(items: list[Any], more: list[Any]) -> list[Any]:
    return [*items, *more]


def _without(items: list[Any], less: list[Any]) -> list[Any]:
    return [item for item in items if item not in less]


@dataclass(frozen=True, slots=True)
class SetRun(StepRun):
    changes: tuple[Change, ...]
    next: str | None

    def enter(self, turn: "Turn") -> None:
        for change in self.changes:
            change(turn)
        turn.go(self.next)
