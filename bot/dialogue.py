"""Between a conversation and the engine: which flow hears an event, and what becomes of its transition.

The engine decides, this applies: session row, effects, the turn's record. A turn holds what replay needs: the event,
the time, the seed, the contact as the flow saw it, the flow version; the states before and after by hash.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from bot import effects
from bot.batch import SessionRow
from bot.flow_store import FlowStore
from bot.scope import Scope
from domain.events import Event, MessageReceived, Place, TimerDue
from domain.messages import ReadAndTyping, Tap
from flows import engine, state, triggers
from flows.versions import CompiledFlow
from storage.database import scalar_int

_STATUS = {"failed": "failed", "stopped": "stopped", "expired": "expired"}
LATE_MS = 10 * 60_000  # an event that waited longer than this (an outage) follows the flow's `late` rule
_GROUP_TRIGGERS = ("keyword", "deep_link")  # in a group the bot speaks only when it is spoken to


def converse(scope: Scope, flows: FlowStore, event: MessageReceived, *, first_message: bool) -> None:
    """Gives an inbound message to the flow that it starts, else to the session that waits for it."""
    session = scope.session
    match = triggers.find(
        flows.on_channel(scope.workspace_id, scope.channel.id),
        event,
        first_message=first_message,
        session_waiting=session is not None,
        channel_kind=scope.channel.kind.kind,
    )
    if match is not None and event.origin.place is Place.group and match.kind not in _GROUP_TRIGGERS:
        match = None
    if match is not None and _too_late(scope, match.flow):
        return
    if match is not None:
        if session is not None:
            end_session(scope, "replaced")
        start(
            scope, flows, match.flow, trigger=f"{match.kind}:{match.value}"[:200], variables=_variables(event)
        )
    elif session is not None:
        advance(scope, flows, event)


def start(
    scope: Scope,
    flows: FlowStore,
    flow: CompiledFlow,
    *,
    trigger: str,
    variables: dict[str, Any] | None = None,
) -> None:
    """A new session in this conversation."""
    conversation, contact = scope.conversation, scope.contact
    if conversation is None or contact is None:
        return
    if _too_late(scope, flow):
        return
    transition = engine.start(
        flow,
        contact=contact,
        now=scope.now,
        seed=scope.event_id,
        channel_kind=scope.channel.kind.kind,
        business=scope.business.view,
        language=scope.language,
        variables=variables,
        library=flows.library(scope.workspace_id),
        channel=scope.channel.view,
    )
    scope.session = SessionRow(
        id=scope.runtime.new_id(),
        workspace_id=scope.workspace_id,
        conversation_id=conversation.id,
        contact_id=conversation.contact_id,
        flow_id=flows.flow_id(flow.version),
        flow_version_id=flow.version,
        state="",
        status="waiting",
        problem="",
        version=0,
        started_at=scope.now,
        updated_at=scope.now,
        new=True,
    )
    scope.batch.sessions[scope.session.id] = scope.session
    conversation.session_id = scope.session.id
    scope.note("flow_started", flow=flow.key, trigger=trigger)
    _apply(scope, flows, transition, before="", trigger=trigger)


def advance(scope: Scope, flows: FlowStore, event: Event) -> bool:
    """Gives an event to the waiting session; false when it was none of the session's."""
    session, contact = scope.session, scope.contact
    if session is None or contact is None:
        return False
    before = state.decode(session.state)
    flow = flows.version(before.version) or flows.published(scope.workspace_id, before.flow)
    if flow is None:
        session.problem = "its flow version is gone"
        end_session(scope, "failed")
        return False
    if isinstance(event, MessageReceived) and _too_late(scope, flow):
        return False
    transition = engine.advance(
        flow,
        before,
        event,
        contact=contact,
        now=scope.now,
        seed=scope.event_id,
        channel_kind=scope.channel.kind.kind,
        business=scope.business.view,
        library=flows.library(scope.workspace_id),
        channel=scope.channel.view,
    )
    if not transition.handled:
        return False
    if not isinstance(event, TimerDue) or transition.effects or transition.ended:
        scope.batch.cancel_timers(session.id)  # the step was left, or asked again: its timers are stale
    _apply(scope, flows, transition, before=session.state, trigger="")
    return True


