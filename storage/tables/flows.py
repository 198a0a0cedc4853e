"""Flows and their immutable versions."""

from sqlalchemy import UniqueConstraint
from sqlmodel import SQLModel

from storage.tables.columns import CLUSTERED, big, identifier, text, within_workspace


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
