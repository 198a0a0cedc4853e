"""From what happened to the flow that it starts: interruption, what was interrupted, and the guards against runaways.

`flows.starting` says which flow is meant; here stands what becomes of the session that waits, and when nothing starts
at all. Two guards stop flows that start one another (a flow tags, the tag starts a flow that tags …): at most MAX_CHAIN
of them since the person last did something, and at most MAX_STARTS a minute for one person. What they stop is told to
the team once an hour; the conversation stays as it is.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from bot import dialogue, occasions, resuming, schedules
from bot.flow_store import FlowStore
from bot.scope import Scope
from domain.events import MessageReceived, Place, SessionCommand, TimerDue
from domain.ids import first_id_at
from domain.messages import Received
from flows import engine, starting, state
from flows.starting import Doors, Match
from flows.state import TIME, Cause
from flows.triggers import WORDS, Occasion
from flows.triggers.campaign_reply import CampaignReplyTrigger
from flows.triggers.no_answer import NoAnswerTrigger
from flows.triggers.schedule import ScheduleTrigger
from storage.database import scalar_int

MAX_CHAIN = (
    5  # flows that start one another since the person last did something: nobody builds more on purpose
)
MAX_STARTS = 10  # of one person's flows in a minute, when no word of theirs starts them: more cannot be read
MINUTE_MS = 60_000


def doors_of(scope: Scope, flows: FlowStore) -> Doors:
    """What starts a flow on this channel."""
    return flows.doors(scope.workspace_id, scope.channel.id, scope.channel.kind.kind)


# --- messages


def converse(
    scope: Scope,
    flows: FlowStore,
    event: MessageReceived,
    *,
    first_message: bool,
    last_inbound_at: int | None,
) -> None:
    """Gives an inbound message to the flow that it starts, else to the session that waits for it; what a session that
    only waits for a time leaves, to the triggers."""
    of_message = partial(
        _of_message, scope, flows, event, first_message=first_message, last_inbound_at=last_inbound_at
    )
    found = of_message(waits=scope.session is not None)
    rests = False
    if found is None and scope.session is not None and not dialogue.advance(scope, flows, event):
        rests = _rests(scope)
        found = of_message(waits=False) if rests else None
    if found is None:
        return
    match, occasion = found
    if not dialogue.too_late(scope, match.flow):
        _begin(scope, flows, match, occasion.data, goes_on=rests)


def _of_message(
    scope: Scope,
    flows: FlowStore,
    event: MessageReceived,
    *,
    waits: bool,
    first_message: bool,
    last_inbound_at: int | None,
) -> tuple[Match, Occasion] | None:
    """The flow that a message starts, with what it was taken for; None: none, or the session that `waits` hears it."""
    doors = doors_of(scope, flows)
    campaign: tuple[str, ...] = ()
    after = 0
    if doors.wants("campaign_reply"):
        spans = [
            trigger.within_ms
            for _, trigger in doors.of_kind("message")
            if isinstance(trigger, CampaignReplyTrigger)
        ]
        campaign, after = occasions.of_campaign(scope, event, last_inbound_at, within_ms=max(spans))
    occasion = starting.heard(event, first_message=first_message, campaign=campaign, answered_after=after)
    match = doors.find(occasion, session_waiting=waits)
    if match is None or (event.origin.place is Place.group and not match.trigger.in_groups):
        return None
    if scope.session is not None and not _interruptible(scope, flows):
        return None
    if match.kind == "keyword" and _is_choice(scope, flows, event.content):
        return None
    if not waits and match.trigger.rank < WORDS and _is_inside(scope, match.flow.key):
        return None  # nobody asked for it by name, and it is under way
    if match.kind == "fallback" and _too_many(scope):  # somebody else's automatic answers, most likely
        _tell_runaway(scope, match.flow.key, "fallback")
        return None
    return match, occasion


# --- what is no message


def happened(scope: Scope, flows: FlowStore, event: SessionCommand) -> None:
    """An occasion has come to its conversation."""
    occasion = msgspec.convert(event.data.get("occasion"), Occasion)
    chain = int(event.data.get("chain", 0))
    if occasion.kind == "schedule":
        match = _scheduled(scope, flows, event.data, occasion)
    else:
        match = doors_of(scope, flows).find(occasion, session_waiting=scope.session is not None)
    _begin_if_allowed(scope, flows, match, occasion, chain)


def commanded(scope: Scope, flows: FlowStore, event: SessionCommand) -> None:
    """`start_flow`: a person of the team or a program starts it, whatever waits; with `interrupts` false only where
    nothing does."""
    conversation, data = scope.conversation, event.data
    flow = flows.published(scope.workspace_id, str(data.get("flow", "")))
    if flow is None or conversation is None:
        scope.log("start_flow", "refused", "there is no such published flow")
        return
    if data.get("interrupts") is False and (scope.session is not None or conversation.status != "bot"):
        scope.log(
            "start_flow", "skipped", f"{flow.key}: a flow waits there, or a person has the conversation"
        )
        return
    by = str(data.get("trigger", "command"))
    if by == "api" and _too_many(scope):
        _tell_runaway(scope, flow.key, by)
        return
    dialogue.end_session(scope, "replaced")
    resuming.drop_all(scope, flows)
    conversation.status, conversation.changed = "bot", True
    dialogue.start(scope, flows, flow, trigger=by, variables=data.get("variables") or {})


def silent(scope: Scope, flows: FlowStore, event: TimerDue) -> None:
    """Nobody answered for the span of a `no_answer` trigger. The trigger is looked for in the flow as it is now: one
    that was changed or taken out since does nothing."""
    flow = flows.published(scope.workspace_id, event.step_id)
    flows.ensure(scope.connection, [event.version])
    before = flows.version(event.version)
    if flow is None or before is None or event.visit >= len(before.document.triggers):
        return
    trigger = before.document.triggers[event.visit]
    if not isinstance(trigger, NoAnswerTrigger) or trigger not in flow.document.triggers:
        return
    written = scope.conversation.last_inbound_at if scope.conversation is not None else None
    if written is not None and written > scope.now - trigger.span_ms:
        return  # they wrote when this was on its way already
    waits = state.decode(scope.session.state).waiting if scope.session is not None else ""
    occasion = Occasion(kind="no_answer", what=trigger.no_answer, value=waits)
    fit = trigger.fits(occasion)
    if fit is None or (waits and not trigger.may_interrupt):
        return
    match = Match(flow, trigger.type, fit.value, trigger, fit.variables)
    chain = 1
    if scope.session is not None:
        cause = state.decode(scope.session.state).cause
        chain += cause.chain if cause is not None else 0
    _begin_if_allowed(scope, flows, match, occasion, chain)


def on_date(scope: Scope, flows: FlowStore, event: TimerDue) -> None:
    """The hour of a schedule's date has come where this person is."""
    day = event.purpose.removeprefix(schedules.PURPOSE)
    occasion = Occasion(kind="schedule", what=day)
    match = _scheduled(scope, flows, schedules.happened(event.step_id, event.visit, day), occasion)
    _begin_if_allowed(scope, flows, match, occasion, 0)


