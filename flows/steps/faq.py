"""`faq`: answers a question out of a list, when one of them is meant.

```yaml
questions:
  faq:
    - id: hours
      ask: {it: [Quando siete aperti?, orari], en: [When are you open?, opening hours]}
      answer: {it: "Dal lunedì al sabato, dalle 9 alle 19.", en: "Monday to Saturday, 9 to 19."}
    - id: returns
      ask: {it: [Posso restituire un prodotto?, resi], en: [Can I return a product?, refund]}
      answer: {it: "Sì, entro 30 giorni.", en: "Yes, within 30 days."}
  text: {it: Che cosa vuoi sapere?, en: What would you like to know?}
  helped: true
  exits: {answered: end, unknown: person}
```

With `text` it asks first; without, it takes what the contact wrote last, as a flow for everything else (`fallback`)
does. Words count, not their order, their endings or a typo; all languages are understood, the answer is in the
contact's. `helped` asks whether that was it; with "no", or where nothing fits, it leaves by `unknown`, and the question
stands among the news for the team (`tell: false`: it does not). `threshold`: from 0, anything, to 1, word for word.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain.effects import NotifyTeam
from domain.messages import Received, ReceivedText, Text
from flows.answers import Invalid, Valid
from flows.options import Options, Templates, plain
from flows.questions import Manners, Question, QuestionDocument, fixed_option
from flows.similarity import Phrases
from flows.state import ANSWER, Result
from flows.steps import OptionId, StepId, step
from flows.steps.ask import said
from flows.texts import Texts, local_text
from flows.words import NO, WORDS, YES

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

HELPED = "helped"  # the stage of the second question
MAX_ENTRIES = 100  # a person cannot oversee more; each is compared with what was written
MAX_TOLD = 500  # characters of a question that the team reads


class Entry(BaseModel):
    """A question in its wordings, and the answer; `goto`: where an answered one leads instead."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    id: OptionId
    ask: Texts
    answer: Texts
    goto: StepId | None = None


class Exits(BaseModel):
    """Where it goes on; what is not named goes to `next`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    answered: StepId | None = None
    unknown: StepId | None = None


@step("faq")
class Faq(QuestionDocument):
    """`result` holds the entry's id; its category is answered, unhelpful or unknown."""

    faq: Annotated[tuple[Entry, ...], Field(min_length=1, max_length=MAX_ENTRIES)]
    text: Texts | None = None
    helped: bool | Texts = False
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    tell: bool = True
    exits: Exits = Exits()

    @model_validator(mode="after")
    def _different(self) -> "Faq":
        if len({entry.id for entry in self.faq}) != len(self.faq):
            raise ValueError("two entries have the same id")
        return self

    def waiting(self) -> str:
        return ANSWER if self.text is not None or self.helped is not False else ""

    def expects(self) -> None:
        return None  # a question, whatever the answers may be

    def prepare(self, maker: "Maker") -> "FaqRun":
        manners = self.manners(maker)
        answered, unknown = self.exits.answered or self.next, self.exits.unknown or self.next
        maker.drop_exit("next", certain=self.text is None)  # answers leave by the exits below
        maker.exit("answered", answered)
        maker.exit("unknown", unknown)
        maker.blank("unknown")
        if self.text is None:
            maker.passes("unknown")  # what was written before is looked at without asking
        for entry in self.faq:
            if entry.goto is not None:
                maker.exit(f"entry {entry.id}", entry.goto)
        helped = None
        if self.helped is not False:
            words = local_text(dict(WORDS["helped"])) if self.helped is True else self.helped
            helped = maker.text("helped", local_text(words))
        return FaqRun(
            manners,
            maker.text("text", self.text) if self.text else {},
            Options(tuple(fixed_option(word, word, None, maker, second=True) for word in ("yes", "no"))),
            tuple(
                Answer(entry.id, maker.text(f"faq.{number}.answer", entry.answer), entry.goto or answered)
                for number, entry in enumerate(self.faq)
            ),
            Phrases([[text for _, _, text in entry.ask.sources()] for entry in self.faq]),
            helped,
            unknown,
            self,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said to an entry's question, and where it leads."""

    id: str
    text: Templates
    target: str | None


class FaqRun(Question):
    __slots__ = ("answers", "helped", "phrases", "tell", "threshold", "unknown", "yes_no")

    def __init__(
        self,
        manners: Manners,
        text: Templates,
        yes_no: Options,
        answers: tuple[Answer, ...],
        phrases: Phrases,
        helped: Templates | None,
        unknown: str | None,
        document: Faq,
    ) -> None:
        super().__init__(manners, text, None)
        self.yes_no = yes_no
        self.answers = answers
        self.phrases = phrases
        self.helped = helped
        self.unknown = unknown
        self.threshold = document.threshold
        self.tell = document.tell

    def enter(self, turn: "Turn") -> None:
        if self.text:
            super().enter(turn)
        else:
            self._reply(turn, turn.state.last.text if turn.state.last else "")

    def answer(self, turn: "Turn", received: Received) -> None:
        if turn.state.stage == HELPED:
            self._judged(turn, received)
        else:
            super().answer(turn, received)

    def due(self, turn: "Turn") -> None:
        if turn.state.stage == HELPED:  # silence is no complaint
            turn.go(self._given(turn).target)
        else:
            super().due(turn)

    def read(self, turn: "Turn", received: Received) -> Valid | Invalid:
        words = said(received).strip() if isinstance(received, ReceivedText) else ""
        return Valid(words, words) if words else Invalid("text")

    def accept(self, turn: "Turn", found: Valid) -> None:
        turn.mark("answered")
        self._reply(turn, found.value)

    def pose(self, turn: "Turn", text: str, options: Options | None = None) -> None:
        super().pose(turn, text, self.yes_no if turn.state.stage == HELPED else options)

    def _ways(self, turn: "Turn") -> list[tuple[str, str]]:
        return [] if turn.state.stage == HELPED else super()._ways(turn)

    def _reply(self, turn: "Turn", question: str) -> None:
        number, score = self.phrases.best(question)
        if score < self.threshold:
            self._miss(turn, Result(None, "unknown", question[:MAX_TOLD]))
            return
        found = self.answers[number]
        turn.send(Text(turn.text(found.text)))
        self._record(turn, Result(found.id, "answered", question[:MAX_TOLD]))
        if self.helped is None:
            turn.go(found.target)
            return
        turn.state.stage = HELPED
        turn.state.visit += 1  # the time allowed starts anew
        self.pose(turn, turn.text(self.helped))

    def _judged(self, turn: "Turn", received: Received) -> None:
        option = self.yes_no.find(turn, received)
        words = plain(said(received))
        if option == "yes" or words in YES:
            turn.go(self._given(turn).target)
        elif option == "no" or words in NO:
            result = turn.state.results[self.manners.result]
            self._miss(turn, Result(result.value, "unhelpful", result.input))
        elif isinstance(received, ReceivedText) and words:  # another question
            turn.state.stage = ""
            self._reply(turn, received.text)

    def _given(self, turn: "Turn") -> Answer:
        given = turn.state.results[self.manners.result].value
        return next(answer for answer in self.answers if answer.id == given)

    def _miss(self, turn: "Turn", result: Result) -> None:
        self._record(turn, result)
        if self.tell and result.input.strip():
            turn.add(NotifyTeam(turn.state.step, result.input, kind="unanswered"))
        turn.go(self.unknown)

    def _record(self, turn: "Turn", result: Result) -> None:
        turn.record(self.manners.result, result)
        if self.manners.save is not None:
            turn.save(self.manners.save, result.value)
