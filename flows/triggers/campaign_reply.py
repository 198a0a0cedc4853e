"""`campaign_reply`: the person answers a campaign's message.

```yaml
- {campaign_reply: "Saldi*", within: 2 days}
- campaign_reply
```

An answer quotes the message, or is the first that the person writes within the span (3 days when none is said) after
it. Keywords are more particular and win. The campaign's name is `session.campaign`, what was written `session.reply`.
"""

from typing import ClassVar

from domain import durations
from flows.steps import Duration
from flows.triggers import REPLY, Fit, Names, Occasion, Trigger, named, trigger

WITHIN = "3 days"


@trigger("campaign_reply")
class CampaignReplyTrigger(Trigger):
    """`campaign_reply` names campaigns or their ids, with `*` for anything."""

    rank: ClassVar[int] = REPLY

    campaign_reply: Names
    within: Duration = WITHIN

    @property
    def within_ms(self) -> int:
        return durations.parse(self.within)

    @property
    def claims(self) -> frozenset[str]:
        return frozenset(self.campaign_reply)

    @property
    def gives(self) -> frozenset[str] | None:
        return frozenset({"campaign", "reply"})

    def fits(self, occasion: Occasion) -> Fit | None:
        if not occasion.campaign or occasion.value > self.within_ms:
            return None
        found = named(self.campaign_reply, *occasion.campaign)
        if found is None:
            return None
        return Fit(found, {"campaign": occasion.campaign[0], "reply": occasion.text[:1_000]})