def _scheduled(scope: Scope, flows: FlowStore, data: dict[str, Any], occasion: Occasion) -> Match | None:
    """The schedule's own trigger, if it still is there and still means this contact."""
    flow = flows.published(scope.workspace_id, str(data.get("flow", "")))
    number = int(data.get("number", -1))
    if flow is None or scope.contact is None or not 0 <= number < len(flow.document.triggers):
        return None
    trigger = flow.document.triggers[number]
    if not isinstance(trigger, ScheduleTrigger) or (scope.session is not None and not trigger.may_interrupt):
        return None
    if not trigger.means(scope.contact, scope.now):
        return None
    fit = trigger.fits(occasion)
    return None if fit is None else Match(flow, trigger.type, fit.value, trigger, fit.variables)


def _begin_if_allowed(
    scope: Scope, flows: FlowStore, match: Match | None, occasion: Occasion, chain: int
) -> None:
    conversation = scope.conversation
    if match is None or conversation is None:
        scope.log("trigger", "skipped", f"{occasion.kind} {occasion.what}: nothing starts by it now")
        return
    if conversation.status != "bot":
        scope.log("trigger", "skipped", f"{match.flow.key}: a person has the conversation")
        return
    if scope.session is not None and not _interruptible(scope, flows):
        scope.log("trigger", "skipped", f"{match.flow.key}: the flow that waits is not to be interrupted")
        return
    if chain > MAX_CHAIN or _too_many(scope):
        _tell_runaway(scope, match.flow.key, match.kind)
        return
    purpose = match.trigger.purpose if isinstance(match.trigger, ScheduleTrigger) else ""
    _begin(scope, flows, match, {}, Cause(kind=match.kind, chain=chain, purpose=purpose))


