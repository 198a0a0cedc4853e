"""`joins`: somebody of whom we know a chat joined a channel or group of ours.

```yaml
- {joins: "Bottega Esempio*"}
- joins
```

Compared are the outlet's title, its address and the invite link. Whoever never opened the bot cannot be written to (the
platform forbids it), so nothing starts for them. Pressing the bot's own start button is `/start`: a keyword, or
`first_message`. The title is `session.outlet`, the link `session.invite_link`.
"""

from typing import ClassVar

from flows.triggers import Fit, Names, Occasion, Trigger, named, trigger


@trigger("joins")
class JoinsTrigger(Trigger):
    """`joins` names outlets, with `*` for anything."""

    hears: ClassVar[str] = "joined"

    joins: Names

    @property
    def claims(self) -> frozenset[str]:
        return frozenset(self.joins)

    @property
    def gives(self) -> frozenset[str] | None:
        return None

    def fits(self, occasion: Occasion) -> Fit | None:
        data = occasion.data
        names = [str(data[key]) for key in ("address", "invite_link") if data.get(key)]
        found = named(self.joins, occasion.what, *names)
        if found is None:
            return None
        said = {"outlet": occasion.what, "invite_link": data.get("invite_link")}
        return Fit(found, {key: value for key, value in said.items() if value})