def end_session(scope: Scope, status: str) -> None:
    """Ends the waiting session from outside its flow."""
    session, conversation = scope.session, scope.conversation
    if session is None or conversation is None:
        return
    session.status, session.updated_at, session.changed = status, scope.now, True
    conversation.session_id, conversation.changed = 0, True
    scope.batch.cancel_timers(session.id)
    scope.session = None


def _apply(
    scope: Scope, flows: FlowStore, transition: engine.Transition, *, before: str, trigger: str
) -> None:
    session, conversation = scope.session, scope.conversation
    if session is None or conversation is None:
        return
    seen = scope.contact
    scope.contact = transition.contact
    session.state = state.encode(transition.state).decode()
    session.flow_version_id = transition.state.version
    session.flow_id = flows.flow_id(transition.state.version) or session.flow_id
    session.updated_at, session.changed = scope.now, True
    conversation.changed = True
    already = len(scope.batch.outgoing)
    effects.apply(scope, transition.effects)
    if len(scope.batch.outgoing) > already:
        conversation.question_id = scope.batch.outgoing[already].id
    scope.state_before, scope.state_after = _hash(before), _hash(session.state)
    _record_turn(scope, session, transition, seen, trigger)
    if transition.ended:
        session.status = _STATUS.get(transition.outcome, "ended")
        conversation.session_id = 0
        scope.note("flow_ended", flow=transition.state.flow, outcome=transition.outcome)
        scope.session = None


def _record_turn(
    scope: Scope, session: SessionRow, transition: engine.Transition, contact: Any, trigger: str
) -> None:
    channel = scope.channel.view  # the key of its referrals follows from the workspace's
    payload = msgspec.json.encode(
        {
            "event": scope.event,
            "now": scope.now,
            "seed": scope.event_id,
            "trigger": trigger,
            "contact": contact,
            "effects": transition.effects,
            "outcome": transition.outcome,
            "channel": {"kind": channel.kind, "name": channel.name, "link": channel.link},
        }
    )
    scope.batch.turns.append(
        {
            "id": scope.turn_id,
            "workspace_id": scope.workspace_id,
            "conversation_id": session.conversation_id,
            "session_id": session.id,
            "event_id": scope.event_id,
            "flow_version_id": transition.state.version,
            "payload": scope.runtime.sealer.seal(payload, table="turn", row=scope.turn_id, column="payload"),
            "state_before": scope.state_before,
            "state_after": scope.state_after,
            "at": scope.now,
        }
    )


def _too_late(scope: Scope, flow: CompiledFlow) -> bool:
    event = scope.event
    if not isinstance(event, MessageReceived) or not event.occurred_at:
        return False
    return flow.document.late == "ignore" and scope.now - event.occurred_at > LATE_MS


def _variables(event: MessageReceived) -> dict[str, Any]:
    """What a flow may know of how it was started."""
    variables: dict[str, Any] = {}
    if event.deep_link:
        variables["deep_link"] = event.deep_link
    if event.referral is not None:
        variables["referral"] = event.referral.source_id or event.referral.source
    return variables


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest() if text else ""


def is_stale(scope: Scope, tap: Tap) -> bool:
    """Whether a tap answers a question that was answered before: buttons stay on the screen, and some people tap
    twice. Where the platform does not bring our own id back, the message is found by the platform's."""
    conversation = scope.conversation
    if conversation is None or not conversation.question_id:
        return False
    message_id = tap.message_id
    if not message_id and tap.message_external_id:
        message_id = scalar_int(
            scope.connection,
            "SELECT max(id) FROM message WHERE channel_id = :channel AND external_id = :external AND direction = 'out'",
            {"channel": scope.channel.id, "external": tap.message_external_id},
        )
    return 0 < message_id < conversation.question_id


def mark_read(scope: Scope, event: MessageReceived) -> None:
    """Shows that what was written arrived and that an answer is on its way, where the platform can mark as read. Typing
    alone would be a second call for an answer that leaves in the same moment."""
    if scope.channel.capabilities.marks_read and event.external_id:
        scope.send_ephemeral(ReadAndTyping(message_external_id=event.external_id))
