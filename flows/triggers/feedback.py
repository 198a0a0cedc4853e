"""`feedback`: the person gave a score.

```yaml
- {feedback: nps, below: 7}
- {feedback: [csat, stars], above: 3}
```

`below` and `above` do not include the number itself. The score is `session.score`, what was rated `session.topic`.
"""

from typing import ClassVar

from flows.triggers import Fit, Names, Occasion, Trigger, named, trigger


@trigger("feedback")
class FeedbackTrigger(Trigger):
    """`feedback` names kinds (csat, nps, stars) or topics, with `*` for anything."""

    hears: ClassVar[str] = "feedback"

    feedback: Names
    below: int | None = None
    above: int | None = None

    @property
    def precision(self) -> int:
        return (self.below is not None) + (self.above is not None)

    @property
    def gives(self) -> frozenset[str] | None:
        return frozenset({"score", "feedback", "topic"})

    def fits(self, occasion: Occasion) -> Fit | None:
        score = occasion.value
        if not isinstance(score, int | float):
            return None
        if (self.below is not None and score >= self.below) or (
            self.above is not None and score <= self.above
        ):
            return None
        topic = str(occasion.data.get("topic", ""))
        if named(self.feedback, occasion.what, topic) is None:
            return None
        return Fit(f"{occasion.what} {score:g}", {"score": score, "feedback": occasion.what, "topic": topic})
