"""`goto`: goes to another step, or leaves for another flow for good.

```yaml
again: {goto: menu}
leave: {goto: {flow: newsletter}}
anew: {goto: {flow: menu, fresh: true}}
```
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from flows.steps import FlowKey, StepDocument, StepId, StepRun, step

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn


class OtherFlow(BaseModel):
    """Another flow, at its start or at a step of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    flow: FlowKey
    step: StepId | None = None
    fresh: bool = False  # with nothing of ours: own variables and results, and nobody to come back to


@step("goto")
class Goto(StepDocument):
    """Variables and results stay; who called this flow as a sub-flow still gets control back at the other's end.
    With `fresh` the other flow begins with nothing, as if the contact had just come to it."""

    goto: StepId | OtherFlow

    def prepare(self, maker: "Maker") -> "GotoRun":
        if isinstance(self.goto, OtherFlow):
            maker.exit("goto", self.goto.step, flow=self.goto.flow)
            return GotoRun(self.goto.step, self.goto.flow, self.goto.fresh)
        maker.exit("goto", self.goto)
        return GotoRun(self.goto, None, False)


@dataclass(frozen=True, slots=True)
class GotoRun(StepRun):
    target: str | None
    flow: str | None
    fresh: bool

    def enter(self, turn: "Turn") -> None:
        if self.flow is None:
            turn.go(self.target)
            return
        if self.fresh:
            turn.leave()
        flow = turn.switch(self.flow)
        turn.state.asked.clear()
        turn.go(self.target or flow.start)
