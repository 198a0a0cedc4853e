"""Campaigns, their runs and recipients; posts on outlets."""

from sqlalchemy import Index, UniqueConstraint, text as sql
from sqlmodel import SQLModel

from storage.tables.columns import big, identifier, small, text, within_workspace


class Campaign(SQLModel, table=True):
    """What is said to whom, over which channel."""

    __tablename__ = "campaign"
    __table_args__ = (UniqueConstraint("workspace_id", "id"), within_workspace("channel_id", "channel"))

    id: int = identifier()
    workspace_id: int = big()
    channel_id: int = big()
    name: str = text()
    state: str = text("draft")  # draft | scheduled | running | paused | finished | cancelled
    state_reason: str = text()
    purpose: str = text("marketing")
    audience: str = text('{"all": []}')  # JSON predicate
    content: str = text("{}")  # JSON: {language: Content}
    default_language: str = text("it")
    scheduled_at: int | None = big(nullable=True)
    rate: int | None = big(nullable=True)  # messages per second at most; None: the channel's pace
    run_id: int = big(0)
    version: int = big(0)
    created_at: int = big()
    updated_at: int = big()


class Run(SQLModel, table=True):
    """One occurrence of a campaign. Totals are folded from deltas by the scheduler, never counted over recipients."""

    __tablename__ = "campaign_run"
    __table_args__ = (
        UniqueConstraint("workspace_id", "id"),
        within_workspace("campaign_id", "campaign"),
        Index("campaign_run_live", "state"),
    )

    id: int = identifier()
    workspace_id: int = big()
    campaign_id: int = big()
    channel_id: int = big()
    state: str = text("materialising")  # materialising | running | paused | finished | cancelled
    state_reason: str = text()
    cursor: int = big(0)  # last contact id looked at while materialising
    ceiling: int = big(0)  # contacts made later are not part of the run
    next_contact_id: int = big(0)  # recipients up to here have outbox rows or outcomes
    totals: str = text("{}")  # JSON {outcome or second-axis name: n}
    folded_to: int = big(0)
    started_at: int = big()
    finished_at: int | None = big(nullable=True)


class Recipient(SQLModel, table=True):
    """One person of one run: the row that makes "at most once" true.

    `state`: 0 pending, 1 queued, 2 sent, 3 failed, 4 skipped, 5 unknown.
    """

    __tablename__ = "recipient"
    __table_args__ = (
        Index("recipient_pending", "run_id", "contact_id", sqlite_where=sql("state = 0"), postgresql_where=sql("state = 0")),
        Index("recipient_state", "run_id", "state", "contact_id"),
    )

    workspace_id: int = big()
    run_id: int = big(primary_key=True)
    contact_id: int = big(primary_key=True)
    identity_id: int = big()
    state: int = small()
    reason: str = text()
    message_id: int = big(0)
    changed_at: int = big(0)


class RunDelta(SQLModel, table=True):
    """Append-only change of a run's totals; the scheduler folds them."""

    __tablename__ = "run_delta"
    __table_args__ = (Index("run_delta_run", "run_id", "id"),)

    id: int = identifier()
    workspace_id: int = big()
    run_id: int = big()
    name: str = text()
    amount: int = big()


class Post(SQLModel, table=True):
    """A publication on an outlet, now or at a time."""

    __tablename__ = "post"
    __table_args__ = (
        UniqueConstraint("workspace_id", "id"),
        within_workspace("outlet_id", "outlet"),
        Index("post_due", "due_at", sqlite_where=sql("state = 'scheduled'"), postgresql_where=sql("state = 'scheduled'")),
    )

    id: int = identifier()
    workspace_id: int = big()
    outlet_id: int = big()
    channel_id: int = big()
    content: str = text("{}")
    silent: int = small()
    state: str = text("scheduled")  # scheduled | queued | sent | failed | unknown | cancelled
    reason: str = text()
    due_at: int = big()
    message_id: int = big(0)
    external_id: str = text()
    created_at: int = big()
