"""`first_message`: the contact writes here for the first time, or opens the bot (`/start`).

```yaml
- first_message
```
"""

from typing import ClassVar, Literal

from flows.triggers import FIRST, Fit, Occasion, Trigger, trigger


@trigger("first_message")
class FirstMessageTrigger(Trigger):
    """It never ends a session that waits; `/start` does."""

    rank: ClassVar[int] = FIRST

    first_message: Literal[True]

    @property
    def may_interrupt(self) -> bool:
        return False

    @property
    def claims(self) -> frozenset[str]:
        return frozenset({""})

    def fits(self, occasion: Occasion) -> Fit | None:
        return Fit(occasion.words) if occasion.first or occasion.start else None
