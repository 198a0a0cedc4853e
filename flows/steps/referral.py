"""`referral`: gives the contact a personal link to invite others, and notes who was invited by whom.

```yaml
invite:
  referral: summer
  new_only: true
  exits: {invited: hello_friend, none: share}
hello_friend:
  send: {it: "Un amico ti ha mandato qui: ecco il tuo buono.", en: "A friend sent you: here is your voucher."}
  next: share
share:
  send:
    it: "Il tuo link: {{ session.referral_link }} (amici portati: {{ contact.fields.invited_summer | default(0) }})"
    en: "Your link: {{ session.referral_link }} (friends brought: {{ contact.fields.invited_summer | default(0) }})"
  next: end
```

The link opens this channel with the payload `ref-<program>-<code>`: give the flow the trigger
`{deep_link: "ref-summer-*"}`. A flow that was started by such a link leaves by `invited`, once per person and program
and never for one's own link; with `new_only` only for people who wrote here for the first time, at most a day ago. Who
invited is counted in the field `invited_<program>`; who was invited has the day in `referred_<program>`.
`session.referral_link` is empty until the channel's public name is known, which the platform is asked for.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from domain.effects import RecordReferral
from flows import referrals
from flows.state import Result
from flows.steps import StepDocument, StepId, StepRun, step

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

NEW_MS = 24 * 3_600_000  # a person counts as new this long after the first message
LINK = "referral_link"  # the session's variable


class Exits(BaseModel):
    """Where it goes on; what is not named goes to `next`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    invited: StepId | None = None
    none: StepId | None = None


@step("referral")
class Referral(StepDocument):
    """The main argument is the program: a word in small letters."""

    referral: Annotated[str, Field(pattern=referrals.PROGRAM)]
    new_only: bool = False
    exits: Exits = Exits()

    def prepare(self, maker: "Maker") -> "ReferralRun":
        invited, none = self.exits.invited or self.next, self.exits.none or self.next
        maker.exit("invited", invited)
        maker.exit("none", none)
        maker.writes(f"session.{LINK}")
        maker.writes(f"contact.fields.referred_{self.referral}")
        maker.gives(maker.step_id)
        return ReferralRun(self.referral, self.new_only, invited, none)


@dataclass(frozen=True, slots=True)
class ReferralRun(StepRun):
    program: str
    new_only: bool
    invited: str | None
    none: str | None

    def enter(self, turn: "Turn") -> None:
        channel = turn.channel
        payload = referrals.payload(channel.key, self.program, turn.contact.id)
        link = channel.deep_link(payload)
        turn.save(f"session.{LINK}", link)
        referrer = self._referrer(turn)
        turn.record(turn.state.step, Result(link, "none" if referrer is None else "invited", payload))
        if referrer is None:
            turn.go(self.none)
            return
        turn.save(f"contact.fields.referred_{self.program}", turn.today().isoformat())
        turn.add(RecordReferral(turn.state.step, self.program, referrer, f"fields.invited_{self.program}"))
        turn.go(self.invited)

    def _referrer(self, turn: "Turn") -> int | None:
        """Who invited this person, when that counts."""
        came_by = turn.state.variables.get("deep_link")
        contact = turn.contact
        if not isinstance(came_by, str) or contact.fields.get(f"referred_{self.program}"):
            return None
        if self.new_only and contact.created_at and turn.now - contact.created_at > NEW_MS:
            return None
        referrer = referrals.referrer(turn.channel.key, self.program, came_by)
        return None if referrer == contact.id else referrer
