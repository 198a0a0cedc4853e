"""`tag_removed`: a tag was taken from the contact.

```yaml
- {tag_removed: vip}
```

The tag is `session.tag`.
"""

from typing import ClassVar

from flows.triggers import Fit, Names, Occasion, Trigger, named, trigger


@trigger("tag_removed")
class TagRemovedTrigger(Trigger):
    """`tag_removed` names tags, with `*` for anything."""

    hears: ClassVar[str] = "tag_removed"

    tag_removed: Names

    @property
    def claims(self) -> frozenset[str]:
        return frozenset(self.tag_removed)

    @property
    def gives(self) -> frozenset[str] | None:
        return frozenset({"tag"})

    def fits(self, occasion: Occasion) -> Fit | None:
        found = named(self.tag_removed, occasion.what)
        return None if found is None else Fit(occasion.what, {"tag": occasion.what})
