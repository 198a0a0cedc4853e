"""`sub_flow`: runs another flow and comes back.

```yaml
address:
  sub_flow: ask_address
  scope: own
  give: {street: "{{ contact.fields.street | default('') }}"}
  outcomes: {abroad: no_delivery, failed: call_us}
  next: confirm
```

Without `scope` both flows share the session's variables and results. With `scope: own` the other flow begins with the
variables of `give` alone, and ours are untouched when it comes back; what it found out is then read as `child.<result>`
(`child.street`, `child.street.category`), how it ended as `child.outcome`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from flows.steps import FlowKey, StepDocument, StepId, StepRun, step
from flows.values import Key, Value, value_of

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn


@step("sub_flow")
class SubFlow(StepDocument):
    """`outcomes` maps the outcome of the other flow (of its `end` or `return`) to a step; other outcomes go to `next`.
    With an outcome `failed` this flow goes on when the other one fails; without it the session fails with it."""

    sub_flow: FlowKey
    scope: Literal["shared", "own"] = "shared"
    give: Annotated[dict[Key, Value], Field(max_length=50)] = {}  # noqa: RUF012  a field's default, copied
    outcomes: Annotated[dict[str, StepId], Field(max_length=50)] = {}  # noqa: RUF012

    @model_validator(mode="after")
    def _scoped(self) -> "SubFlow":
        if self.give and self.scope != "own":
            raise ValueError("give needs scope: own; a shared session.… is seen by both flows as it is")
        return self

    def prepare(self, maker: "Maker") -> "SubFlowRun":
        own = self.scope == "own"
        maker.calls(self.sub_flow, own=frozenset(self.give) if own else None)
        maker.exit("next", self.next)
        for outcome, target in self.outcomes.items():
            maker.exit(f"exit {outcome}", target)
        give = {key: value_of(value, f"give.{key}", maker) for key, value in self.give.items()}
        return SubFlowRun(self.sub_flow, give if own else None, dict(self.outcomes), self.next)


@dataclass(frozen=True, slots=True)
class SubFlowRun(StepRun):
    flow: str
    give: dict[str, Callable[["Turn"], Any]] | None = field(hash=False)
    exits: dict[str, str] = field(hash=False)
    next: str | None

    def enter(self, turn: "Turn") -> None:
        if self.give is None:
            turn.run_flow(self.flow, None)
            return
        given = {key: value(turn) for key, value in self.give.items()}
        turn.run_flow(self.flow, {key: value for key, value in given.items() if value is not None})

    def returned(self, turn: "Turn", outcome: str) -> None:
        turn.go(self.exits.get(outcome, self.next))
