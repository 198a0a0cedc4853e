"""`feedback`: a score, as a row and a line in the timeline; a comment joins the score that it follows."""

from __future__ import annotations

from sqlalchemy import Connection

from bot.effects import applies
from bot.scope import Scope
from crm import outcomes
from domain.effects import RecordFeedback


@applies(RecordFeedback)
def record_feedback(scope: Scope, effect: RecordFeedback) -> None:
    """Adds the score, or the comment once the rows are there."""
    where = scope.place_of(effect.step_id, effect.version)
    if where is None:
        return
    if effect.comment:
        contact_id, session_id = where["contact_id"], where["session_id"]

        def comment(connection: Connection) -> None:
            outcomes.comment(
                connection,
                workspace_id=scope.workspace_id,
                contact_id=contact_id,
                session_id=session_id,
                step_id=effect.step_id,
                words=effect.comment,
            )

        scope.batch.after.append(comment)
        return
    scope.batch.feedback.append(
        {**where, "kind": effect.kind, "topic": effect.topic, "score": effect.score, "comment": ""}
    )
    scope.note("feedback", sort=effect.kind, topic=effect.topic, score=effect.score)
