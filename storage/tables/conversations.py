"""Conversations (threads), sessions (walks through flows), turns and timers."""

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy import text as sql
from sqlmodel import SQLModel

from storage.tables.columns import CLUSTERED, big, identifier, small, text


class Conversation(SQLModel, table=True):
    """A thread with one person in one place. `version` is checked by every write of the worker.

    `conversation_key` is canonical: `i:<identity id>` in private, `<address>:<topic>:<identity id>` in groups;
    `intake_key` and `slot` are those of its latest event, for events of our own.
    """

    __tablename__ = "conversation"
    __table_args__ = (
        UniqueConstraint("channel_id", "conversation_key"),
        UniqueConstraint("workspace_id", "id"),
        Index("conversation_recent", "workspace_id", "last_message_at"),
        Index("conversation_contact", "workspace_id", "contact_id"),
    )

    id: int = identifier()
    workspace_id: int = big()
    channel_id: int = big()
    conversation_key: str = text()
    intake_key: str = text()
    slot: int = small()
    identity_id: int = big()
    contact_id: int = big()
    address: str = text()
    topic: str | None = text(None, nullable=True)
    place: str = text("private")
    status: str = text("bot")  # bot | human | closed
    assignee: str = text()
    session_id: int = big(0)  # the session that waits, 0: none
    question_id: int = big(0)  # the first message of the turn that asked last: taps on older ones are stale
    version: int = big(0)
    last_inbound_at: int | None = big(nullable=True)
    last_message_at: int = big(0)
    created_at: int = big()


class Session(SQLModel, table=True):
    """One contact's walk through a flow, pinned to its version."""

    __tablename__ = "flow_session"
    __table_args__ = (
        Index("flow_session_contact", "workspace_id", "contact_id", "id"),
        Index(
            "flow_session_waiting",
            "flow_version_id",
            sqlite_where=sql("status = 'waiting'"),
            postgresql_where=sql("status = 'waiting'"),
        ),
    )

    id: int = identifier()
    workspace_id: int = big()
    conversation_id: int = big()
    contact_id: int = big()
    flow_id: int = big()
    flow_version_id: int = big()
    state: str = text("{}")  # JSON of flows.state.SessionState
    status: str = text("waiting")  # waiting | ended | failed | replaced | stopped | expired
    problem: str = text()
    version: int = big(0)
    started_at: int = big()
    updated_at: int = big()


class Turn(SQLModel, table=True):
    """One event and what came of it: enough to replay it. `payload` is sealed JSON of
    {event, now, seed, trigger, effects, http}; hashes are of the state before and after."""

    __tablename__ = "turn"
    __table_args__ = (Index("turn_conversation", "workspace_id", "conversation_id", "id"),)

    id: int = identifier()
    workspace_id: int = big()
    conversation_id: int = big()
    session_id: int = big(0)
    event_id: int = big()
    flow_version_id: int = big(0)
    payload: str = text()
    state_before: str = text()
    state_after: str = text()
    at: int = big()


class BusinessSeen(SQLModel, table=True):
    """A business as turns have seen it (JSON of flows.business.BusinessView), once for each that was in force: turns
    name it by its digest, and replay finds the wording of then."""

    __tablename__ = "business_seen"
    __table_args__ = CLUSTERED

    workspace_id: int = big(primary_key=True)
    digest: str = text(primary_key=True)
    view: str = text()
    at: int = big()


class Timer(SQLModel, table=True):
    """Wakes a session. `turn_id` not 0: due counts from the acceptance of that turn's last message."""

    __tablename__ = "timer"
    __table_args__ = (
        Index("timer_session", "session_id"),
        Index("timer_due", "due_at", sqlite_where=sql("state = 0"), postgresql_where=sql("state = 0")),
        Index(
            "timer_turn", "turn_id", sqlite_where=sql("turn_id <> 0"), postgresql_where=sql("turn_id <> 0")
        ),
    )

    id: int = identifier()
    workspace_id: int = big()
    channel_id: int = big()
    intake_key: str = text()
    slot: int = small()
    conversation_id: int = big()
    session_id: int = big()
    step_id: str = text()
    visit: int = big()
    purpose: str = text()  # answer | wait
    due_at: int = big()
    after_sent: int | None = big(nullable=True)  # ms
    turn_id: int = big(0)
    state: int = small()  # 0 set, 1 fired
    flow_version_id: int = big(0)  # the version that set it; 0: one of before, or of no session


class AlbumPart(SQLModel, table=True):
    """A part of an album that waits for its siblings; the last part's event carries them all."""

    __tablename__ = "album_part"
    __table_args__ = (Index("album_part_due", "due_at"), Index("album_part_album", "channel_id", "album"))

    id: int = identifier()
    workspace_id: int = big()
    channel_id: int = big()
    intake_key: str = text()
    slot: int = small()
    album: str = text()
    event: str = text()  # sealed JSON of the MessageReceived
    due_at: int = big()
