"""What a worker's transaction will write: rows gathered while events are handled, flushed in a few bulk statements.

Handlers and effects only append here; nothing touches the database until `flush`. A `Mark` taken before an event lets
the worker take back everything that a failing event had gathered, so that one bad event is only its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, NamedTuple, Protocol, TypeVar

from sqlalchemy import Connection, text

from bot import claiming, outbox, step_counts, turns
from bot.outbox import Outgoing
from bot.turns import SeenBusiness
from crm import consent, contacts, identities, outcomes
from domain.messages import Ephemeral
from flows.state import EXPIRE
from storage import leases
from storage.bulk_writes import BulkInsert, BulkUpdate
from storage.sealing import Sealer
from storage.statements import begun, bulk, gathered, send


@dataclass
class ConversationRow:
    """A conversation in the worker's hands; `new` rows are inserted, others updated where `version` still holds."""

    id: int
    workspace_id: int
    channel_id: int
    conversation_key: str
    intake_key: str
    slot: int
    identity_id: int
    contact_id: int
    address: str
    topic: str | None
    place: str
    status: str
    assignee: str
    session_id: int
    question_id: int
    version: int
    last_inbound_at: int | None
    last_message_at: int
    created_at: int
    new: bool = False
    changed: bool = False


@dataclass
class SessionRow:
    """A session in the worker's hands; `state` is the engine's JSON."""

    id: int
    workspace_id: int
    conversation_id: int
    contact_id: int
    flow_id: int
    flow_version_id: int
    state: str
    status: str
    problem: str
    version: int
    started_at: int
    updated_at: int
    new: bool = False
    changed: bool = False


def _stored(row: type[ConversationRow] | type[SessionRow]) -> tuple[str, ...]:
    return tuple(one.name for one in fields(row) if one.default is MISSING)


# In the order in which the rows are made of them.
CONVERSATION_COLUMNS = _stored(ConversationRow)
SESSION_COLUMNS = _stored(SessionRow)

Row = TypeVar("Row", ConversationRow, SessionRow)


def joined(row: type[Row], values: Sequence[Any]) -> Row | None:
    """The row of such columns; None where a left join has found none."""
    return None if values[0] is None else row(*values)


class HandedEphemeral(NamedTuple):
    """An ephemeral for the sender, after the commit."""

    channel_id: int
    ephemeral: Ephemeral
    address: str
    topic: str | None


_LISTS = (
    "received",
    "outgoing",
    "turns",
    "patches",
    "consents",
    "timers",
    "cancelled",
    "over",
    "timeline",
    "conversions",
    "feedback",
    "referrals",
    "subscriptions",
    "notifications",
    "walked",
    "businesses",
    "ephemerals",
    "log",
    "album_parts",
    "wakes",
    "after",
)


@dataclass
class Batch:
    """The rows of one transaction."""

    conversations: dict[int, ConversationRow] = field(default_factory=dict)
    sessions: dict[int, SessionRow] = field(default_factory=dict)
    received: list[dict[str, Any]] = field(default_factory=list)  # inbound messages
    outgoing: list[Outgoing] = field(default_factory=list)
    turns: list[dict[str, Any]] = field(default_factory=list)
    patches: list[contacts.ContactPatch] = field(default_factory=list)
    consents: list[consent.NewConsent | consent.OptOut] = field(
        default_factory=list
    )  # in the order of the acts
    timers: list[dict[str, Any]] = field(default_factory=list)
    cancelled: list[tuple[int, int]] = field(default_factory=list)  # see `cancel_timers`
    over: list[int] = field(default_factory=list)  # sessions that have ended
    timeline: list[contacts.TimelineLine] = field(default_factory=list)
    conversions: list[dict[str, Any]] = field(default_factory=list)
    feedback: list[dict[str, Any]] = field(default_factory=list)
    referrals: list[dict[str, Any]] = field(default_factory=list)
    subscriptions: list[dict[str, Any]] = field(default_factory=list)
    notifications: list[dict[str, Any]] = field(default_factory=list)
    walked: list[step_counts.Walked] = field(default_factory=list)
    businesses: list[SeenBusiness] = field(default_factory=list)
    ephemerals: list[HandedEphemeral] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    album_parts: list[dict[str, Any]] = field(default_factory=list)
    wakes: list[str] = field(default_factory=list)  # topics that are notified after the commit
    after: list[Callable[[Connection], None]] = field(
        default_factory=list
    )  # rare writes, in order, after the rows

    def __post_init__(self) -> None:
        self.lists: tuple[list[Any], ...] = tuple(getattr(self, name) for name in _LISTS)

    def cancel_timers(self, session_id: int, *, over: bool = False) -> None:
        """The session's timers are stale: those of before, and those that this batch has gathered so far. The one that
        ends an idle session stays until the session is `over`."""
        self.cancelled.append((session_id, len(self.timers)))
        if over:
            self.over.append(session_id)


