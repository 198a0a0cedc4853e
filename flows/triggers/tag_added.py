"""`tag_added`: a tag was put on the contact, by a flow, a person or a program.

```yaml
- {tag_added: [vip, "segment-*"]}
```

The tag is `session.tag`. A tag that was there already is no change.
"""

from typing import ClassVar

from flows.triggers import Fit, Names, Occasion, Trigger, named, trigger


@trigger("tag_added")
class TagAddedTrigger(Trigger):
    """`tag_added` names tags, with `*` for anything."""

    hears: ClassVar[str] = "tag_added"

    tag_added: Names

    @property
    def claims(self) -> frozenset[str]:
        return frozenset(self.tag_added)

    @property
    def gives(self) -> frozenset[str] | None:
        return frozenset({"tag"})

    def fits(self, occasion: Occasion) -> Fit | None:
        found = named(self.tag_added, occasion.what)
        return None if found is None else Fit(occasion.what, {"tag": occasion.what})
