"""`referral`: who brought the person, once per program; the one who invited is counted with the row."""

from __future__ import annotations

from bot.effects import applies
from bot.scope import Scope
from domain.effects import RecordReferral


@applies(RecordReferral)
def record_referral(scope: Scope, effect: RecordReferral) -> None:
    """Adds the row and a line in the timeline."""
    if scope.conversation is None:
        return
    scope.batch.referrals.append(
        {
            "id": scope.runtime.new_id(),
            "workspace_id": scope.workspace_id,
            "program": effect.program,
            "referrer_id": effect.referrer_id,
            "contact_id": scope.conversation.contact_id,
            "count": effect.count,
            "at": scope.now,
        }
    )
    scope.note("referred", program=effect.program)
