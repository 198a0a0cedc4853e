"""Flows, their drafts and immutable versions, when they start by themselves, and how people get through them."""

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import SQLModel

from storage.tables.columns import CLUSTERED, big, identifier, small, text, within_workspace


class Flow(SQLModel, table=True):
    """A flow by its key. `current_version_id` 0: nothing published yet."""

    __tablename__ = "flow"
    __table_args__ = (UniqueConstraint("workspace_id", "id"), UniqueConstraint("workspace_id", "key"))

    id: int = identifier()
    workspace_id: int = big()
    key: str = text()
    title: str = text()
    state: str = text("active")  # active | archived
    current_version_id: int = big(0)
    created_at: int = big()


class FlowVersion(SQLModel, table=True):
    """A published document; sessions are pinned to one."""

    __tablename__ = "flow_version"
    __table_args__ = (
        UniqueConstraint("workspace_id", "id"),
        UniqueConstraint("flow_id", "number"),
        within_workspace("flow_id", "flow"),
    )

    id: int = identifier()
    workspace_id: int = big()
    flow_id: int = big()
    number: int = big()
    document: str = text()  # the YAML text as it was written
    sha256: str = text()
    note: str = text()
    by: str = text()
    published_at: int = big()


class FlowChannel(SQLModel, table=True):
    """A flow that answers only on this channel; a flow without rows answers on all."""

    __tablename__ = "flow_channel"
    __table_args__ = CLUSTERED

    workspace_id: int = big()
    flow_id: int = big(primary_key=True)
    channel_id: int = big(primary_key=True)


class FlowDraft(SQLModel, table=True):
    """What is being written and not published yet; `revision` goes up with every save."""

    __tablename__ = "flow_draft"

    flow_id: int = identifier()
    workspace_id: int = big()
    document: str = text()
    note: str = text()
    by: str = text()
    updated_at: int = big()
    revision: int = big(1)


class FlowTest(SQLModel, table=True):
    """A test of a flow (the text of a `*.test.yaml`): publishing may require that all of them pass."""

    __tablename__ = "flow_test"
    __table_args__ = CLUSTERED

    workspace_id: int = big()
    flow_id: int = big(primary_key=True)
    name: str = text(primary_key=True)
    document: str = text()
    by: str = text()
    updated_at: int = big()


class FlowSchedule(SQLModel, table=True):
    """When a flow's schedule trigger is due next; `number` is its place among the flow's triggers, `cursor` how far
    the present occurrence has come."""

    __tablename__ = "flow_schedule"
    __table_args__ = (UniqueConstraint("flow_id", "number"), Index("flow_schedule_due", "due_at"))

    id: int = identifier()
    workspace_id: int = big()
    flow_id: int = big()
    number: int = small()
    rule: str = text()
    due_at: int = big()
    cursor: str = text()


class StepCount(SQLModel, table=True):
    """How often something happened at a step on a day (days since 1970 UTC). `what`: entered, answered, invalid,
    timeout, skipped …; `bucket`: how long an answer took, the power of two of its seconds."""

    __tablename__ = "step_count"
    __table_args__ = CLUSTERED

    workspace_id: int = big()
    flow_version_id: int = big(primary_key=True)
    step_id: str = text(primary_key=True)
    day: int = big(primary_key=True)
    what: str = text(primary_key=True)
    bucket: int = big(primary_key=True)
    n: int = big(0)


class StepCountDelta(SQLModel, table=True):
    """What has been counted and not been added up yet: workers only append."""

    __tablename__ = "step_count_delta"

    id: int = identifier()
    workspace_id: int = big()
    flow_version_id: int = big()
    step_id: str = text()
    day: int = big()
    what: str = text()
    bucket: int = big(0)
    n: int = big(0)
