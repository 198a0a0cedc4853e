"""`failed`: the flow could not go on. The session is over, and people can see where and why."""

from __future__ import annotations

from bot.effects import applies
from bot.scope import Scope
from domain.effects import SessionFailed


@applies(SessionFailed)
def session_failed(scope: Scope, effect: SessionFailed) -> None:
    """Writes it to the session, the timeline and the channel's log; a person takes over."""
    if scope.session is not None:
        scope.session.problem = f"step {effect.step_id}: {effect.problem}"
        scope.session.changed = True
    if scope.conversation is not None:
        scope.conversation.status = "human"
        scope.conversation.changed = True
    scope.tell_team("failed", f"step {effect.step_id}: {effect.problem}")
    scope.note("flow_failed", step=effect.step_id, problem=effect.problem)
    scope.log("flow", "failed", f"step {effect.step_id}: {effect.problem}")
