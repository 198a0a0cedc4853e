"""What steps that wait for an answer share: asking, refusing, giving up, skipping, going back, timing out.

One stay at a question: `enter` asks and sets the timer; `answer` either accepts (result kept, value saved, on to the
next step), or refuses: the reason is said together with the same buttons, `tries` goes up, and with it `visit`, so
that the time allowed starts anew. When the tries are used up the session goes to `otherwise`, else on as if skipped.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain import durations
from domain.errors import FlowError
from domain.messages import (
    Button,
    ContactRequest,
    Content,
    LocationRequest,
    Received,
    ReceivedText,
    Tap,
    Text,
)
from flows.answers import Invalid, Valid
from flows.options import Option, Options, Templates, plain
from flows.state import ANSWER, Result
from flows.steps import Duration, OptionId, SavePath, StepDocument, StepId, StepRun
from flows.texts import LocalText, Texts, local_text
from flows.turns import MAX_BACK
from flows.words import BACK, SKIP, WORDS

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

SKIP_ID, BACK_ID = "_skip", "_back"  # no option of an author can be called so
MAX_OPTIONS = 50


class Timeout(BaseModel):
    """`{after: 2 days, goto: remind}`: where to go when no answer came."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    after: Duration
    goto: StepId


class OptionDocument(BaseModel):
    """`{id: price, text: {it: Prezzi, en: Prices}, goto: prices}`; without `goto` the step's `next` counts. `value` is
    what is saved in place of the id, `description` what stands beside the text where the options are a list."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    id: OptionId
    text: Texts
    description: Texts | None = None
    goto: StepId | None = None
    value: Annotated[str, Field(max_length=640)] | bool | int | float | None = None


class QuestionDocument(StepDocument):
    """The keys that every question understands."""

    waits: ClassVar[str] = ANSWER

    invalid: Texts | None = None  # said to an answer that does not fit, instead of our own words
    errors: dict[str, Texts] = Field(
        default_factory=dict
    )  # said instead for one reason: {range: {it: …, en: …}}
    tries: Annotated[int, Field(ge=1, le=20)] | None = None  # answers that are listened to; none: no end
    otherwise: StepId | None = None  # where to go when the tries are used up
    timeout: Timeout | None = None
    skip: bool | StepId = False  # offers to skip; a step's id says where that leads
    back: bool = False  # offers to go back to the question before
    save: SavePath | None = None
    result: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")] | None = (
        None  # else the step's id
    )

    @model_validator(mode="after")
    def _consistent(self) -> "QuestionDocument":
        if self.otherwise is not None and self.tries is None:
            raise ValueError("otherwise needs tries: after how many answers that do not fit?")
        unknown = sorted(set(self.errors) - set(self.reasons()))
        if unknown:
            known = ", ".join(self.reasons())
            raise ValueError(f"errors: {unknown[0]!r} is no reason of this question; it has {known}")
        return self

    def reasons(self) -> tuple[str, ...]:
        """Why an answer may not fit: the keys that `errors` may have."""
        return ("choice",)

    def manners(self, maker: "Maker") -> "Manners":
        """The compiled form of the shared keys; registers their exits."""
        maker.exit("next", self.next)
        if self.otherwise is not None:
            maker.exit("otherwise", self.otherwise)
        if self.timeout is not None:
            maker.exit("timeout", self.timeout.goto)
        if isinstance(self.skip, str):
            maker.exit("skip", self.skip)
        if self.save is not None:
            maker.writes(self.save)
        result = self.result or maker.step_id
        maker.gives(result)
        maker.ways((self.skip is not False) + self.back)
        if self.skip is True or (self.tries is not None and self.otherwise is None):
            maker.blank("next")  # skipped, or given up
        return Manners(
            next=self.next,
            invalid=maker.text("invalid", self.invalid) if self.invalid else None,
            errors={reason: maker.text(f"errors.{reason}", text) for reason, text in self.errors.items()},
            tries=self.tries,
            otherwise=self.otherwise or self.next,
            timeout_ms=durations.parse(self.timeout.after) if self.timeout else None,
            timeout_target=self.timeout.goto if self.timeout else None,
            skip=self.skip is not False,
            skip_target=self.skip if isinstance(self.skip, str) else self.next,
            back=self.back,
            save=self.save,
            result=result,
        )


def values_of(documents: tuple[OptionDocument, ...]) -> dict[str, Any]:
    """What is saved of each option."""
    return {option.id: option.id if option.value is None else option.value for option in documents}


def options_of(
    documents: tuple[OptionDocument, ...], maker: "Maker", opener: LocalText | None = None
) -> Options:
    """Compiled options; registers their labels as buttons. Raises ValueError when an id is there twice."""
    if len({option.id for option in documents}) != len(documents):
        raise ValueError("two options have the same id")
    options = tuple(
        Option(
            option.id,
            maker.label(option.id, option.text),
            maker.text(f"options.{option.id}.description", option.description)
            if option.description
            else None,
        )
        for option in documents
    )
    return Options(options, maker.text("list", opener) if opener else None, agreeing=True)


def fixed_option(
    option_id: str, word: str, label: LocalText | None, maker: "Maker", *, second: bool = False
) -> Option:
    """An option that is always there (yes, no, confirm), with the author's label or our own words."""
    return Option(option_id, maker.label(option_id, label or local_text(dict(WORDS[word])), second=second))


