"""`event`: a program told of something that happened: an order was paid, a parcel was sent.

```yaml
- {event: "order_*"}
```

`POST /contacts/{id}/events` with `{"name": "order_paid", "data": {"order": "4711"}}`; the name is `session.event`, the
data become variables.
"""

from typing import ClassVar

from flows.triggers import Fit, Names, Occasion, Trigger, named, trigger


@trigger("event")
class EventTrigger(Trigger):
    """`event` names events, with `*` for anything."""

    hears: ClassVar[str] = "event"

    event: Names

    @property
    def claims(self) -> frozenset[str]:
        return frozenset(self.event)

    @property
    def gives(self) -> frozenset[str] | None:
        return None

    def fits(self, occasion: Occasion) -> Fit | None:
        found = named(self.event, occasion.what)
        return None if found is None else Fit(found, {**occasion.data, "event": occasion.what})
