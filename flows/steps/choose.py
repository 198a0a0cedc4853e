"""`choose`: offers options and goes where the chosen one leads.

```yaml
interest:
  choose: {it: Che cosa ti interessa?, en: What are you interested in?}
  options:
    - {id: price, text: {it: Prezzi, en: Prices}}
    - {id: visit, text: {it: Una visita, en: A visit}, goto: visit}
  save: session.interest
  next: consent
```
"""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from domain.messages import Received
from flows.answers import Invalid, Valid
from flows.options import Options, Templates
from flows.questions import (
    MAX_OPTIONS,
    Manners,
    OptionDocument,
    Question,
    QuestionDocument,
    options_of,
    values_of,
)
from flows.steps import step
from flows.steps.ask import said
from flows.texts import Texts

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn


@step("choose")
class Choose(QuestionDocument):
    """The value that is saved is the option's id, or its `value`. `list` labels the opener where the options become a
    list."""

    choose: Texts
    options: Annotated[tuple[OptionDocument, ...], Field(min_length=1, max_length=MAX_OPTIONS)]
    list: Texts | None = None

    def prepare(self, maker: "Maker") -> "ChooseRun":
        options = options_of(self.options, maker, self.list)
        targets = {option.id: option.goto for option in self.options if option.goto is not None}
        manners = self.manners(maker)
        for option_id, target in targets.items():
            maker.exit(f"option {option_id}", target)
        if len(targets) == len(self.options) and self.next is None:
            maker.drop_exit("next")  # every option says where it leads
        return ChooseRun(
            manners, maker.text("choose", self.choose), options, targets, values_of(self.options)
        )


class ChooseRun(Question):
    __slots__ = ("targets", "values")

    def __init__(
        self,
        manners: Manners,
        text: Templates,
        options: Options,
        targets: dict[str, str],
        values: dict[str, Any],
    ) -> None:
        super().__init__(manners, text, options)
        self.targets = targets
        self.values = values

    def read(self, turn: "Turn", received: Received) -> Valid | Invalid:
        option = self.options.find(turn, received) if self.options else None
        return Invalid("choice") if option is None else Valid(self.values[option], said(received), option)

    def route(self, found: Valid) -> str | None:
        return self.targets.get(found.category, self.manners.next)
