"""Events of our own: timers that are due, and changes to a conversation from outside."""

from __future__ import annotations

from bot import dialogue, doors, resuming, schedules, silences, triggering
from bot.flow_store import FlowStore
from bot.handlers import calls, handles
from bot.scope import Scope
from domain.events import SessionCommand, TimerDue
from flows.state import CALL, EXPIRE


@handles(TimerDue)
def timer_due(scope: Scope, flows: FlowStore, event: TimerDue) -> None:
    """Wakes the session that set it; a stale one does nothing."""
    if event.purpose == silences.SILENCE:
        triggering.silent(scope, flows, event)
    elif event.purpose.startswith(schedules.PURPOSE):
        triggering.on_date(scope, flows, event)
    elif scope.session is not None and scope.session.id == event.session_id:
        if event.purpose == CALL and calls.ends_where_a_person_answers(scope):
            return
        dialogue.advance(scope, flows, event)
    elif event.purpose == EXPIRE:
        resuming.expire(scope, event.session_id)


@handles(SessionCommand)
def session_command(scope: Scope, flows: FlowStore, event: SessionCommand) -> None:
    """take_over, hand_back, stop, expire, start_flow, move: in order with what the person writes."""
    conversation = scope.conversation
    if conversation is None:
        return
    match event.what:
        case "take_over":
            conversation.status, conversation.assignee = "human", str(event.data.get("by", ""))
            conversation.changed = True
            scope.note("handed_over", by=str(event.data.get("by", "")))
        case "hand_back":
            conversation.status, conversation.assignee, conversation.changed = "bot", "", True
            scope.note("handed_back", by=str(event.data.get("by", "")))
        case "stop" | "expire":
            dialogue.end_session(scope, "stopped" if event.what == "stop" else "expired")
        case doors.HAPPENED:
            triggering.happened(scope, flows, event)
        case resuming.RESUME:
            dialogue.advance(scope, flows, event)
        case "move":
            dialogue.move(scope, flows, event)
        case "start_flow":
            triggering.commanded(scope, flows, event)
