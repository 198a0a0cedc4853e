"""`consent`: asks for consent to a purpose, with the wording of the business, and proves the answer.

```yaml
consent:
  consent: marketing
  double_opt_in: true
  exits: {yes: thanks, no: goodbye}
```

The ledger hears `asked` (with the exact wording and its version), then `granted` or `denied`; with `double_opt_in` a
second button makes it `confirmed`. Who has already agreed is not asked again. Whoever neither agrees nor refuses has
not agreed: that leads to `no` and nothing is recorded.
"""

from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from domain.effects import RecordConsent
from domain.errors import FlowError
from domain.messages import Received
from flows.answers import Invalid, Valid
from flows.options import Options, Templates, plain
from flows.questions import Manners, Question, QuestionDocument, fixed_option
from flows.state import Result
from flows.steps import StepId, step
from flows.steps.ask import said
from flows.texts import Texts, local_text
from flows.words import WORDS, agrees

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

CONFIRMING = "confirming"  # the stage of the second question


class Exits(BaseModel):
    """Where each answer leads."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    yes: StepId
    no: StepId


@step("consent")
class Consent(QuestionDocument):
    """`text` is said before the wording; `confirm` replaces our second question."""

    consent: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
    exits: Exits
    double_opt_in: bool = False
    text: Texts | None = None
    confirm: Texts | None = None
    yes: Texts | None = None  # labels of the buttons
    no: Texts | None = None

    def expects(self) -> tuple[str, bool]:
        return self.consent, self.double_opt_in

    def prepare(self, maker: "Maker") -> "ConsentRun":
        manners = self.manners(maker)
        maker.drop_exit("next", certain=self.skip is not True)  # who gives up has not agreed
        maker.exit("yes", self.exits.yes)
        maker.exit("no", self.exits.no)
        maker.passes("yes")  # who has agreed is not asked again
        no = fixed_option("no", "no", self.no, maker)
        confirm = self.confirm or local_text(dict(WORDS["confirm_question"]))
        return ConsentRun(
            manners,
            maker.text("text", self.text) if self.text else {},
            Options((fixed_option("yes", "yes", self.yes, maker), no)),
            Options((fixed_option("confirm", "confirm", None, maker, second=True), no)),
            maker.text("confirm", confirm),
            self,
        )


class ConsentRun(Question):
    __slots__ = ("confirm", "confirm_options", "double_opt_in", "exits", "purpose")

    def __init__(
        self,
        manners: Manners,
        text: Templates,
        options: Options,
        confirm_options: Options,
        confirm: Templates,
        document: Consent,
    ) -> None:
        super().__init__(manners, text, options)
        self.confirm_options = confirm_options
        self.confirm = confirm
        self.purpose = document.consent
        self.double_opt_in = document.double_opt_in
        self.exits = document.exits

    def enter(self, turn: "Turn") -> None:
        state = turn.contact.consents.get(self.purpose)
        if state == "confirmed" or (state == "granted" and not self.double_opt_in):
            turn.record(self.manners.result, Result(True, "yes", ""))
            turn.go(self.exits.yes)
            return
        turn.state.stage = ""
        self._record(turn, "asked")
        self.pose(turn, self._question(turn))

    def read(self, turn: "Turn", received: Received) -> Valid | Invalid:
        confirming = turn.state.stage == CONFIRMING
        option = (self.confirm_options if confirming else self.options or self.confirm_options).find(
            turn, received
        )
        words = plain(said(received))
        if option is None and agrees(words) is False:
            option = "no"
        if option is None and not confirming and agrees(words):
            option = "yes"  # the second question wants its button, or the button's words
        return Invalid("choice") if option is None else Valid(option != "no", said(received), option)

    def accept(self, turn: "Turn", found: Valid) -> None:
        if found.category == "yes":
            self._record(turn, "granted")
            if self.double_opt_in:
                turn.state.stage = CONFIRMING
                turn.state.visit += 1  # the time allowed starts anew
                self.pose(turn, turn.text(self.confirm), self.confirm_options)
                return
        else:
            self._record(turn, "confirmed" if found.category == "confirm" else "denied")
        agreed = bool(found.value)
        turn.record(self.manners.result, Result(agreed, "yes" if agreed else "no", found.input))
        turn.go(self.exits.yes if agreed else self.exits.no)

    def refuse(self, turn: "Turn", reason: str) -> None:
        if turn.state.stage == CONFIRMING and self.manners.tries is None:
            turn.stay()
            self.pose(turn, turn.text(self.confirm), self.confirm_options)
            return
        super().refuse(turn, reason)

    def give_up(self, turn: "Turn") -> None:
        turn.go(self.manners.otherwise or self.exits.no)

    def pose(self, turn: "Turn", text: str, options: Options | None = None) -> None:
        super().pose(turn, text, self.confirm_options if turn.state.stage == CONFIRMING else options)

    def _question(self, turn: "Turn") -> str:
        wording, _, _ = self._wording(turn)
        return f"{turn.text(self.text)}\n\n{wording}" if self.text else wording

    def _record(self, turn: "Turn", action: str) -> None:
        wording, version, language = self._wording(turn)
        if action != "asked" or self.purpose not in turn.contact.consents:  # being asked again ends nothing
            turn.contact.consents[self.purpose] = action
        step_id = turn.state.step
        turn.add(
            RecordConsent(
                self.purpose, action, wording, version, language, step_id, double_opt_in=self.double_opt_in
            )
        )

    def _wording(self, turn: "Turn") -> tuple[str, str, str]:
        """The exact sentence, its version and its language. Consent to words that do not exist is no consent."""
        purpose = turn.business.purposes.get(self.purpose)
        if purpose is None or not purpose.wording:
            raise FlowError(
                f"the business has no wording for the purpose {self.purpose!r}", step_id=turn.state.step
            )
        language = turn.language if turn.language in purpose.wording else next(iter(purpose.wording))
        return purpose.wording[language], purpose.version, language
