"""Workspaces: several businesses in one installation, strictly apart."""

from sqlalchemy import UniqueConstraint
from sqlmodel import SQLModel

from storage.tables.columns import CLUSTERED, big, identifier, small, text


class Workspace(SQLModel, table=True):
    """One business. `workspace_id` equals `id`, so that the rule "every table has it" has no exception."""

    __tablename__ = "workspace"

    id: int = identifier()
    workspace_id: int = big()
    name: str = text()
    locale: str = text("it")
    timezone: str = text("Europe/Rome")
    state: str = text("active")  # active | deleting
    encrypt_personal: int = small()
    business: str = text(
        "{}"
    )  # JSON of the business file: purposes with wording, keywords, hours, quiet hours, privacy
    created_at: int = big()


class Stop(SQLModel, table=True):
    """The stop button: while the row stands nothing of `what` leaves in its scope. Read at every slice."""

    __tablename__ = "stop"
    __table_args__ = CLUSTERED

    workspace_id: int = big(primary_key=True)  # 0: the whole installation
    scope: str = text(primary_key=True)  # installation | workspace | channel | campaign
    target_id: int = big(primary_key=True)
    what: str = text("marketing")  # marketing | everything
    by: str = text()
    set_at: int = big()


class Revision(SQLModel, table=True):
    """A counter that rises when configuration changes (channels, flows, stops): running processes notice."""

    __tablename__ = "revision"
    __table_args__ = CLUSTERED

    workspace_id: int = big(0, primary_key=True)
    subject: str = text(primary_key=True)  # channels | flows | stops | campaigns
    number: int = big(0)


class Secret(SQLModel, table=True):
    """A secret that flows name and never see: a key for a service that they call."""

    __tablename__ = "secret"
    __table_args__ = (UniqueConstraint("workspace_id", "name"),)

    id: int = identifier()
    workspace_id: int = big()
    name: str = text()
    value: str = text()  # sealed
    by: str = text()
    updated_at: int = big()
