"""When nobody answers: one timer of a conversation for each `no_answer` trigger, whatever session comes and goes.

It is set when the bot has answered the person, counts from when the platform accepted the last message of that turn
(see `settling`), and ends with whatever they write. `bot.triggering` starts what is due.
"""

from __future__ import annotations

from bot.flow_store import FlowStore
from bot.scope import Scope
from domain.events import TimerDue
from flows import state
from flows.triggers.no_answer import NoAnswerTrigger

SILENCE = "silence"  # the purpose of timers that belong to a conversation


def end(scope: Scope, flows: FlowStore) -> None:
    """The person did something: nobody waits for their answer any more."""
    conversation = scope.conversation
    if conversation is not None and flows.hears(scope.workspace_id, "no_answer"):
        scope.batch.cancel_timers(conversation.id, over=True)


def begin(scope: Scope, flows: FlowStore, at: state.SessionState, *, said: bool) -> None:
    """The bot has spoken to somebody who had done something: `no_answer` counts from when the last message of the turn
    is accepted (see `settling`). What flows say by themselves begins no new silence: each trigger starts once."""
    conversation = scope.conversation
    if conversation is None or not said or conversation.place != "private":
        return
    if not flows.hears(scope.workspace_id, "no_answer"):  # nearly always
        return
    if isinstance(scope.event, TimerDue) or (at.cause is not None and at.cause.chain):
        return
    waiting = flows.doors(scope.workspace_id, scope.channel.id, scope.channel.kind.kind).of_kind("no_answer")
    if not waiting:
        return
    scope.batch.cancel_timers(conversation.id, over=True)
    for flow, trigger in waiting:
        if isinstance(trigger, NoAnswerTrigger):
            scope.set_timer(
                conversation.id,  # whatever session comes
                step_id=flow.key,
                visit=flow.document.triggers.index(trigger),
                purpose=SILENCE,
                due_at=scope.now + trigger.span_ms,
                version=flow.version,
                after_sent=trigger.span_ms,
            )
