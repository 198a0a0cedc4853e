"""`stage`: the contact came to a stage of the pipeline (the field `stage`), by a flow, a person or a program.

```yaml
- {stage: [offer, "won*"]}
```

The stage is `session.stage`.
"""

from typing import ClassVar

from flows.triggers import Fit, Names, Occasion, Trigger, named, trigger

FIELD = "stage"  # the contact's field that holds it


@trigger("stage")
class StageTrigger(Trigger):
    """`stage` names stages, with `*` for anything."""

    hears: ClassVar[str] = "field_changed"

    stage: Names

    @property
    def precision(self) -> int:
        return 2  # before `field_changed: stage`

    @property
    def claims(self) -> frozenset[str]:
        return frozenset(self.stage)

    @property
    def gives(self) -> frozenset[str] | None:
        return frozenset({"stage"})

    def fits(self, occasion: Occasion) -> Fit | None:
        if occasion.what != FIELD or not isinstance(occasion.value, str):
            return None
        found = named(self.stage, occasion.value)
        return None if found is None else Fit(found, {"stage": found})
