"""`feedback`: asks for a score, and if wished for a word about it.

```yaml
opinion:
  feedback: nps
  text: {it: "Da 0 a 10, ci consiglieresti a un amico?", en: "From 0 to 10, would you recommend us to a friend?"}
  topic: visit
  follow_up: {it: Che cosa possiamo migliorare?, en: What could we do better?}
  follow_up_for: [detractor, passive]
  exits: {promoter: share, detractor: tell}
  next: thanks
```

`csat` goes from 1 to 5, `nps` from 0 to 10, `stars` from one to five stars. The category is `promoter` (9, 10),
`passive` (7, 8) or `detractor` for `nps`, else `good` (4, 5), `neutral` (3) or `bad`. The score counts as soon as it is
given; who does not comment, or not in time, goes on by the score's category. The comment of a step `opinion` is
`session.opinion_comment`.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from domain.effects import RecordFeedback
from domain.messages import Received, ReceivedText, Tap
from flows.answers import Invalid, Reading, Valid, answer_type
from flows.expressions import Template
from flows.options import Option, Options, Templates, plain
from flows.questions import SKIP_ID, Manners, Question, QuestionDocument
from flows.state import Result
from flows.steps import StepId, step
from flows.steps.ask import said
from flows.texts import ANY, Texts
from flows.words import SKIP

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

COMMENT = "comment"  # the stage of the second question
MAX_COMMENT = 2_000  # characters
SCORES = {"csat": range(1, 6), "nps": range(11), "stars": range(1, 6)}
_CATEGORIES = {"nps": ("promoter", "passive", "detractor"), "csat": ("good", "neutral", "bad")}
_CATEGORIES["stars"] = _CATEGORIES["csat"]


@step("feedback")
class Feedback(QuestionDocument):
    """`topic`: what it is about, for counting. `follow_up` asks for a comment; `follow_up_for`: of these categories."""

    feedback: Literal["csat", "nps", "stars"]
    text: Texts
    topic: Annotated[str, Field(max_length=64)] = ""
    follow_up: Texts | None = None
    follow_up_for: Annotated[tuple[str, ...], Field(max_length=3)] = ()
    exits: dict[str, StepId] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _categories(self) -> "Feedback":
        known = _CATEGORIES[self.feedback]
        for name in (*self.exits, *self.follow_up_for):
            if name not in known:
                raise ValueError(f"{name!r} is no category of {self.feedback}; there are {', '.join(known)}")
        if self.follow_up_for and self.follow_up is None:
            raise ValueError("follow_up_for needs follow_up: what shall be asked?")
        return self

    def prepare(self, maker: "Maker") -> "FeedbackRun":
        manners = self.manners(maker)
        for category, target in self.exits.items():
            maker.exit(category, target)
        if len(self.exits) == len(_CATEGORIES[self.feedback]) and self.next is None:
            maker.drop_exit("next")
        options = tuple(
            Option(str(score), {ANY: (Template([_label(self.feedback, score)], frozenset()),)})
            for score in SCORES[self.feedback]
        )
        text = maker.text("text", self.text)
        maker.knows(f"result.{manners.result}")  # asked once the score is there; a comment may never come
        follow_up = maker.text("follow_up", self.follow_up) if self.follow_up else None
        return FeedbackRun(manners, text, Options(options), follow_up, self)


def _label(kind: str, score: int) -> str:
    return "⭐" * score if kind == "stars" else str(score)


def category(kind: str, score: int) -> str:
    """The category of a score."""
    high, middle, low = _CATEGORIES[kind]
    best, fair = (9, 7) if kind == "nps" else (4, 3)
    return high if score >= best else middle if score >= fair else low


class FeedbackRun(Question):
    __slots__ = ("exits", "follow_up", "follow_up_for", "kind", "topic")

    def __init__(
        self,
        manners: Manners,
        text: Templates,
        options: Options,
        follow_up: Templates | None,
        document: Feedback,
    ) -> None:
        super().__init__(manners, text, options)
        self.follow_up = follow_up
        self.follow_up_for = document.follow_up_for or _CATEGORIES[document.feedback]
        self.exits = document.exits
        self.kind = document.feedback
        self.topic = document.topic

    def answer(self, turn: "Turn", received: Received) -> None:
        if turn.state.stage == COMMENT:
            self._commented(turn, received)
        else:
            super().answer(turn, received)

    def due(self, turn: "Turn") -> None:
        if turn.state.stage == COMMENT:
            turn.go(self._target(turn))
        else:
            super().due(turn)

    def read(self, turn: "Turn", received: Received) -> Valid | Invalid:
        """As an answer of the kind rating is read: `8`, `8/10`, `four stars`, `⭐⭐⭐⭐`."""
        scores = SCORES[self.kind]
        scale = Reading(turn.language, turn.business.region, turn.today(), scores[0], scores[-1])
        found = answer_type("rating").read(received, scale)
        if isinstance(found, Invalid):
            return found
        return Valid(found.value, said(received), category(self.kind, found.value))

    def accept(self, turn: "Turn", found: Valid) -> None:
        step_id, version = turn.state.step, turn.state.version
        turn.add(RecordFeedback(step_id, self.kind, found.value, self.topic, version=version))
        if self.follow_up is None or found.category not in self.follow_up_for:
            super().accept(turn, found)
            return
        turn.mark("answered")
        turn.record(self.manners.result, Result(found.value, found.category, found.input))
        if self.manners.save is not None:
            turn.save(self.manners.save, found.value)
        turn.state.stage = COMMENT
        turn.state.visit += 1  # the time allowed starts anew
        self.pose(turn, turn.text(self.follow_up))

    def route(self, found: Valid) -> str | None:
        return self.exits.get(found.category, self.manners.next)

    def pose(self, turn: "Turn", text: str, options: Options | None = None) -> None:
        if turn.state.stage == COMMENT:
            super().pose(turn, text, Options(()))
        elif 0 < turn.channel.choices < len(SCORES[self.kind]):
            # As numbered text the numbers would stand beside other scores: "4. 3".
            scores = SCORES[self.kind]
            asked = turn.words("write_score").format(first=scores[0], last=scores[-1])
            super().pose(turn, f"{text}\n{asked}", Options(()))
        else:
            super().pose(turn, text, options)

    def _ways(self, turn: "Turn") -> list[tuple[str, str]]:
        return [(SKIP_ID, "skip")] if turn.state.stage == COMMENT else super()._ways(turn)

    def _commented(self, turn: "Turn", received: Received) -> None:
        match received:
            case Tap(option_id=tapped) if tapped != SKIP_ID:
                return  # a button of an older message is no answer
            case ReceivedText(text=text) if plain(text) not in SKIP and text.strip():
                self._keep(turn, text.strip()[:MAX_COMMENT])
            case ReceivedText() | Tap():
                pass
            case _:
                turn.stay()
                self.pose(turn, turn.words("invalid.text"))
                return
        turn.go(self._target(turn))

    def _keep(self, turn: "Turn", words: str) -> None:
        score = turn.state.results[self.manners.result].value
        step_id, version = turn.state.step, turn.state.version
        turn.add(RecordFeedback(step_id, self.kind, score, self.topic, words, version))
        turn.save(f"session.{self.manners.result}_comment", words)

    def _target(self, turn: "Turn") -> str | None:
        result = turn.state.results.get(self.manners.result)
        return self.exits.get(result.category if result else "", self.manners.next)
