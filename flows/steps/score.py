"""`score`: adds points to the contact, or takes some away, and keeps the reason in the timeline.

```yaml
interested:
  score: 10
  reason: {it: Ha chiesto i prezzi, en: Asked for prices}
  next: prices
```
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from domain.effects import AddEntry
from flows.options import Templates
from flows.steps import StepDocument, StepRun, step
from flows.texts import Texts

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

MAX_POINTS = 1_000_000  # at once: more is a mistake
FieldKey = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


@step("score")
class Score(StepDocument):
    """`field`: the contact's field that holds the points; several fields are several scores."""

    score: Annotated[float, Field(ge=-MAX_POINTS, le=MAX_POINTS, allow_inf_nan=False)]
    field: FieldKey = "score"
    reason: Texts | None = None

    def prepare(self, maker: "Maker") -> "ScoreRun":
        maker.exit("next", self.next)
        maker.writes(f"contact.fields.{self.field}")
        reason = maker.text("reason", self.reason, said=False) if self.reason else None
        points = int(self.score) if self.score.is_integer() else self.score
        return ScoreRun(points, self.field, reason, self.next)


@dataclass(frozen=True, slots=True)
class ScoreRun(StepRun):
    points: float
    field: str
    reason: Templates | None
    next: str | None

    def enter(self, turn: "Turn") -> None:
        turn.increment(f"contact.fields.{self.field}", self.points)
        data = {"field": self.field, "points": self.points, "total": turn.contact.fields[self.field]}
        if self.reason is not None:
            data["reason"] = turn.text(self.reason, language=turn.business.language)
        turn.add(AddEntry(turn.state.step, "score", data))
        turn.go(self.next)
