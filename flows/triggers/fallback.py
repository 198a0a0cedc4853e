"""`fallback`: what no other trigger means and no session waits for.

```yaml
- fallback
```
"""

from typing import ClassVar, Literal

from flows.triggers import ELSE, Fit, Occasion, Trigger, trigger


@trigger("fallback")
class FallbackTrigger(Trigger):
    """It never ends a session that waits."""

    rank: ClassVar[int] = ELSE

    fallback: Literal[True]

    @property
    def may_interrupt(self) -> bool:
        return False

    @property
    def claims(self) -> frozenset[str]:
        return frozenset({""})

    def fits(self, occasion: Occasion) -> Fit | None:
        return Fit(occasion.words)
