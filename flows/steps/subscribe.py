"""`subscribe`: notes that the contact follows a topic, or with `state: off` no longer does.

```yaml
follow:
  subscribe: new_arrivals
  next: thanks
```

`subscribe: "{{ session.topics }}"` follows each topic of a list, such as the answer of a question for several choices.
A topic narrows what is sent to people who have agreed; it is no consent, and nobody gets news for it alone.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field

from domain.effects import Subscribe
from flows.expressions import Template
from flows.steps import StepDocument, StepRun, step
from flows.steps.tag import _listed, listed
from flows.texts import local_text

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

MAX_TOPIC = 64  # characters
Topic = Annotated[str, Field(min_length=1, max_length=1_000)]


@step("subscribe")
class SubscribeStep(StepDocument):
    """One topic or several; templates are allowed."""

    subscribe: Annotated[tuple[Topic, ...], BeforeValidator(_listed), Field(min_length=1, max_length=20)]
    state: Literal["on", "off"] = "on"

    def prepare(self, maker: "Maker") -> "SubscribeRun":
        maker.exit("next", self.next)
        topics = tuple(maker.value("subscribe", local_text(topic)) for topic in self.subscribe)
        return SubscribeRun(topics, self.state == "on", self.next)


@dataclass(frozen=True, slots=True)
class SubscribeRun(StepRun):
    topics: tuple[Template, ...]
    on: bool
    next: str | None

    def enter(self, turn: "Turn") -> None:
        names = dict.fromkeys(
            name.strip()[:MAX_TOPIC] for topic in self.topics for name in listed(topic, turn)
        )
        for name in names:
            if name:
                turn.add(Subscribe(turn.state.step, name, self.on))
        turn.go(self.next)
