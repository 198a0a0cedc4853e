"""`listen`: waits for whatever is sent, says nothing, and goes where the first rule that fits leads.

```yaml
answer:
  listen:
    - {test: has_any_word, value: {it: sì certo ok, en: yes sure ok}, category: "Yes", goto: thanks}
    - {test: has_email, category: E-mail, goto: thanks}
  result: agreed
  otherwise: again
  timeout: {after: 2 days, goto: again, category: No answer}
again:
  send: {it: Scrivimi sì o la tua e-mail., en: Write yes or your e-mail.}
  next: answer
thanks:
  send: {it: Grazie!, en: Thank you!}
  next: end
```
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from domain import durations
from domain.messages import Received
from flows.expressions import Template
from flows.routing import OTHER, Called, Category, ResultKey, Router, Rules, router
from flows.state import ANSWER, Input, Result
from flows.steps import Duration, StepDocument, StepId, StepRun, step
from flows.texts import MAX_TEXT, local_text

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn


class NoAnswer(BaseModel):
    """`{after: 2 days, goto: remind, category: No answer}`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    after: Duration
    goto: StepId | None = None  # else the step's `otherwise` or `next`
    category: Category | None = "No Response"  # RapidPro's word; null: no result is kept


@step("listen")
class Listen(StepDocument):
    """The rules look at the text that was sent: of a tap its title and then its id, of a file its caption and else the
    file, of a place `geo:lat,lon`; `operand` names something else. Nothing is invalid here: what fits no rule takes
    `otherwise` (or `next`). With `take_first`, a session that a message started is decided by that one."""

    waits: ClassVar[str] = ANSWER

    listen: Rules = ()
    operand: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)] | None = None
    category: Category = OTHER
    result: ResultKey | None = None
    categories: Called = Field(
        default_factory=dict
    )  # what they are called in languages: {Adult: {it: Adulto}}
    otherwise: StepId | None = None
    timeout: NoAnswer | None = None
    take_first: bool = False

    def expects(self) -> Any:
        return ANSWER

    def prepare(self, maker: "Maker") -> "ListenRun":
        operand = None if self.operand is None else maker.value("operand", local_text(self.operand))
        rest = self.otherwise or self.next
        rules = router(
            self.listen,
            category=self.category,
            otherwise=self.otherwise,
            following=self.next,
            result=self.result,
            names=self.categories,
            maker=maker,
        )
        timeout = self.timeout
        if timeout is not None:
            maker.exit("timeout", timeout.goto or rest)
        return ListenRun(
            operand=operand,
            router=rules,
            timeout_ms=durations.parse(timeout.after) if timeout else None,
            timeout_target=(timeout.goto or rest) if timeout else None,
            timeout_category=(timeout.category or "") if timeout else "",
            take_first=self.take_first,
        )


@dataclass(frozen=True, slots=True)
class ListenRun(StepRun):
    operand: Template | None
    router: Router
    timeout_ms: int | None
    timeout_target: str | None
    timeout_category: str
    take_first: bool

    def enter(self, turn: "Turn") -> None:
        first = turn.state.last
        begins = turn.state.visit == turn.entered and not turn.state.stack  # no other flow came before
        if self.take_first and begins and first is not None:
            self._decide(turn, first)
        else:
            turn.listen(timeout_ms=self.timeout_ms)

    def answer(self, turn: "Turn", received: Received) -> None:
        if turn.state.last is not None:  # the engine has put it there
            turn.mark("answered")
            self._decide(turn, turn.state.last)

    def due(self, turn: "Turn") -> None:
        turn.mark("timeout")
        if self.router.result is not None and self.timeout_category:
            localized = self.router.called(turn, self.timeout_category)
            turn.record(self.router.result, Result("", self.timeout_category, "", None, localized))
        turn.go(self.timeout_target)

    def _decide(self, turn: "Turn", said: Input) -> None:
        own = said.text or "\n".join(said.attachments)
        value = own if self.operand is None else self.operand.operand(turn)
        others = (
            [said.option] if said.option and said.option != said.text and self._is_said(value, said) else []
        )
        decision = self.router.decide(turn, value, *others)
        self.router.keep(turn, decision, value)
        turn.go(decision.target)

    def _is_said(self, value: Any, said: Input) -> bool:
        """Whether the rules look at what was sent, so that a tap may count by its id, too."""
        from flows.excellent.values import lift, text

        return text(lift(value)) == said.text
