"""`end`: ends the flow with an outcome, which a calling flow may route by.

```yaml
goodbye:
  end: refused
  text: {it: "Va bene, a presto!", en: "All right, see you!"}
```
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from domain.messages import Text
from flows.options import Templates
from flows.steps import StepDocument, StepRun, step
from flows.texts import Texts

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn


@step("end")
class End(StepDocument):
    """The main argument is the outcome, a word of the author's; `true` is `completed`."""

    end: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")] | bool
    text: Texts | None = None

    def prepare(self, maker: "Maker") -> "EndRun":
        if self.end is False or self.next is not None:
            raise ValueError("end takes an outcome or true, and nothing comes after it")
        outcome = self.end if isinstance(self.end, str) else "completed"
        maker.ends(outcome)
        return EndRun(outcome, maker.text("text", self.text) if self.text else None)


@dataclass(frozen=True, slots=True)
class EndRun(StepRun):
    outcome: str
    text: Templates | None

    def enter(self, turn: "Turn") -> None:
        if self.text is not None:
            turn.send(Text(turn.text(self.text)))
        turn.finish(self.outcome)
