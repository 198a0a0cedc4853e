"""Campaigns, their runs and recipients; posts on outlets."""

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy import text as sql
from sqlmodel import SQLModel

from storage.tables.columns import CLUSTERED, big, identifier, small, text, within_workspace


class Campaign(SQLModel, table=True):
    """What is said to whom, over which channel."""

    __tablename__ = "campaign"
    __table_args__ = (
        UniqueConstraint("workspace_id", "id"),
        within_workspace("channel_id", "channel"),
        Index(
            "campaign_due",
            "scheduled_at",
            sqlite_where=sql("state = 'scheduled'"),
            postgresql_where=sql("state = 'scheduled'"),
        ),
    )

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
    state: str = text("running")  # running | paused | finished | cancelled
    state_reason: str = text()
    materialised: int = small()  # 1: every contact up to `ceiling` was looked at
    cursor: int = big(0)  # last contact id looked at while materialising
    ceiling: int = big(0)  # contacts made later are not part of the run
    totals: str = text("{}")  # JSON {name: n}: total, an outcome, delivered, read, `<outcome>:<reason>`
    baseline: str = text("{}")  # totals at the last start or resume: the brake judges what came after
    samples: str = text("[]")  # JSON [[ms, people done], …] of the last minute: the speed
    next_slot_at: int = big(0)  # with a rate: when the next message may leave, ms UTC
    started_at: int = big()
    finished_at: int | None = big(nullable=True)


class Recipient(SQLModel, table=True):
    """One person of one run: the row that makes "at most once" true.

    `state`: 0 pending, 1 queued (an outbox row carries it), 2 sent, 3 failed, 4 skipped, 5 unknown.
    `receipt`, the second axis: 0 none, 1 delivered, 2 read. `message_id` is 0 while nothing was queued.
    A person's rows are found by (each run of the workspace, contact): no further index on a million rows.
    """

    __tablename__ = "recipient"
    __table_args__ = (
        Index(
            "recipient_pending",
            "run_id",
            "not_before",
            "contact_id",
            sqlite_where=sql("state = 0"),
            postgresql_where=sql("state = 0"),
        ),
        Index(
            "recipient_trouble",
            "run_id",
            "state",
            "contact_id",
            sqlite_where=sql("state > 2"),
            postgresql_where=sql("state > 2"),
        ),
        CLUSTERED,  # a million rows are written in a third less time
    )

    workspace_id: int = big()
    run_id: int = big(primary_key=True)
    contact_id: int = big(primary_key=True)
    identity_id: int = big()
    state: int = small()
    receipt: int = small()
    reason: str = text()
    message_id: int = big(0)
    not_before: int = big(0)  # `may_send` said "later": pending until then
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
        Index(
            "post_due",
            "due_at",
            sqlite_where=sql("state = 'scheduled'"),
            postgresql_where=sql("state = 'scheduled'"),
        ),
        Index(
            "post_message",
            "message_id",
            sqlite_where=sql("message_id <> 0"),
            postgresql_where=sql("message_id <> 0"),
        ),
    )

    id: int = identifier()
    workspace_id: int = big()
    outlet_id: int = big()
    channel_id: int = big()
    content: str = text("{}")
    state: str = text("scheduled")  # scheduled | queued | sent | failed | unknown | cancelled
    reason: str = text()
    due_at: int = big()
    message_id: int = big(0)
    external_id: str = text()
    created_at: int = big()
