"""`referral`: the person came by an advertisement or a post that leads into the chat.

```yaml
- {referral: "120210000000*"}
- referral
```

Compared are the source's id, its kind (`ad`, `post`) and its address; `*`, or `referral` alone, means any. The id is
`session.referral`, the click's `session.click_id`, the headline `session.headline`.
"""

from typing import ClassVar

from flows.triggers import ADVERTISEMENT, Fit, Names, Occasion, Trigger, named, trigger


@trigger("referral")
class ReferralTrigger(Trigger):
    """`referral` names sources. It comes in like a deep link: the person came through the door once more."""

    rank: ClassVar[int] = ADVERTISEMENT
    comes_in: ClassVar[bool] = True

    referral: Names

    @property
    def claims(self) -> frozenset[str]:
        return frozenset(self.referral)

    @property
    def gives(self) -> frozenset[str] | None:
        return frozenset({"referral"})

    def fits(self, occasion: Occasion) -> Fit | None:
        referral = occasion.referral
        if referral is None or referral.source == "deep_link":
            return None
        found = named(self.referral, referral.source_id, referral.source, referral.url)
        if found is None:
            return None
        said = {"click_id": referral.click_id, "headline": referral.headline}
        return Fit(referral.source_id or found, {key: value for key, value in said.items() if value})
