"""Messages, both directions, and the outbox that carries them out."""

from sqlalchemy import Index
from sqlalchemy import text as sql
from sqlmodel import SQLModel

from storage.tables.columns import CLUSTERED, big, identifier, small, text


class Message(SQLModel, table=True):
    """What was said. For outgoing ones `status` moves forward only, by rank; one time per status."""

    __tablename__ = "message"
    __table_args__ = (
        Index("message_conversation", "workspace_id", "conversation_id", "id"),
        Index(  # a person's campaign messages, for their copy and their erasure
            "message_contact",
            "contact_id",
            sqlite_where=sql("conversation_id = 0 AND contact_id <> 0"),
            postgresql_where=sql("conversation_id = 0 AND contact_id <> 0"),
        ),
        Index(
            "message_external",
            "channel_id",
            "external_id",
            sqlite_where=sql("external_id <> ''"),
            postgresql_where=sql("external_id <> ''"),
        ),
    )

    id: int = identifier()
    workspace_id: int = big()
    channel_id: int = big()
    conversation_id: int = big(0)
    contact_id: int = big(0)
    identity_id: int = big(0)
    outlet_id: int = big(0)
    turn_id: int = big(0)
    run_id: int = big(0)
    direction: str = text("out")  # in | out
    message_class: str = text("reply")
    purpose: str = text()
    author: str = text("bot")  # bot | person | campaign | agent:<id> | api:<id>
    content: str = text()  # JSON
    external_id: str = text()
    status: str = text("queued")
    status_rank: int = small()
    reason: str = text()
    code: str = text()
    possibly_twice: int = small()
    consent_id: int = big(0)
    edited_at: int | None = big(nullable=True)
    deleted_at: int | None = big(nullable=True)
    sent_at: int | None = big(nullable=True)
    delivered_at: int | None = big(nullable=True)
    read_at: int | None = big(nullable=True)
    failed_at: int | None = big(nullable=True)
    pricing: str = text()
    created_at: int = big()


class Outbox(SQLModel, table=True):
    """A message that has to leave; its id is the message's. The row goes when the outcome is known.

    `state`: 0 held (a predecessor of its turn has not left), 1 queued, 3 sending.
    `lane`: 0 replies, 1 service, 2 marketing; a bulk item never stands before a reply.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        Index(
            "outbox_due",
            "channel_id",
            "lane",
            "id",
            sqlite_where=sql("state = 1"),
            postgresql_where=sql("state = 1"),
        ),
        Index(
            "outbox_sending", "channel_id", sqlite_where=sql("state = 3"), postgresql_where=sql("state = 3")
        ),
        Index(
            "outbox_turn",
            "turn_id",
            "position",
            sqlite_where=sql("turn_id <> 0"),
            postgresql_where=sql("turn_id <> 0"),
        ),
        Index(
            "outbox_conversation",
            "conversation_id",
            sqlite_where=sql("conversation_id <> 0"),
            postgresql_where=sql("conversation_id <> 0"),
        ),
        Index("outbox_run", "run_id", sqlite_where=sql("run_id <> 0"), postgresql_where=sql("run_id <> 0")),
    )

    id: int = identifier()
    workspace_id: int = big()
    channel_id: int = big()
    conversation_id: int = big(0)
    contact_id: int = big(0)
    identity_id: int = big(0)
    outlet_id: int = big(0)
    turn_id: int = big(0)
    run_id: int = big(0)
    campaign_id: int = big(0)
    position: int = small()
    lane: int = small()
    message_class: str = text("reply")
    purpose: str = text()
    address: str = text()
    topic: str | None = text(None, nullable=True)
    place: str = text("private")
    language: str = text()
    content: str = text()  # JSON
    state: int = small(1)
    attempt: int = small()
    tries: int = small()  # attempts that certainly failed and were to be retried
    waits: int = small()  # attempts that the platform refused because it is busy, or that never reached it
    part: int = small()  # calls of this message that the platform has taken already
    not_before: int = big(0)
    expires_at: int | None = big(nullable=True)
    sending_at: int | None = big(nullable=True)
    created_at: int = big()


class StatusOrphan(SQLModel, table=True):
    """A status whose message we do not know yet; waits 10 minutes for it."""

    __tablename__ = "status_orphan"
    __table_args__ = (Index("status_orphan_age", "received_at"), CLUSTERED)

    workspace_id: int = big()
    channel_id: int = big(primary_key=True)
    external_id: str = text(primary_key=True)
    status: str = text(primary_key=True)
    data: str = text("{}")
    received_at: int = big()
