"""`consent_given`: the person agreed to a purpose; with double opt-in, when they have confirmed.

```yaml
- {consent_given: marketing}
```

The purpose is `session.purpose`.
"""

from typing import ClassVar

from flows.triggers import Fit, Names, Occasion, Trigger, named, trigger


@trigger("consent_given")
class ConsentGivenTrigger(Trigger):
    """`consent_given` names purposes, with `*` for anything."""

    hears: ClassVar[str] = "consent_given"

    consent_given: Names

    @property
    def claims(self) -> frozenset[str]:
        return frozenset(self.consent_given)

    @property
    def gives(self) -> frozenset[str] | None:
        return frozenset({"purpose"})

    def fits(self, occasion: Occasion) -> Fit | None:
        found = named(self.consent_given, occasion.what)
        return None if found is None else Fit(occasion.what, {"purpose": occasion.what})
