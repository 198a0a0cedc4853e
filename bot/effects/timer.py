"""`timer`: a durable wake-up, bound to the session, the step and the visit that set it."""

from __future__ import annotations

from bot.effects import applies
from bot.scope import Scope
from domain.effects import SetTimer


@applies(SetTimer)
def set_timer(scope: Scope, effect: SetTimer) -> None:
    """Adds the row."""
    session = scope.session
    if scope.conversation is None or session is None:
        return
    scope.set_timer(
        session.id,
        step_id=effect.step_id,
        visit=effect.visit,
        purpose=effect.purpose,
        due_at=effect.due_at,
        version=session.flow_version_id,
        after_sent=effect.after_sent,
    )
