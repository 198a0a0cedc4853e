"""`wait`: does nothing for a while.

```yaml
pause:
  wait: 2 days
  on_message: menu
  next: remind
```
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from domain import durations
from domain.messages import Received
from flows.state import TIME
from flows.steps import Duration, StepDocument, StepId, StepRun, step

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn


@step("wait")
class Wait(StepDocument):
    """A message in the meantime leads to `on_message`, or is left to the triggers."""

    waits: ClassVar[str] = TIME

    wait: Duration
    on_message: StepId | None = None

    def prepare(self, maker: "Maker") -> "WaitRun":
        maker.exit("next", self.next)
        if self.on_message is not None:
            maker.exit("on_message", self.on_message)
        return WaitRun(durations.parse(self.wait), self.on_message, self.next)


@dataclass(frozen=True, slots=True)
class WaitRun(StepRun):
    ms: int
    on_message: str | None
    next: str | None

    def enter(self, turn: "Turn") -> None:
        turn.wait_until(turn.now + self.ms)

    def answer(self, turn: "Turn", received: Received) -> None:
        if self.on_message is not None:
            turn.go(self.on_message)

    def due(self, turn: "Turn") -> None:
        turn.go(self.next)
