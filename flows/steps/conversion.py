"""`conversion`: records that something of value happened: an order, a booking, a sale.

```yaml
ordered:
  conversion: order
  value: "{{ session.total }}"
  currency: EUR
  next: thanks
```

Without a value, or where the value is no amount, it counts all the same, as one whose value nobody knows.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from domain.effects import RecordConversion
from flows.expressions import Template
from flows.steps import StepDocument, StepRun, step
from flows.steps.stage import Currency, Value, units, worth
from flows.texts import local_text

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

MAX_NAME = 100  # characters


@step("conversion")
class Conversion(StepDocument):
    """The main argument is the name under which conversions are counted."""

    conversion: Annotated[str, Field(min_length=1, max_length=1_000)]
    value: Value | None = None
    currency: Currency = "EUR"

    def prepare(self, maker: "Maker") -> "ConversionRun":
        maker.exit("next", self.next)
        name = maker.value("conversion", local_text(self.conversion))
        return ConversionRun(name, worth(self.value, maker), self.currency, self.next)


@dataclass(frozen=True, slots=True)
class ConversionRun(StepRun):
    name: Template
    value: Template | float | None
    currency: str
    next: str | None

    def enter(self, turn: "Turn") -> None:
        name = self.name.render(turn).strip()[:MAX_NAME]
        if name:
            amount, currency = units(self.value, self.currency, turn) or (0, "")
            turn.add(RecordConversion(turn.state.step, name, amount, currency, turn.state.version))
        turn.go(self.next)
