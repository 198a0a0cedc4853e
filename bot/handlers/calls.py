"""Answers of services to the calls of sessions."""

from __future__ import annotations

from bot import dialogue
from bot.flow_store import FlowStore
from bot.handlers import handles
from bot.scope import Scope
from domain.events import HttpAnswered


@handles(HttpAnswered)
def http_answered(scope: Scope, flows: FlowStore, event: HttpAnswered) -> None:
    """Takes the session on; a stale answer does nothing, and where a person has taken over the bot stays silent."""
    if scope.conversation is None or scope.session is None or scope.session.id != event.session_id:
        return
    if scope.conversation.status != "bot":
        dialogue.end_session(scope, "stopped")
        return
    dialogue.advance(scope, flows, event)
