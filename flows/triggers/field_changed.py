"""`field_changed`: a field of the contact has another value than before.

```yaml
- {field_changed: city, to: [Roma, Milano]}
- {field_changed: email}
```

Own fields by their key, and `name`, `first_name`, `last_name`, `email`, `phone`, `language`, `timezone`. `to` narrows
it to values, compared as conditions compare. The key is `session.field`, the value `session.value` (nothing: it was
emptied).
"""

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from domain.comparisons import equal
from flows.triggers import MAX_NAMES, Fit, Names, Occasion, Trigger, named, trigger

Value = str | int | float | bool


def one_or_more(value: object) -> object:
    """A value stands for a list of one."""
    return value if isinstance(value, list | tuple) else [value]


Values = Annotated[tuple[Value, ...], BeforeValidator(one_or_more), Field(min_length=1, max_length=MAX_NAMES)]


@trigger("field_changed")
class FieldChangedTrigger(Trigger):
    """`field_changed` names fields, with `*` for anything."""

    hears: ClassVar[str] = "field_changed"

    field_changed: Names
    to: Values | None = None

    @property
    def precision(self) -> int:
        return 0 if self.to is None else 1

    @property
    def claims(self) -> frozenset[str]:
        return frozenset(f"{key}={value}" for key in self.field_changed for value in self.to or ("*",))

    @property
    def gives(self) -> frozenset[str] | None:
        return frozenset({"field", "value"})

    def fits(self, occasion: Occasion) -> Fit | None:
        if named(self.field_changed, occasion.what) is None:
            return None
        if self.to is not None and not any(equal(occasion.value, value) for value in self.to):
            return None
        return Fit(occasion.what, {"field": occasion.what, "value": occasion.value})