@dataclass
class Mark:
    """How far the batch had come. `sessions`: how many it held; those of this event come after them."""

    lengths: list[int]
    conversation: ConversationRow | None
    session: SessionRow | None
    sessions: int


def mark(batch: Batch, conversation: ConversationRow | None, session: SessionRow | None) -> Mark:
    """Remembers where the batch, this conversation and its session stand."""
    return Mark(
        [len(rows) for rows in batch.lists],
        None if conversation is None else _copied(conversation),
        None if session is None else _copied(session),
        len(batch.sessions),
    )


def _copied(row: Row) -> Row:
    """As `copy.copy`, in a third of its time: there are two of it for every event."""
    made = object.__new__(type(row))
    made.__dict__.update(row.__dict__)
    return made


def take_back(batch: Batch, to: Mark) -> None:
    """Forgets what was gathered since the mark; what earlier events of the round did to other sessions stays."""
    for rows, length in zip(batch.lists, to.lengths, strict=True):
        del rows[length:]
    for session_id in list(batch.sessions)[to.sessions :]:
        del batch.sessions[session_id]
    if to.conversation is not None:
        batch.conversations[to.conversation.id] = to.conversation
    if to.session is not None:
        batch.sessions[to.session.id] = to.session


_CONVERSATION = {
    "id": "BIGINT",
    "workspace_id": "BIGINT",
    "channel_id": "BIGINT",
    "conversation_key": "TEXT",
    "intake_key": "TEXT",
    "slot": "SMALLINT",
    "identity_id": "BIGINT",
    "contact_id": "BIGINT",
    "address": "TEXT",
    "topic": "TEXT",
    "place": "TEXT",
    "status": "TEXT",
    "assignee": "TEXT",
    "session_id": "BIGINT",
    "question_id": "BIGINT",
    "version": "BIGINT",
    "last_inbound_at": "BIGINT",
    "last_message_at": "BIGINT",
    "created_at": "BIGINT",
}
_CONVERSATION_CHANGES = (
    "intake_key",
    "slot",
    "address",
    "topic",
    "status",
    "assignee",
    "session_id",
    "question_id",
    "last_inbound_at",
    "last_message_at",
)
_SESSION = {
    "id": "BIGINT",
    "workspace_id": "BIGINT",
    "conversation_id": "BIGINT",
    "contact_id": "BIGINT",
    "flow_id": "BIGINT",
    "flow_version_id": "BIGINT",
    "state": "TEXT",
    "status": "TEXT",
    "problem": "TEXT",
    "version": "BIGINT",
    "started_at": "BIGINT",
    "updated_at": "BIGINT",
}
_SESSION_CHANGES = ("flow_id", "flow_version_id", "state", "status", "problem", "updated_at")
_RECEIVED = {
    "id": "BIGINT",
    "workspace_id": "BIGINT",
    "channel_id": "BIGINT",
    "conversation_id": "BIGINT",
    "contact_id": "BIGINT",
    "identity_id": "BIGINT",
    "turn_id": "BIGINT",
    "author": "TEXT",
    "direction": "TEXT",
    "message_class": "TEXT",
    "content": "TEXT",
    "external_id": "TEXT",
    "status": "TEXT",
    "created_at": "BIGINT",
}
_TURN = {
    "id": "BIGINT",
    "workspace_id": "BIGINT",
    "conversation_id": "BIGINT",
    "session_id": "BIGINT",
    "event_id": "BIGINT",
    "flow_version_id": "BIGINT",
    "payload": "TEXT",
    "state_before": "TEXT",
    "state_after": "TEXT",
    "at": "BIGINT",
}
_TIMER = {
    "id": "BIGINT",
    "workspace_id": "BIGINT",
    "channel_id": "BIGINT",
    "intake_key": "TEXT",
    "slot": "SMALLINT",
    "conversation_id": "BIGINT",
    "session_id": "BIGINT",
    "step_id": "TEXT",
    "visit": "BIGINT",
    "purpose": "TEXT",
    "due_at": "BIGINT",
    "after_sent": "BIGINT",
    "turn_id": "BIGINT",
    "state": "SMALLINT",
    "flow_version_id": "BIGINT",
}
_ALBUM_PART = {
    "id": "BIGINT",
    "workspace_id": "BIGINT",
    "channel_id": "BIGINT",
    "intake_key": "TEXT",
    "slot": "SMALLINT",
    "album": "TEXT",
    "event": "TEXT",
    "due_at": "BIGINT",
}
_LOG = {
    "id": "BIGINT",
    "workspace_id": "BIGINT",
    "channel_id": "BIGINT",
    "what": "TEXT",
    "outcome": "TEXT",
    "detail": "TEXT",
    "at": "BIGINT",
}


