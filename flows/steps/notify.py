"""`notify`: tells people of the team; the contact does not see it.

```yaml
tell:
  notify: {it: "Nuova richiesta: {{ session.interest }}", en: "New request: {{ session.interest }}"}
  team: sales
  next: thanks
```

It stands in the list of news for the team until somebody has seen it, and goes to the team's chat where the business
file names one. The business's language counts, not the contact's. A text that comes out empty tells nothing.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from domain.effects import NotifyTeam
from flows.options import Templates
from flows.steps import StepDocument, StepRun, step
from flows.texts import Texts

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn


@step("notify")
class Notify(StepDocument):
    """`team`: whom it concerns, the word that `hand_over` takes as well."""

    notify: Texts
    team: Annotated[str, Field(min_length=1, max_length=64)] | None = None

    def prepare(self, maker: "Maker") -> "NotifyRun":
        maker.exit("next", self.next)
        return NotifyRun(maker.text("notify", self.notify, said=False), self.team or "", self.next)


@dataclass(frozen=True, slots=True)
class NotifyRun(StepRun):
    text: Templates
    team: str
    next: str | None

    def enter(self, turn: "Turn") -> None:
        text = turn.text(self.text, language=turn.business.language).strip()
        if text:
            turn.add(NotifyTeam(turn.state.step, text, self.team))
        turn.go(self.next)
