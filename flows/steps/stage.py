"""`stage`: moves the contact to a stage of a pipeline, with what it may be worth.

```yaml
offered:
  stage: offer
  value: "{{ session.total }}"
  currency: EUR
  next: thanks
```

The stage stands in the contact's field `stage`, the value in `stage_value` (with `field: rent` in `rent` and
`rent_value`), so that segments and texts can read them; the way from stage to stage is in the timeline.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from domain.effects import AddEntry
from flows import amounts
from flows.expressions import Template
from flows.steps import StepDocument, StepRun, step
from flows.steps.score import FieldKey
from flows.texts import local_text

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

MAX_STAGE = 64  # characters
Value = (
    Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
    | Annotated[str, Field(min_length=1, max_length=1_000)]
)
Currency = Annotated[str, Field(pattern=amounts.CURRENCY)]


@step("stage")
class Stage(StepDocument):
    """`value`: a number or a template; what is no amount changes nothing there."""

    stage: Annotated[str, Field(min_length=1, max_length=1_000)]
    field: FieldKey = "stage"
    value: Value | None = None
    currency: Currency = "EUR"

    def prepare(self, maker: "Maker") -> "StageRun":
        maker.exit("next", self.next)
        maker.writes(f"contact.fields.{self.field}")
        if self.value is not None:
            maker.writes(f"contact.fields.{self.field}_value")
        stage = maker.value("stage", local_text(self.stage))
        return StageRun(stage, self.field, worth(self.value, maker), self.currency, self.next)


def worth(value: float | str | None, maker: "Maker") -> Template | float | None:
    """A value as it is written, ready to be asked for."""
    return maker.value("value", local_text(value)) if isinstance(value, str) else value


def units(value: Template | float | None, currency: str, turn: "Turn") -> tuple[int, str] | None:
    """The value in the smallest unit, and its currency; None when there is none."""
    if isinstance(value, (int, float)) or value is None:
        return amounts.amount(value, currency, turn.language)
    try:
        return amounts.amount(value.evaluate(turn), currency, turn.language)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class StageRun(StepRun):
    stage: Template
    field: str
    value: Template | float | None
    currency: str
    next: str | None

    def enter(self, turn: "Turn") -> None:
        stage = self.stage.render(turn).strip()[:MAX_STAGE]
        if stage:
            self._move(turn, stage)
        turn.go(self.next)

    def _move(self, turn: "Turn", stage: str) -> None:
        before = turn.contact.fields.get(self.field)
        data: dict[str, Any] = {"field": self.field, "from": before or "", "to": stage}
        turn.save(f"contact.fields.{self.field}", stage)
        found = units(self.value, self.currency, turn)
        if found is not None:
            amount, currency = found
            number = float(Decimal(amount).scaleb(-amounts.digits(currency)))
            turn.save(f"contact.fields.{self.field}_value", int(number) if number.is_integer() else number)
            data |= {"value": amounts.plain(amount, currency)}
        turn.add(AddEntry(turn.state.step, "stage", data))
