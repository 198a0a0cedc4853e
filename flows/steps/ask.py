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

from domain.errors import meant
from domain.messages import Received
from flows import bounds
from flows.answers import AnswerType, Bound, Invalid, Reading, Valid, answer_type, registry
from flows.answers.rating import MOST_BUTTONS, scale
from flows.options import Option, Options, Templates
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
from flows.several import SeveralRun
from flows.steps import step
from flows.texts import Texts, local_text
from flows.words import WORDS

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

MAX_GRADE = 100  # of a rating: percent


def _known(key: str) -> str:
    if key not in registry():
        known = sorted(registry())
        raise ValueError(f"unknown kind of answer {key!r}; {meant(key, known)}known are {', '.join(known)}")
    return key


@step("ask")
class Ask(QuestionDocument):
    """A question. `options` belong to `choice` and `choices`; `min` and `max` bound numbers, the length of texts, days,
    hours and how many are chosen; `open: true` wants a day or moment at which the business is open; `currency`
    (ISO 4217) belongs to money, `country` (ISO 3166) to what differs by country, in place of the business's."""

    ask: Annotated[str, AfterValidator(_known)]
    text: Texts
    options: Annotated[tuple[OptionDocument, ...], Field(max_length=MAX_OPTIONS)] = ()
    min: int | float | str | None = None
    max: int | float | str | None = None
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] | None = None
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None
    open: bool = False

    @model_validator(mode="after")
    def _fitting(self) -> "Ask":
        kind = answer_type(self.ask)
        if ("options" in kind.takes) != bool(self.options):
            raise ValueError("options are what the answer kinds choice and choices need, and only they")
        if any(option.goto for option in self.options):
            raise ValueError("options that lead somewhere belong to a choose step")
        for key in ("min", "max", "currency", "country"):
            if getattr(self, key) is not None and key not in kind.takes:
                raise ValueError(f"{key} does not belong to the answer kind {self.ask}")
        if self.open and "open" not in kind.takes:
            raise ValueError(f"open does not belong to the answer kind {self.ask}")
        for bound in (self.min, self.max):
            if bound is not None:
                bounds.check(kind.bounds, bound)
        if isinstance(self.min, (int, float)) and isinstance(self.max, (int, float)) and self.min > self.max:
            raise ValueError("min is greater than max")
        if self.ask in ("rating", "choices"):
            self._check_counts()
        return self

    def _check_counts(self) -> None:
        highest = MAX_GRADE if self.ask == "rating" else len(self.options)
        for bound in (self.min, self.max):
            if isinstance(bound, (int, float)) and not (bound == int(bound) and 0 <= bound <= highest):
                raise ValueError(f"min and max are whole numbers from 0 to {highest} here")
        if self.ask == "choices" and self.max == 0:
            raise ValueError("max is at least 1 here")
        low, high = scale(self.min, self.max)
        if self.ask == "rating" and low >= high:
            raise ValueError("max has to be said, and be greater than min")

    def reasons(self) -> tuple[str, ...]:
        return answer_type(self.ask).reasons

    def prepare(self, maker: "Maker") -> "AskRun | SeveralRun":
        manners, text = self.manners(maker), maker.text("text", self.text)
        options = self._options(maker)
        if options is None and answer_type(self.ask).asks_for:
            maker.shows("request")  # by the platform's own button
        if self.ask != "choices":
            return AskRun(manners, text, options, self)
        assert options is not None
        return SeveralRun(
            manners,
            text,
            options,
            values=values_of(self.options),
            done=maker.label("_done", local_text(dict(WORDS["done"]))),
            least=1 if self.min is None else int(self.min),
            most=len(self.options) if self.max is None else int(self.max),
        )

    def _options(self, maker: "Maker") -> Options | None:
        if self.options:
            return options_of(self.options, maker)
        if self.ask == "yes_no":
            return Options(tuple(fixed_option(word, word, None, maker) for word in ("yes", "no")))
        if self.ask == "rating":
            low, high = scale(self.min, self.max)
            stars = (low, high) == (1, 5)
            grades = range(low, high + 1) if high - low < MOST_BUTTONS else ()
            labels = [(str(grade), local_text("⭐" * grade if stars else str(grade))) for grade in grades]
            if labels:
                return Options(tuple(Option(grade, maker.label(grade, label)) for grade, label in labels))
        return None


class AskRun(Question):
    __slots__ = ("country", "currency", "kind", "maximum", "minimum", "open", "values")

    kind: AnswerType
    minimum: Bound
    maximum: Bound
    values: dict[str, Any]  # what is saved of each option

    def __init__(self, manners: Manners, text: Templates, options: Options | None, document: Ask) -> None:
        self.kind = answer_type(document.ask)
        super().__init__(manners, text, options, self.kind.asks_for)
        self.minimum = document.min
        self.maximum = document.max
        self.currency = document.currency or ""
        self.country = document.country
        self.open = document.open
        self.values = values_of(document.options)

    def read(self, turn: "Turn", received: Received) -> Valid | Invalid:
        if self.options is not None and self.kind.key == "choice":
            option = self.options.find(turn, received)
            if option is not None:
                return Valid(self.values[option], said(received), option)
        return self.kind.read(received, self._reading(turn))

    def _reading(self, turn: "Turn") -> Reading:
        region = turn.business.region
        american = region == "US" or (turn.contact.language or "").lower().endswith("-us")
        return Reading(
            turn.language,
            self.country or region,
            turn.today(),
            self.minimum,
            self.maximum,
            turn.now,
            turn.zone(),
            self.currency,
            american and turn.language != "it",
            turn.business if self.open else None,
        )


def said(received: Received) -> str:
    """The words of a choice, as they are kept with the result."""
    return (
        getattr(received, "title", "") or getattr(received, "text", "") or getattr(received, "option_id", "")
    )[:200]
