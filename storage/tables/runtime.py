"""Leases and jobs: who does what, and everything that takes long."""

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy import text as sql
from sqlmodel import SQLModel

from storage.tables.columns import big, identifier, small, text


class Lease(SQLModel, table=True):
    """Who owns a lane, a channel's outbox, a poller or the scheduler. `fence` rises at every takeover."""

    __tablename__ = "lease"
    # (name, fence) unique: a takeover changes a key column and so waits for those who hold the row FOR KEY SHARE.
    __table_args__ = (UniqueConstraint("name", "fence"),)

    workspace_id: int = big(0)
    name: str = text(primary_key=True)
    fence: int = big(0)
    owner: str = text()
    expires_at: int = big(0)


class Job(SQLModel, table=True):
    """Something long: durable, resumable, at least once, progress visible. `state`: 0 open, 1 failed, 2 done (kept for
    30 days)."""

    __tablename__ = "job"
    __table_args__ = (
        UniqueConstraint("workspace_id", "kind", "key"),
        Index("job_due", "due_at", sqlite_where=sql("state = 0"), postgresql_where=sql("state = 0")),
        Index("job_failed", "id", sqlite_where=sql("state = 1"), postgresql_where=sql("state = 1")),
        Index("job_done", "updated_at", sqlite_where=sql("state = 2"), postgresql_where=sql("state = 2")),
    )

    id: int = identifier()
    workspace_id: int = big()
    kind: str = text()
    key: str = text()
    payload: str = text()  # sealed JSON
    cursor: str = text()
    progress: str = text("{}")
    state: int = small()
    attempts: int = small()
    owner: str = text()
    lease_until: int = big(0)
    due_at: int = big()
    problem: str = text()
    created_at: int = big()
    updated_at: int = big()
