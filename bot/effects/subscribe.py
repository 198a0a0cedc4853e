"""`subscribe`: a topic that the person follows or not, and a line in the timeline."""

from __future__ import annotations

from bot.effects import applies
from bot.scope import Scope
from domain.effects import Subscribe


@applies(Subscribe)
def subscribe(scope: Scope, effect: Subscribe) -> None:
    """Adds the row and the line."""
    if scope.conversation is None:
        return
    scope.batch.subscriptions.append(
        {
            "workspace_id": scope.workspace_id,
            "contact_id": scope.conversation.contact_id,
            "topic": effect.topic,
            "state": int(effect.on),
            "step_id": effect.step_id,
            "at": scope.now,
        }
    )
    scope.note("topic_on" if effect.on else "topic_off", topic=effect.topic)
