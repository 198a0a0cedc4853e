"""`deep_link`: the person opened the chat by a link or a QR code with this payload; `*` stands for anything.

```yaml
- {deep_link: "promo-*"}
```

`t.me/yourbot?start=promo-summer`, or a `wa.me` link whose text carries the reference. The payload is
`session.deep_link`. It always comes in, whatever session waits, unless that flow is `interruptible: false`.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from flows.triggers import LINK, Fit, Occasion, Trigger, pattern_fits, trigger


@trigger("deep_link")
class DeepLinkTrigger(Trigger):
    """`deep_link` is the payload."""

    rank: ClassVar[int] = LINK
    comes_in: ClassVar[bool] = True
    in_groups: ClassVar[bool] = True

    deep_link: Annotated[str, Field(max_length=64)]

    @property
    def claims(self) -> frozenset[str]:
        return frozenset({self.deep_link})

    @property
    def precision(self) -> int:
        return 0 if "*" in self.deep_link else 1

    @property
    def gives(self) -> frozenset[str] | None:
        return frozenset({"deep_link"})

    def fits(self, occasion: Occasion) -> Fit | None:
        if not occasion.deep_link or not pattern_fits(self.deep_link, occasion.deep_link):
            return None
        return Fit(occasion.deep_link)