def _update(table: str, columns: dict[str, str], changes: tuple[str, ...]) -> BulkUpdate:
    return BulkUpdate(
        table,
        {name: columns[name] for name in ("id", "version", *changes)},
        sets=", ".join([*(f"{name} = v.{name}" for name in changes), f"version = {table}.version + 1"]),
        where=f"{table}.id = v.id AND {table}.version = v.version",
    )


_insert_conversations = BulkInsert("conversation", _CONVERSATION)
_update_conversations = _update("conversation", _CONVERSATION, _CONVERSATION_CHANGES)
_insert_sessions = BulkInsert("flow_session", _SESSION)
_update_sessions = _update("flow_session", _SESSION, _SESSION_CHANGES)
_RECEIVED_CONSTANTS = {
    "outlet_id": "0",
    "run_id": "0",
    "purpose": "''",
    "status_rank": "0",
    "reason": "''",
    "code": "''",
    "possibly_twice": "0",
    "consent_id": "0",
    "pricing": "''",
}
_insert_received = BulkInsert("message", _RECEIVED, constants=_RECEIVED_CONSTANTS)
_insert_turns = BulkInsert("turn", _TURN)
insert_timers = BulkInsert("timer", _TIMER)
_insert_album_parts = BulkInsert("album_part", _ALBUM_PART)
_insert_log = BulkInsert("channel_log", _LOG)
_CANCEL_TIMERS = text(
    "DELETE FROM timer WHERE state = 0 AND purpose <> 'expire' AND session_id IN "
    "(SELECT CAST(e.value ->> 'id' AS BIGINT) FROM json_each(:rows) e)"
)
_FORGET_EXPIRY = text(
    "DELETE FROM timer WHERE state = 0 AND session_id IN "
    "(SELECT CAST(e.value ->> 'id' AS BIGINT) FROM json_each(:rows) e)"
)


class VersionConflict(Exception):
    """A conversation or session was changed by somebody else since it was read, or a lane has another owner by now:
    the whole batch goes back to open."""


class Ahead(Protocol):
    """What was read before the transaction (`bot.ahead`)."""

    fences: Mapping[str, int]
    seen_again: list[dict[str, Any]]
    quiet: set[int]
    contacts: dict[int, Sequence[Any]]

    def write_new(self, connection: Connection) -> None:
        """Writes people whom nobody knew, if that was not done."""

    def gather_new(self, gathering: Connection) -> None:
        """The same within what is gathered."""


