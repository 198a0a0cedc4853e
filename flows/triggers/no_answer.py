"""`no_answer`: nobody answered what the bot said, for this long.

```yaml
- {no_answer: 2 days, question: true}
- {no_answer: 7 days}
```

The span counts from the moment at which the platform accepted the last message of the bot's answer to the person, and
ends with whatever they write. `question: true`: only when a question still waits then. Each such trigger starts once
for one silence. A session that waits for the person is ended (see `interrupts`, `resume`), one that waits for a time
is not. While a person of the business has the conversation nothing starts.
"""

from typing import ClassVar

from domain import durations
from flows.steps import Duration
from flows.triggers import Fit, Occasion, Trigger, trigger


@trigger("no_answer")
class NoAnswerTrigger(Trigger):
    """`no_answer` is the span."""

    hears: ClassVar[str] = "no_answer"
    comes_in: ClassVar[bool] = True

    no_answer: Duration
    question: bool = False

    @property
    def span_ms(self) -> int:
        return durations.parse(self.no_answer)

    def fits(self, occasion: Occasion) -> Fit | None:
        """`value`: what the conversation waits for, `answer`, `wait` … or ""."""
        waits = str(occasion.value or "")
        if (self.question and waits != "answer") or (waits not in ("", "answer") and not self.interrupts):
            return None
        return Fit(self.no_answer)