@dataclass(frozen=True, slots=True)
class Manners:
    """The shared keys of a question, compiled."""

    next: str | None
    invalid: Templates | None
    errors: dict[str, Templates]
    tries: int | None
    otherwise: str | None
    timeout_ms: int | None
    timeout_target: str | None
    skip: bool
    skip_target: str | None
    back: bool
    save: str | None
    result: str


class Question(StepRun, ABC):
    """A question while it runs. Types of questions say how to word it (`wording`) and how to read an answer
    (`read`), and may route by the answer (`accepted`)."""

    __slots__ = ("manners", "options", "request", "text")

    def __init__(self, manners: Manners, text: Templates, options: Options | None, request: str = "") -> None:
        self.manners = manners
        self.text = text
        self.options = options
        self.request = request  # what the platform is asked for by its own button: "contact", "location", ""

    def enter(self, turn: "Turn") -> None:
        asked = turn.state.asked
        if not asked or asked[-1] != turn.state.step:
            asked.append(turn.state.step)
            del asked[:-MAX_BACK]
        self.pose(turn, turn.text(self.text))

    def answer(self, turn: "Turn", received: Received) -> None:
        way = self._way(turn, received) if self.manners.skip or self.manners.back else None
        if way == SKIP_ID:
            self._skipped(turn)
        elif way == BACK_ID:
            self._back(turn)
        else:
            found = self.read(turn, received)
            if isinstance(found, Invalid):
                if not isinstance(
                    received, Tap
                ):  # a button of an older message, or tapped twice, is no answer
                    self.refuse(turn, found.reason)
            else:
                self.accept(turn, found)

    def due(self, turn: "Turn") -> None:
        turn.mark("timeout")
        turn.record(self.manners.result, Result(None, "timeout", ""))
        turn.go(self.manners.timeout_target)

    @abstractmethod
    def read(self, turn: "Turn", received: Received) -> Valid | Invalid:
        """What the answer says."""

    def accept(self, turn: "Turn", found: Valid) -> None:
        """Keeps the answer and goes on."""
        turn.mark("answered")
        turn.record(self.manners.result, Result(found.value, found.category, found.input))
        if self.manners.save is not None:
            turn.save(self.manners.save, found.value)
        turn.go(self.route(found))

    def route(self, found: Valid) -> str | None:
        """Where an accepted answer leads."""
        return self.manners.next

    def refuse(self, turn: "Turn", reason: str) -> None:
        """Says what does not fit and asks again, or gives up when the tries are used up."""
        manners = self.manners
        turn.mark("invalid")
        turn.stay()
        if manners.tries is not None and turn.state.tries >= manners.tries:
            turn.record(manners.result, Result(None, "invalid", ""))
            self.give_up(turn)
            return
        said = manners.errors.get(reason) or manners.invalid
        self.pose(turn, turn.text(said) if said else turn.words(f"invalid.{reason}"))

    def give_up(self, turn: "Turn") -> None:
        """Goes on without an answer."""
        turn.go(self.manners.otherwise)

    def pose(self, turn: "Turn", text: str, options: Options | None = None) -> None:
        """Sends a text with the question's buttons and waits."""
        if not text.strip():
            raise FlowError("the question came out empty", step_id=turn.state.step)
        turn.ask(self._content(turn, text, options or self.options), timeout_ms=self.manners.timeout_ms)

    def _content(self, turn: "Turn", text: str, options: Options | None) -> Content:
        if self.request and not options:
            return self._request(turn, text)
        buttons = self.choices(turn, options)
        buttons += tuple(Button(option_id, turn.words(word)) for option_id, word in self._ways(turn))
        opener = options.opener if options is not None else None
        return Text(text, buttons, turn.text(opener) if opener is not None else None)

    def choices(self, turn: "Turn", options: Options | None) -> tuple[Button, ...]:
        """The buttons of the question itself, before those of the ways out."""
        return options.buttons(turn) if options else ()

    def _request(self, turn: "Turn", text: str) -> Content:
        """The platform's own button stands alone, so the other ways out are put in words."""
        lines = [text, *(turn.words(f"or_{word}") for _, word in self._ways(turn))]
        if self.request == "contact":
            return ContactRequest("\n".join(lines), turn.words("send_phone"))
        return LocationRequest("\n".join(lines), turn.words("send_location"))

    def _ways(self, turn: "Turn") -> list[tuple[str, str]]:
        """The ways out that are offered now: (button's id, our word for it)."""
        ways = [(SKIP_ID, "skip")] if self.manners.skip else []
        if self.manners.back and len(turn.state.asked) > 1:
            ways.append((BACK_ID, "back"))
        return ways

    def _way(self, turn: "Turn", received: Received) -> str | None:
        """The way out that was meant: its button, its word, or its number behind those of the options."""
        ways = self._ways(turn)
        match received:
            case Tap(option_id=tapped):
                return next((way for way, _ in ways if way == tapped), None)
            case ReceivedText(text=text):
                words = plain(text)
                first = len(self.choices(turn, self.options)) + 1 if self.options else 0
                for number, (way, word) in enumerate(ways, first):
                    if words in (SKIP if word == "skip" else BACK) or (first and words == str(number)):
                        return way
        return None

    def _skipped(self, turn: "Turn") -> None:
        turn.mark("skipped")
        turn.record(self.manners.result, Result(None, "skipped", ""))
        turn.go(self.manners.skip_target)

    def _back(self, turn: "Turn") -> None:
        turn.state.asked.pop()
        turn.go(turn.state.asked[-1])