def flush(
    connection: Connection,
    batch: Batch,
    *,
    sealer: Sealer,
    new_id: Callable[[], int],
    now: int,
    handled: Sequence[int] = (),
    ahead: Ahead | None = None,
    last: bool = False,
) -> list[outbox.Item]:
    """Writes everything and closes the events `handled`; gives the queued heads for a sender in this process. Raises
    VersionConflict. What every step writes goes together; what is rare, or gives something back, before it. `ahead`:
    what the round relies on and is made certain here. `last`: the caller writes nothing more in this transaction."""
    line = _stand_behind(connection, batch, ahead.quiet if ahead else frozenset())
    gathering = gathered(connection)
    if ahead is not None:
        leases.require_held(gathering, ahead.fences)
        identities.see_again(gathering, ahead.seen_again)
    _write_sessions(gathering, batch)
    _insert_received(gathering, batch.received)
    _insert_turns(gathering, batch.turns)
    _write_timers(gathering, batch, line)
    if batch.businesses:
        turns.keep(connection, batch.businesses, now=now)
    patches = [*batch.patches, *outcomes.write_referrals(connection, batch.referrals)]
    if patches:
        if ahead is not None:
            ahead.write_new(connection)  # a tag is given to who is there
        # Within a transaction they may have been changed by this very round.
        known = contacts.NOBODY if ahead is None or begun(connection) else ahead.contacts
        contacts.apply_patches(connection, patches, now=now, gathering=gathering, known=known)
    if batch.consents:
        consent.write(
            connection,
            batch.consents,
            keyed_hash=sealer.keyed_hash,
            new_id=new_id,
            now=now,
            gathering=gathering,
        )
    if batch.timeline:
        contacts.append_timeline(gathering, batch.timeline, new_id=new_id)
    outcomes.write_conversions(connection, batch.conversions)
    outcomes.write_feedback(connection, batch.feedback)
    outcomes.write_subscriptions(connection, batch.subscriptions)
    outcomes.write_notifications(connection, batch.notifications)
    step_counts.append(gathering, batch.walked, new_id=new_id, now=now)
    _insert_album_parts(connection, batch.album_parts)
    _insert_log(connection, batch.log)
    heads = outbox.enqueue(gathering, batch.outgoing, now=now)
    claiming.close(gathering, handled)
    last = last and not batch.after
    if ahead is not None and last and not begun(connection):
        ahead.gather_new(gathering)
    if not send(gathering, last=last):
        raise VersionConflict
    for write in batch.after:
        write(connection)
    return heads


def _write_sessions(gathering: Connection, batch: Batch) -> None:
    conversations = list(batch.conversations.values())
    sessions = list(batch.sessions.values())
    _insert_conversations(gathering, [vars(c) for c in conversations if c.new])
    _insert_sessions(gathering, [vars(s) for s in sessions if s.new])
    changed = [vars(c) for c in conversations if c.changed and not c.new]
    walked = [vars(s) for s in sessions if s.changed and not s.new]
    if not (_update_conversations.expect(gathering, changed) and _update_sessions.expect(gathering, walked)):
        raise VersionConflict


def _write_timers(gathering: Connection, batch: Batch, line: dict[int, int]) -> None:
    over = set(batch.over)
    stale = dict(batch.cancelled)  # of a session's cancellings the last one counts
    left = stale.keys() - over
    if left:
        gathering.execute(_CANCEL_TIMERS, {"rows": bulk({"id": i} for i in sorted(left))})
    if over:
        gathering.execute(_FORGET_EXPIRY, {"rows": bulk({"id": i} for i in sorted(over))})
    insert_timers(
        gathering,
        [
            {**timer, "turn_id": line.get(timer["turn_id"], timer["turn_id"])}
            for n, timer in enumerate(batch.timers)
            if n >= stale.get(timer["session_id"], 0)
            or (timer["purpose"] == EXPIRE and timer["session_id"] not in over)
        ],
    )


def _stand_behind(connection: Connection, batch: Batch, quiet: Set[int]) -> dict[int, int]:
    """Lets new turns wait for messages that still have to leave in their conversation; gives turn → the turn it stands
    behind, where its own answer timeouts are counted from as well. In those that are new or `quiet` nothing has to."""
    talking = {item.conversation_id for item in batch.outgoing if item.turn_id and item.conversation_id}
    if not talking:
        return {}
    new = {one.id for one in batch.conversations.values() if one.new}
    asked = talking - new - quiet
    ahead = outbox.lines(connection, asked) if asked else {}
    line: dict[int, int] = {}
    for item in batch.outgoing:
        if not item.turn_id or not item.conversation_id:
            continue
        first = ahead.setdefault(item.conversation_id, item.turn_id)
        if first != item.turn_id:
            item.behind = line[item.turn_id] = first
    return line
