"""`campaign_click`: the person opened a campaign's tracked link.

```yaml
- {campaign_click: "Saldi*"}
```

The campaign's name is `session.campaign`, the address `session.url`.
"""

from typing import ClassVar

from flows.triggers import Fit, Names, Occasion, Trigger, named, trigger


@trigger("campaign_click")
class CampaignClickTrigger(Trigger):
    """`campaign_click` names campaigns or their ids, with `*` for anything."""

    hears: ClassVar[str] = "campaign_click"

    campaign_click: Names

    @property
    def claims(self) -> frozenset[str]:
        return frozenset(self.campaign_click)

    @property
    def gives(self) -> frozenset[str] | None:
        return None

    def fits(self, occasion: Occasion) -> Fit | None:
        found = named(self.campaign_click, occasion.what, str(occasion.data.get("campaign_id", "")))
        if found is None:
            return None
        variables = {"campaign": occasion.what, "url": occasion.data.get("url")}
        return Fit(found, {key: value for key, value in variables.items() if value})
