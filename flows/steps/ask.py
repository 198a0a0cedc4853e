"""`ask`: asks for something and reads the answer by its type (`flows/answers/`).

```yaml
email:
  ask: email
  text: {it: Qual è la tua e-mail?, en: What is your e-mail?}
  save: contact.email
  invalid: {it: Questa e-mail non mi torna., en: That does not look like an e-mail.}
  tries: 3
  otherwise: call_us
  timeout: {after: 2 days, goto: remind}
  next: interest
```
"""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from domain.messages import Received
from flows.answers import AnswerType, Invalid, Reading, Valid, answer_type, registry
from flows.options import Options, Templates
from flows.questions import (
    MAX_OPTIONS,
    Manners,
    OptionDocument,
    Question,
    QuestionDocument,
    fixed_option,
    options_of,
    values_of,
)
from flows.steps import step
from flows.texts import Texts

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn


def _known(key: str) -> str:
    if key not in registry():
        raise ValueError(f"unknown kind of answer {key!r}; known are {', '.join(sorted(registry()))}")
    return key


@step("ask")
class Ask(QuestionDocument):
    """A question. `options` belong to `choice`; `min` and `max` bound numbers, and the length of texts."""

    ask: Annotated[str, AfterValidator(_known)]
    text: Texts
    options: Annotated[tuple[OptionDocument, ...], Field(max_length=MAX_OPTIONS)] = ()
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _fitting(self) -> "Ask":
        if (self.ask == "choice") != bool(self.options):
            raise ValueError("options are what the answer kind choice needs, and only that")
        if any(option.goto for option in self.options):
            raise ValueError("options that lead somewhere belong to a choose step")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is greater than max")
        return self

    def prepare(self, maker: "Maker") -> "AskRun":
        kind = answer_type(self.ask)
        options = options_of(self.options, maker) if self.options else None
        if self.ask == "yes_no":
            options = Options(tuple(fixed_option(word, word, None, maker) for word in ("yes", "no")))
        return AskRun(
            self.manners(maker),
            maker.text("text", self.text),
            options,
            kind,
            self.min,
            self.max,
            values_of(self.options),
        )


class AskRun(Question):
    __slots__ = ("kind", "maximum", "minimum", "values")

    def __init__(
        self,
        manners: Manners,
        text: Templates,
        options: Options | None,
        kind: AnswerType,
        minimum: float | None,
        maximum: float | None,
        values: dict[str, Any],
    ) -> None:
        super().__init__(manners, text, options, kind.asks_for)
        self.kind = kind
        self.minimum = minimum
        self.maximum = maximum
        self.values = values

    def read(self, turn: "Turn", received: Received) -> Valid | Invalid:
        if self.options is not None and self.kind.key == "choice":
            option = self.options.find(turn, received)
            if option is not None:
                return Valid(self.values[option], said(received), option)
        reading = Reading(turn.language, turn.business.region, turn.today(), self.minimum, self.maximum)
        return self.kind.read(received, reading)


def said(received: Received) -> str:
    """The words of a choice, as they are kept with the result."""
    return (
        getattr(received, "title", "") or getattr(received, "text", "") or getattr(received, "option_id", "")
    )[:200]