def _begin(
    scope: Scope,
    flows: FlowStore,
    match: Match,
    variables: dict[str, Any],
    cause: Cause | None = None,
    *,
    goes_on: bool = False,
) -> None:
    """Starts the flow; what waited is put aside (`goes_on`, or a trigger with `resume`) or ended."""
    paused = None
    if scope.session is not None:
        paused = _put_aside(scope, match) if match.trigger.resume or goes_on else None
        if scope.session is not None:
            dialogue.end_session(scope, "replaced", also_behind=paused is None)
    if paused is None:
        resuming.drop_all(scope, flows)
    else:
        kept = cause or Cause()
        cause = msgspec.structs.replace(kept, resumes=paused.resumes, due_at=paused.due_at)
    dialogue.start(
        scope,
        flows,
        match.flow,
        trigger=f"{match.kind}:{match.value}"[:200],
        variables={**variables, **match.variables},
        language=match.language,
        cause=cause,
    )


def _put_aside(scope: Scope, match: Match) -> Cause | None:
    """How the new session knows of what goes on after it: the session that waited; where the same flow begins anew that
    one is over, and what it had interrupted itself goes on."""
    assert scope.session is not None  # _begin has looked
    at = state.decode(scope.session.state)
    if _is_inside(scope, match.flow.key):
        return (
            Cause(resumes=at.cause.resumes, due_at=at.cause.due_at) if at.cause and at.cause.resumes else None
        )
    paused = resuming.pause(scope)
    if paused is not None:
        resuming.begun_anew(scope, match.flow.key, paused)
    return paused


def _interruptible(scope: Scope, flows: FlowStore) -> bool:
    """Whether the session that waits may be ended by a trigger."""
    if scope.session is None:
        return True
    inside = [flows.version(version) for _, version in state.decode(scope.session.state).versions()]
    return all(flow is None or flow.document.interruptible for flow in inside)


def _rests(scope: Scope) -> bool:
    """Whether the session waits for nothing but a time: whatever else starts, it goes on when that has come."""
    return scope.session is not None and state.decode(scope.session.state).waiting == TIME


def _is_inside(scope: Scope, flow: str) -> bool:
    """Whether the session that waits is in that flow, or was called from it."""
    at = state.decode(scope.session.state) if scope.session is not None else None
    return at is not None and any(key == flow for key, _ in at.versions())


def _is_choice(scope: Scope, flows: FlowStore, content: Received) -> bool:
    """Whether a keyword is what the question that waits offers itself."""
    if scope.session is None:
        return False
    at = state.decode(scope.session.state)
    flow = flows.version(at.version)
    return flow is not None and engine.is_choice(flow, at, content)


# --- guards


def _too_many(scope: Scope) -> bool:
    conversation = scope.conversation
    if conversation is None:
        return False
    since = scope.now - MINUTE_MS
    started = scalar_int(
        scope.connection,
        "SELECT count(*) FROM flow_session WHERE workspace_id = :workspace AND contact_id = :contact AND id >= :first",
        {"workspace": scope.workspace_id, "contact": conversation.contact_id, "first": first_id_at(since)},
    )
    here = [
        one for one in scope.batch.sessions.values() if one.new and one.contact_id == conversation.contact_id
    ]
    return started + len(here) >= MAX_STARTS


def _tell_runaway(scope: Scope, flow: str, kind: str) -> None:
    """Log and timeline say it each time, the team hears of it once an hour for each flow."""
    scope.log("trigger", "stopped", f"{flow}: flows start one another without end ({kind})")
    scope.note("flow_runaway", flow=flow, trigger=kind)
    scope.tell_team_hourly("runaway", f"{flow} ({kind})")
