"""`return`: goes back to the flow that called this one, with an outcome and with what it found out.

```yaml
done:
  return: found
  give: {price: "{{ session.price }}", slots: {value: session.slots}}
```

The caller routes by the outcome (`outcomes` of its `sub_flow`) and reads what was given as `child.price`, or as
`result.price` where both flows share their scope. Without a caller the session ends with that outcome.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field

from flows.expressions import shown
from flows.state import Result
from flows.steps import StepDocument, StepRun, step
from flows.values import Key, Value, value_of

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

MAX_INPUT = 200  # characters of a given value's words, as with a question's result


@step("return")
class Return(StepDocument):
    """The main argument is the outcome, a word of the author's; `true` is `completed`."""

    model_config = ConfigDict(serialize_by_alias=True)  # `return` is a word of Python's

    return_: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")] | bool = Field(alias="return")
    give: Annotated[dict[Key, Value], Field(max_length=50)] = {}  # noqa: RUF012  a field's default, copied

    def prepare(self, maker: "Maker") -> "ReturnRun":
        if self.return_ is False or self.next is not None:
            raise ValueError("return takes an outcome or true, and nothing comes after it")
        give = tuple((key, value_of(value, f"give.{key}", maker)) for key, value in self.give.items())
        for key in self.give:
            maker.writes(f"result.{key}")
        outcome = self.return_ if isinstance(self.return_, str) else "completed"
        maker.ends(outcome)
        return ReturnRun(outcome, give)


@dataclass(frozen=True, slots=True)
class ReturnRun(StepRun):
    outcome: str
    give: tuple[tuple[str, Callable[["Turn"], Any]], ...]

    def enter(self, turn: "Turn") -> None:
        for key, value in self.give:
            given = value(turn)
            turn.record(key, Result(given, "given", shown(given, turn.language)[:MAX_INPUT]))
        turn.finish(self.outcome)
