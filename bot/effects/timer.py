"""`timer`: a durable wake-up, bound to the session, the step and the visit that set it."""

from __future__ import annotations

from bot.effects import applies
from bot.outbox import REPLY_LIFE_MS
from bot.scope import Scope
from domain.effects import SetTimer


@applies(SetTimer)
def set_timer(scope: Scope, effect: SetTimer) -> None:
    """Adds the row. One that counts from the turn's last message names the turn; the settle moves it. Until then it is
    due after the last moment at which that message may still leave: nobody is asked whether they are there before they
    were asked anything."""
    conversation, session = scope.conversation, scope.session
    if conversation is None or session is None:
        return
    counted = effect.after_sent is not None
    scope.batch.timers.append(
        {
            "id": scope.runtime.new_id(),
            "workspace_id": scope.workspace_id,
            "channel_id": conversation.channel_id,
            "intake_key": conversation.intake_key,
            "slot": conversation.slot,
            "conversation_id": conversation.id,
            "session_id": session.id,
            "step_id": effect.step_id,
            "visit": effect.visit,
            "purpose": effect.purpose,
            "due_at": effect.due_at + (REPLY_LIFE_MS if counted else 0),
            "after_sent": effect.after_sent,
            "turn_id": scope.turn_id if counted else 0,
            "state": 0,
            "flow_version_id": session.flow_version_id,
        }
    )
