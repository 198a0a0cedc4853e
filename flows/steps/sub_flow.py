"""`sub_flow`: runs another flow and comes back; both share the session's variables and results.

```yaml
address:
  sub_flow: ask_address
  exits: {abroad: no_delivery}
  next: confirm
```
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from domain.errors import FlowError
from flows.state import Frame
from flows.steps import FlowKey, StepDocument, StepId, StepRun, step

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

MAX_STACK = 10  # flows inside flows: deeper is a flow that calls itself


@step("sub_flow")
class SubFlow(StepDocument):
    """`exits` maps the outcome of the other flow's `end` step to a step; other outcomes go to `next`."""

    sub_flow: FlowKey
    exits: Annotated[dict[str, StepId], Field(max_length=50)] = {}  # noqa: RUF012  a field's default, copied

    def prepare(self, maker: "Maker") -> "SubFlowRun":
        maker.calls(self.sub_flow)
        maker.exit("next", self.next)
        for outcome, target in self.exits.items():
            maker.exit(f"exit {outcome}", target)
        return SubFlowRun(self.sub_flow, dict(self.exits), self.next)


@dataclass(frozen=True, slots=True)
class SubFlowRun(StepRun):
    flow: str
    exits: dict[str, str] = field(hash=False)
    next: str | None

    def enter(self, turn: "Turn") -> None:
        state = turn.state
        if len(state.stack) >= MAX_STACK:
            raise FlowError(f"flows call each other more than {MAX_STACK} deep", step_id=state.step)
        frame = Frame(state.flow, state.version, state.step)
        flow = turn.switch(self.flow)
        state.stack.append(frame)
        state.asked.clear()
        turn.go(flow.start)

    def returned(self, turn: "Turn", outcome: str) -> None:
        turn.go(self.exits.get(outcome, self.next))
