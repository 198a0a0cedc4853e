"""Sessions that were interrupted and may go on: put aside by a trigger with `resume: true`, offered again afterwards.

A session that is put aside keeps its state and has the status `paused`; the one that interrupted it knows its id. When
that one ends well, a session that waited for the person is offered with two buttons; one that waited for a time goes on
by itself, also when that one expired because nobody answered it. Whatever else starts in the conversation in the
meantime ends it for good; a flow that begins anew ends its own earlier session, and what is behind that one goes on
after the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from sqlalchemy import text

from bot import effects, intake
from bot.batch import SessionRow
from bot.flow_store import FlowStore
from bot.scope import Scope
from bot.texts import builtin
from domain.effects import SetTimer
from domain.events import SessionCommand
from domain.messages import Button, Text
from flows import state
from flows.state import ANSWER, TIME, Cause, SessionState

RESUME = "resume"
PAUSED = "paused"
MAX_PAUSED = 3  # sessions that wait behind one another: nobody remembers more
_WORDS = "builtin:resume:"
_COLUMNS = (
    "id, workspace_id, conversation_id, contact_id, flow_id, flow_version_id, state, status, problem, version, "
    "started_at, updated_at"
)


def pause(scope: Scope) -> Cause | None:
    """Puts the waiting session aside and gives how the next one knows of it; None when it cannot wait: it is ended."""
    session, conversation = scope.session, scope.conversation
    if session is None or conversation is None:
        return None
    at = state.decode(session.state)
    if at.waiting not in (ANSWER, TIME) or _behind(scope, at) >= MAX_PAUSED:
        return None
    due_at = _due_at(scope, session.id) if at.waiting == TIME else 0
    session.status, session.updated_at, session.changed = PAUSED, scope.now, True
    conversation.session_id, conversation.changed = 0, True
    scope.batch.cancel_timers(session.id)  # but the one that ends a session in which nothing happens
    scope.session = None
    return Cause(resumes=session.id, due_at=due_at)


def _behind(scope: Scope, at: SessionState) -> int:
    return sum(1 for _ in islice(_interrupted(scope, at.cause), MAX_PAUSED))


def _interrupted(scope: Scope, cause: Cause | None) -> Iterator[tuple[SessionRow, Cause]]:
    """What was interrupted one behind the other, the latest first, each with the cause that knows of it; some of these
    sessions are over by now."""
    while cause is not None and cause.resumes and (row := _row(scope, cause.resumes)) is not None:
        yield row, cause
        cause = state.decode(row.state).cause


def _due_at(scope: Scope, session_id: int) -> int:
    set_here = [
        timer["due_at"]
        for timer in scope.batch.timers
        if timer["session_id"] == session_id and timer["purpose"] == TIME
    ]
    if set_here:
        return int(max(set_here))
    row = scope.connection.execute(
        text(
            "SELECT min(due_at) FROM timer WHERE session_id = :session AND purpose = :purpose AND state = 0"
        ),
        {"session": session_id, "purpose": TIME},
    ).scalar()
    return int(row or scope.now)


def after(scope: Scope, ended: SessionState, outcome: str) -> None:
    """A session has ended: what it had interrupted goes on, is offered, or (when this one ended badly) is over."""
    cause, conversation = ended.cause, scope.conversation
    if cause is None or not cause.resumes or conversation is None:
        return
    if outcome in ("failed", "handed_over", "stopped") or conversation.status != "bot":
        drop(scope, cause.resumes)
        return
    for session, known in _interrupted(scope, cause):
        if session.status != PAUSED:
            continue
        at = state.decode(session.state)
        if at.waiting == TIME:
            _back(scope, session)
            wait = SetTimer(at.step, at.visit, TIME, due_at=max(known.due_at, scope.now))
            effects.apply(scope, [wait])
            return
        if outcome != "expired":
            _offer(scope, session)
            return
        _is_over(scope, session)


def _offer(scope: Scope, paused: SessionRow) -> None:
    language = scope.language
    buttons = tuple(
        Button(f"{_WORDS}{answer}:{paused.id}", builtin(f"resume_{answer}", language))
        for answer in ("yes", "no")
    )
    own = scope.business.text("resume_ask", language, builtin("resume_ask", language))
    scope.send(Text(own, buttons=buttons))


def answered(scope: Scope, option_id: str) -> bool:
    """Takes a tap on the offer; false when it is none. The session goes on by an event of its own, so that the turn
    can be played again like any other."""
    if not option_id.startswith(_WORDS):
        return False
    answer, _, number = option_id.removeprefix(_WORDS).partition(":")
    session_id = int(number) if number.isascii() and number.isdecimal() and len(number) < 20 else 0
    paused = _load(scope, session_id)
    conversation = scope.conversation
    if paused is None or conversation is None or scope.session is not None:
        return True  # offered long ago
    if answer != "yes":
        drop(scope, session_id)
        dropped = builtin("resume_dropped", scope.language)
        scope.send(Text(scope.business.text("resume_dropped", scope.language, dropped)))
        return True
    _back(scope, paused)
    runtime, now = scope.runtime, scope.now
    event = SessionCommand(
        key=f"resume:{session_id}:{scope.event_id}",
        occurred_at=now,
        conversation_id=conversation.id,
        what=RESUME,
    )
    own = [(scope.workspace_id, scope.channel.id, scope.slot, scope.intake_key, event)]
    scope.batch.after.append(
        lambda connection: intake.append_own(
            connection, own, sealer=runtime.sealer, new_id=runtime.new_id, now=now
        )
    )
    scope.batch.wakes.append("intake")
    return True


def drop(scope: Scope, session_id: int) -> None:
    """A session that was put aside is over, with those behind it."""
    for session, _ in _interrupted(scope, Cause(resumes=session_id)):
        if session.status == PAUSED:
            _is_over(scope, session)


def begun_anew(scope: Scope, flow: str, cause: Cause) -> None:
    """A flow starts: of what goes on after it by this cause its own earlier session is over, or people would go
    through it twice."""
    for session, _ in _interrupted(scope, cause):
        inside = state.decode(session.state).versions()
        if session.status == PAUSED and any(key == flow for key, _ in inside):
            _is_over(scope, session)


def _is_over(scope: Scope, paused: SessionRow) -> None:
    paused.status, paused.updated_at, paused.changed = "replaced", scope.now, True
    scope.batch.cancel_timers(paused.id, over=True)


def expire(scope: Scope, session_id: int) -> None:
    """A session that was put aside and never taken up again is over."""
    if (paused := _load(scope, session_id)) is not None:
        paused.status, paused.updated_at, paused.changed = "expired", scope.now, True


def drop_all(scope: Scope, flows: FlowStore) -> None:
    """Something else starts: whatever still waited to be resumed here is over. Asked only where a published flow can
    put sessions aside."""
    conversation = scope.conversation
    if conversation is None or not flows.resumes(scope.workspace_id):
        return
    rows = scope.connection.execute(
        text(
            "SELECT id FROM flow_session WHERE workspace_id = :workspace AND contact_id = :contact "
            "AND conversation_id = :conversation AND status = :paused"
        ),
        {
            "workspace": scope.workspace_id,
            "contact": conversation.contact_id,
            "conversation": conversation.id,
            "paused": PAUSED,
        },
    ).all()
    here = [one.id for one in scope.batch.sessions.values() if one.conversation_id == conversation.id]
    for session_id in {*here, *(row.id for row in rows)}:
        drop(scope, session_id)


def _load(scope: Scope, session_id: int) -> SessionRow | None:
    """The session if it is put aside in this conversation."""
    known = _row(scope, session_id)
    return known if known is not None and known.status == PAUSED else None


def _row(scope: Scope, session_id: int) -> SessionRow | None:
    """The session if it is one of this conversation."""
    conversation = scope.conversation
    known = scope.batch.sessions.get(session_id)
    if known is None and session_id:
        row = scope.connection.execute(
            text(f"SELECT {_COLUMNS} FROM flow_session WHERE workspace_id = :workspace AND id = :id"),
            {"workspace": scope.workspace_id, "id": session_id},
        ).one_or_none()
        if row is not None:
            known = scope.batch.sessions[session_id] = SessionRow(*row)
    if known is None or conversation is None or known.conversation_id != conversation.id:
        return None
    return known


def _back(scope: Scope, paused: SessionRow) -> None:
    conversation = scope.conversation
    assert conversation is not None  # _load has looked
    paused.status, paused.updated_at, paused.changed = "waiting", scope.now, True
    conversation.session_id, conversation.changed = paused.id, True
    scope.session = paused
