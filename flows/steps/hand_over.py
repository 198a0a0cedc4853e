"""`hand_over`: gives the conversation to a person; the flow is over and the bot is silent until it is handed back.

```yaml
person:
  hand_over: sales
  text: {it: Ti risponde subito una persona., en: Somebody will answer you in a moment.}
  about: "{{ session.interest }}"
```
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from domain.effects import HandOver
from domain.messages import Text
from flows.options import Templates
from flows.steps import StepDocument, StepRun, step
from flows.texts import Texts

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn


@step("hand_over")
class HandOverStep(StepDocument):
    """The main argument is the team, or `true` for anybody. `about` is what the agent reads."""

    hand_over: Annotated[str, Field(min_length=1, max_length=64)] | bool
    text: Texts | None = None
    about: Texts | None = None

    def prepare(self, maker: "Maker") -> "HandOverRun":
        if self.hand_over is False or self.next is not None:
            raise ValueError("hand_over takes a team or true, and nothing comes after it")
        return HandOverRun(
            self.hand_over if isinstance(self.hand_over, str) else None,
            maker.text("text", self.text) if self.text else None,
            maker.text("about", self.about, said=False) if self.about else None,
        )


@dataclass(frozen=True, slots=True)
class HandOverRun(StepRun):
    team: str | None
    text: Templates | None
    about: Templates | None

    def enter(self, turn: "Turn") -> None:
        if self.text is not None:
            turn.send(Text(turn.text(self.text)))
        turn.add(HandOver(turn.state.step, self.team, turn.text(self.about) if self.about else ""))
        turn.end_session("handed_over")
