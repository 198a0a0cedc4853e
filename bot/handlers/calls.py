"""Answers of services to the calls of sessions."""

from __future__ import annotations

from bot import dialogue
from bot.flow_store import FlowStore
from bot.handlers import handles
from bot.scope import Scope
from domain.events import HttpAnswered
from flows import state

# Problems that stay until somebody of the business does something.
OURS_TO_MEND = frozenset({"not_allowed", "no_secret"})


@handles(HttpAnswered)
def http_answered(scope: Scope, flows: FlowStore, event: HttpAnswered) -> None:
    """Takes the session on; a stale answer does nothing, and where a person has taken over the bot stays silent."""
    if scope.conversation is None or scope.session is None or scope.session.id != event.session_id:
        return
    if event.problem in OURS_TO_MEND:
        where = f"{state.decode(scope.session.state).flow}, {event.step_id}"
        scope.tell_team_hourly(event.problem, f"{where}: {event.server}" if event.server else where)
    if not ends_where_a_person_answers(scope):
        dialogue.advance(scope, flows, event)


def ends_where_a_person_answers(scope: Scope) -> bool:
    """Whether a person of the team has taken over while the session waited for its call: then it is over. To go on
    would be to speak, and to wait on would hold what people write once the conversation is handed back."""
    if scope.conversation is None or scope.conversation.status == "bot":
        return False
    dialogue.end_session(scope, "stopped")
    return True
