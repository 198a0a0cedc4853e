"""`consent_withdrawn`: the person took back what they had agreed to: by STOP, the platform's switch, or in a flow.

```yaml
- {consent_withdrawn: marketing}
```

What was taken back is `session.purpose` (`*`: everything, as STOP does). Whatever such a flow says, it says no
marketing: steps with a purpose are left out, for every purpose, until the person writes again.
"""

from typing import ClassVar

from flows.triggers import Fit, Names, Occasion, Trigger, named, trigger


@trigger("consent_withdrawn")
class ConsentWithdrawnTrigger(Trigger):
    """`consent_withdrawn` names purposes, with `*` for anything; STOP, which ends all of them, is meant by each."""

    hears: ClassVar[str] = "consent_withdrawn"

    consent_withdrawn: Names

    @property
    def claims(self) -> frozenset[str]:
        return frozenset(self.consent_withdrawn)

    @property
    def gives(self) -> frozenset[str] | None:
        return frozenset({"purpose"})

    def fits(self, occasion: Occasion) -> Fit | None:
        if occasion.what != "*" and named(self.consent_withdrawn, occasion.what) is None:
            return None
        return Fit(occasion.what, {"purpose": occasion.what})
