"""Between a conversation and the engine: which flow hears an event, and what becomes of its transition.

The engine decides, this applies: session row, effects, the turn's record (what replay needs, see `turns`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import structs
from sqlalchemy import text

from bot import effects, occasions, resuming, silences, step_counts, turns
from bot.batch import SessionRow
from bot.flow_store import FlowStore, Library
from bot.scope import Scope
from bot.step_counts import Walked
from bot.turns import Recorded, SeenBusiness
from domain.contacts import ContactView
from domain.effects import Effect, SendMessage, SetTimer
from domain.events import Event, MessageReceived, SessionCommand, TimerDue
from domain.messages import Button, ReadAndTyping, Tap, decode_content
from flows import engine, state
from flows.state import EXPIRE, Cause
from flows.versions import CompiledFlow
from storage.database import scalar_int

_STATUS = {"failed": "failed", "stopped": "stopped", "expired": "expired"}
LATE_MS = 10 * 60_000  # an event that waited longer than this (an outage) follows the flow's `late` rule


class _Given(NamedTuple):
    """What the engine was given for a turn, beside what the scope holds. `language`, `variables`: of a start."""

    flow: CompiledFlow | None
    contact: ContactView
    library: Library
    trigger: str = ""
    language: str | None = None
    variables: dict[str, Any] | None = None
    cause: Cause | None = None


def start(
    scope: Scope,
    flows: FlowStore,
    flow: CompiledFlow,
    *,
    trigger: str,
    variables: dict[str, Any] | None = None,
    language: str = "",
    cause: Cause | None = None,
) -> None:
    """A new session in this conversation. `language` is spoken with somebody whose own is not known; `cause` says how
    it came about, where no message of the person did it."""
    conversation, contact = scope.conversation, scope.contact
    if conversation is None or contact is None:
        return
    if too_late(scope, flow):
        return
    spoken = language or scope.language
    given = _Given(flow, contact, flows.library(scope.workspace_id), trigger, spoken, variables, cause)
    transition = engine.start(
        flow,
        contact=contact,
        now=scope.now,
        seed=scope.event_id,
        channel_kind=scope.channel.kind.kind,
        business=scope.business.view,
        language=given.language,
        variables=variables,
        library=given.library,
        channel=scope.channel.view,
        cause=cause,
        received=scope.event.content if isinstance(scope.event, MessageReceived) else None,
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
    _apply(scope, flows, transition, before="", given=given)


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
    if isinstance(event, MessageReceived) and too_late(scope, flow):
        return False
    given = _Given(flow, contact, flows.library(scope.workspace_id))
    transition = engine.advance(
        flow,
        before,
        event,
        contact=contact,
        now=scope.now,
        seed=scope.event_id,
        channel_kind=scope.channel.kind.kind,
        business=scope.business.view,
        library=given.library,
        channel=scope.channel.view,
    )
    if not transition.handled:
        return False
    if not isinstance(event, TimerDue) or transition.effects or transition.ended:
        # the step was left, or asked again: its timers are stale
        scope.batch.cancel_timers(session.id, over=transition.ended)
    _apply(scope, flows, transition, before=session.state, given=given)
    return True


def move(scope: Scope, flows: FlowStore, event: SessionCommand) -> bool:
    """Takes the waiting session to another version of a flow (`flows/moving.py`); false when it stays as it is.

    `event.data`: `session`, `version` (ids), `how` (move | restart), `map`. Asked for some time ago, so judged now: a
    session that has ended, or is in that version or a newer one already, is left alone; so is one that would have to
    speak while a person of the team is talking.
    """
    session, conversation, contact = scope.session, scope.conversation, scope.contact
    if session is None or conversation is None or contact is None or session.id != event.data.get("session"):
        return False
    target = int(event.data.get("version", 0))
    flows.ensure(scope.connection, [target])
    to, before = flows.version(target), state.decode(session.state)
    if to is None or any(key == to.key and version > target for key, version in before.versions()):
        return False
    given = _Given(flows.version(before.version), contact, flows.library(scope.workspace_id))
    transition = engine.move(
        given.flow,
        before,
        to,
        mapping=event.data.get("map") or {},
        restart=event.data.get("how") == "restart",
        contact=contact,
        now=scope.now,
        seed=scope.event_id,
        channel_kind=scope.channel.kind.kind,
        business=scope.business.view,
        library=given.library,
        channel=scope.channel.view,
    )
    speaks = any(isinstance(effect, SendMessage) for effect in transition.effects)
    if not transition.handled or (speaks and conversation.status != "bot"):
        return False
    if transition.effects or transition.ended or transition.state.visit != before.visit:
        scope.batch.cancel_timers(session.id, over=transition.ended)
    scope.note("flow_moved", flow=to.key, step=transition.state.step)
    _apply(scope, flows, transition, before=session.state, given=given)
    return True


def end_session(scope: Scope, status: str, *, also_behind: bool = True) -> None:
    """Ends the waiting session from outside its flow; with `also_behind` what it had interrupted is over, too."""
    session, conversation = scope.session, scope.conversation
    if session is None or conversation is None:
        return
    at = state.decode(session.state)
    if also_behind and at.cause is not None and at.cause.resumes:
        resuming.drop(scope, at.cause.resumes)
    _left(scope, at, status)
    session.status, session.updated_at, session.changed = status, scope.now, True
    conversation.session_id, conversation.changed = 0, True
    scope.batch.cancel_timers(session.id, over=True)
    scope.session = None


def _apply(
    scope: Scope, flows: FlowStore, transition: engine.Transition, *, before: str, given: _Given
) -> None:
    session, conversation = scope.session, scope.conversation
    if session is None or conversation is None:
        return
    scope.contact = transition.contact
    asked_at = session.updated_at if before else 0
    session.state = state.encode(transition.state).decode()
    session.flow_version_id = transition.state.version
    session.flow_id = flows.flow_id(transition.state.version) or session.flow_id
    session.updated_at, session.changed = scope.now, True
    conversation.changed = True
    already = len(scope.batch.outgoing)
    effects.apply(scope, _permitted(scope, transition))
    if transition.expires_at:
        at = transition.state
        effects.apply(scope, [SetTimer(at.step, at.visit, EXPIRE, due_at=transition.expires_at)])
    if len(scope.batch.outgoing) > already:
        conversation.question_id = scope.batch.outgoing[already].id
    scope.state_before, scope.state_after = turns.hash_of(before), turns.hash_of(session.state)
    _record_turn(scope, flows, session, transition, given)
    walked = scope.batch.walked
    walked += step_counts.walked(scope.workspace_id, transition.path, asked_at=asked_at, now=scope.now)
    if not before:
        started = given.flow.version if given.flow else transition.state.version
        kind = given.trigger.partition(":")[0] or "other"
        walked.append(Walked(scope.workspace_id, started, "", f"start:{kind}"))
    if transition.ended:
        if transition.outcome in _STATUS:
            _left(scope, transition.state, transition.outcome)
        else:
            walked.append(
                Walked(scope.workspace_id, transition.state.version, "", f"end:{transition.outcome}")
            )
        session.status = _STATUS.get(transition.outcome, "ended")
        conversation.session_id = 0
        scope.note("flow_ended", flow=transition.state.flow, outcome=transition.outcome)
        scope.session = None
    said = len(scope.batch.outgoing) > already
    silences.begin(scope, flows, transition.state, said=said)
    if given.flow is not None:
        occasions.raise_of_turn(scope, flows, given.contact, transition)
    if transition.ended:
        resuming.after(scope, transition.state, transition.outcome)


def _permitted(scope: Scope, transition: engine.Transition) -> list[Effect]:
    """The effects as they may be applied. What nobody asked for is marketing, of the purpose that the schedule names;
    and who has just taken back a consent hears no marketing, whatever else they agreed to."""
    cause = transition.state.cause
    if cause is None or not (cause.purpose or cause.kind == "consent_withdrawn"):
        return transition.effects
    permitted: list[Effect] = []
    for effect in transition.effects:
        if isinstance(effect, SendMessage) and cause.kind == "consent_withdrawn" and effect.purpose:
            scope.log(
                "trigger", "left out", f"step {effect.step_id}: no marketing after a consent was taken back"
            )
            continue
        if isinstance(effect, SendMessage) and cause.purpose and not effect.purpose:
            effect = structs.replace(effect, purpose=cause.purpose)
        permitted.append(effect)
    return permitted


def _left(scope: Scope, at: state.SessionState, outcome: str) -> None:
    """Counts a session that ended where it stood."""
    scope.batch.walked += (
        Walked(scope.workspace_id, at.version, at.step, "left"),
        Walked(scope.workspace_id, at.version, "", f"end:{outcome}"),
    )


def _record_turn(
    scope: Scope, flows: FlowStore, session: SessionRow, transition: engine.Transition, given: _Given
) -> None:
    business = scope.business
    if (scope.workspace_id, business.digest) not in flows.kept:
        scope.batch.businesses.append(SeenBusiness(scope.workspace_id, business.digest, business.view))
    recorded = Recorded(
        format=turns.FORMAT,
        event=scope.event,
        now=scope.now,
        seed=scope.event_id,
        trigger=given.trigger,
        contact=given.contact,
        effects=transition.effects,
        outcome=transition.outcome,
        flow=given.flow.version if given.flow is not None else 0,
        channel=scope.channel.view,
        language=given.language,
        variables=given.variables or {},
        library=given.library.used,
        business=business.digest,
        cause=given.cause,
    )
    scope.batch.turns.append(
        {
            "id": scope.turn_id,
            "workspace_id": scope.workspace_id,
            "conversation_id": session.conversation_id,
            "session_id": session.id,
            "event_id": scope.event_id,
            "flow_version_id": transition.state.version,
            "payload": turns.seal(recorded, sealer=scope.runtime.sealer, turn_id=scope.turn_id),
            "state_before": scope.state_before,
            "state_after": scope.state_after,
            "at": scope.now,
        }
    )


def too_late(scope: Scope, flow: CompiledFlow) -> bool:
    """Whether a message waited longer than the flow likes to answer (its `late` rule)."""
    event = scope.event
    if not isinstance(event, MessageReceived) or not event.occurred_at:
        return False
    return flow.document.late == "ignore" and scope.now - event.occurred_at > LATE_MS


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
    return 0 < message_id < conversation.question_id and not _lasting(scope, tap, message_id)


def _lasting(scope: Scope, tap: Tap, message_id: int) -> bool:
    """Whether the button belongs to no question: quick replies of a `send` count whenever they are tapped."""
    row = scope.connection.execute(
        text("SELECT content FROM message WHERE id = :id AND workspace_id = :workspace"),
        {"id": message_id, "workspace": scope.workspace_id},
    ).one_or_none()
    buttons: tuple[Button, ...] = (
        getattr(decode_content(row.content), "buttons", ()) if row is not None else ()
    )
    return any(button.lasting and button.id == tap.option_id for button in buttons)


def mark_read(scope: Scope, event: MessageReceived) -> None:
    """Shows that what was written arrived and that an answer is on its way, where the platform can mark as read. Typing
    alone would be a second call for an answer that leaves in the same moment."""
    if scope.channel.capabilities.marks_read and event.external_id:
        scope.send_ephemeral(ReadAndTyping(message_external_id=event.external_id))
