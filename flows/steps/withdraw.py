"""`withdraw`: takes back the contact's consent to a purpose, as they have asked.

```yaml
enough:
  withdraw: marketing
  next: goodbye
goodbye:
  send: {it: "Va bene, non ti scrivo più novità.", en: "All right, no more news."}
  next: end
```

The ledger hears `withdrawn`, with the wording that was in force and the person's own words. Where nothing was agreed to
nothing is written. Other purposes stay as they are; the word STOP takes back everything.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from domain.effects import RecordConsent
from flows.changes import AGREED
from flows.steps import StepDocument, StepRun, step

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn


@step("withdraw")
class Withdraw(StepDocument):
    """The main argument is the purpose."""

    withdraw: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]

    def prepare(self, maker: "Maker") -> "WithdrawRun":
        maker.exit("next", self.next)
        return WithdrawRun(self.withdraw, self.next)


@dataclass(frozen=True, slots=True)
class WithdrawRun(StepRun):
    purpose: str
    next: str | None

    def enter(self, turn: "Turn") -> None:
        if turn.contact.consents.get(self.purpose) in AGREED:
            turn.contact.consents[self.purpose] = "withdrawn"
            turn.add(self._row(turn))
        turn.go(self.next)

    def _row(self, turn: "Turn") -> RecordConsent:
        known = turn.business.purposes.get(self.purpose)
        wording = known.wording if known is not None else {}
        language = turn.language if turn.language in wording else next(iter(wording), turn.language)
        version = known.version if known is not None else ""
        said = wording.get(language, "")
        return RecordConsent(self.purpose, "withdrawn", said, version, language, turn.state.step)
