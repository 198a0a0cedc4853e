"""`set`: writes fields of the contact or variables of the session.

```yaml
remember:
  set:
    contact.fields.interest: "{{ session.interest }}"
    contact.language: it
    contact.fields.requests: {add: 1}
    session.draft: null
  next: thanks
```
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from flows.expressions import Template
from flows.steps import SavePath, StepDocument, StepRun, step
from flows.texts import local_text

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

MAX_VALUE = 1_000  # characters of a value that is set


class Add(BaseModel):
    """`{add: 1}`: adds to the number that is there; changes of others at the same time are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    add: Annotated[float, Field(allow_inf_nan=False)]


Value = bool | int | float | Annotated[str, Field(max_length=MAX_VALUE)] | Add | None


@step("set")
class Set(StepDocument):
    """Texts are templates; null removes the value."""

    set: Annotated[dict[SavePath, Value], Field(min_length=1, max_length=50)]

    def prepare(self, maker: "Maker") -> "SetRun":
        maker.exit("next", self.next)
        changes: list[tuple[str, Any]] = []
        for path, value in self.set.items():
            maker.writes(path)
            if isinstance(value, Add) and not path.startswith(("session.", "contact.fields.")):
                raise ValueError(f"{path} is no number; add works on session.… and contact.fields.…")
            if isinstance(value, str):
                changes.append((path, maker.value(f"set.{path}", local_text(value)) if value else ""))
            else:
                changes.append((path, value))
        return SetRun(tuple(changes), self.next)


@dataclass(frozen=True, slots=True)
class SetRun(StepRun):
    changes: tuple[tuple[str, Any], ...]
    next: str | None

    def enter(self, turn: "Turn") -> None:
        for path, value in self.changes:
            if isinstance(value, Add):
                turn.increment(path, int(value.add) if value.add.is_integer() else value.add)
            elif isinstance(value, Template):
                turn.save(path, value.render(turn)[:MAX_VALUE] or None)
            else:
                turn.save(path, value)
        turn.go(self.next)
