"""Contacts (persons), their identities (addresses on channels), tags, fields, timeline, segments."""

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import SQLModel

from storage.tables.columns import CLUSTERED, big, identifier, small, text, within_workspace


class Contact(SQLModel, table=True):
    """A person, as far as they told us."""

    __tablename__ = "contact"
    __table_args__ = (UniqueConstraint("workspace_id", "id"),)

    id: int = identifier()
    workspace_id: int = big()
    name: str = text()
    first_name: str = text()
    last_name: str = text()
    email: str | None = text(None, nullable=True)
    phone: str | None = text(None, nullable=True)
    language: str | None = text(None, nullable=True)
    timezone: str | None = text(None, nullable=True)
    fields: str = text("{}")  # JSON object: the workspace's own fields
    source: str = text()  # owned | paid | earned: how they came, as JSON when known
    birth_year: int | None = big(nullable=True)
    created_at: int = big()
    updated_at: int = big()


class ContactTag(SQLModel, table=True):
    """A tag on a contact."""

    __tablename__ = "contact_tag"
    __table_args__ = (Index("contact_tag_tag", "workspace_id", "tag", "contact_id"), CLUSTERED)

    workspace_id: int = big()
    contact_id: int = big(primary_key=True)
    tag: str = text(primary_key=True)


class ContactField(SQLModel, table=True):
    """A field that the workspace has defined."""

    __tablename__ = "contact_field"
    __table_args__ = (UniqueConstraint("workspace_id", "key"),)

    id: int = identifier()
    workspace_id: int = big()
    key: str = text()
    label: str = text()
    type: str = text("text")  # text | number | date | bool | choice
    created_at: int = big()


class Identity(SQLModel, table=True):
    """A contact's address on one channel. `address` is what a message is sent to."""

    __tablename__ = "identity"
    __table_args__ = (
        UniqueConstraint("workspace_id", "id"),
        within_workspace("contact_id", "contact"),
        Index("identity_contact", "workspace_id", "contact_id"),
        Index("identity_channel", "channel_id", "contact_id"),
    )

    id: int = identifier()
    workspace_id: int = big()
    channel_id: int = big()
    contact_id: int = big()
    kind: str = text()  # of the address: telegram_user | wa_phone | wa_bsuid
    address: str = text()
    username: str | None = text(None, nullable=True)
    display_name: str = text()
    language: str | None = text(None, nullable=True)
    state: str = text("reachable")  # reachable | blocked | gone
    state_at: int | None = big(nullable=True)
    last_inbound_at: int | None = big(nullable=True)  # opens the platform's answer window
    marketing_day: int = big(0)  # days since 1970 of the last marketing message, for the frequency cap
    marketing_count: int = small()  # marketing messages on that day
    marketing_last_at: int | None = big(nullable=True)
    marketing_not_before: int | None = big(nullable=True)  # the platform's own cap for this person
    salt: str = text()  # of this identity's ledger commitments; erased with the person
    created_at: int = big()


class IdentityKey(SQLModel, table=True):
    """(channel, keyed hash of an external id) → identity. One identity may have several: user id, parent id, phone."""

    __tablename__ = "identity_key"
    __table_args__ = (Index("identity_key_identity", "identity_id"), CLUSTERED)

    workspace_id: int = big()
    channel_id: int = big(primary_key=True)
    external_key: str = text(primary_key=True)
    identity_id: int = big()
    kind: str = text()


class TimelineEntry(SQLModel, table=True):
    """Something that happened with a contact, for people to read."""

    __tablename__ = "timeline_entry"
    __table_args__ = (Index("timeline_contact", "workspace_id", "contact_id", "id"),)

    id: int = identifier()
    workspace_id: int = big()
    contact_id: int = big()
    kind: str = text()  # created | consent | flow_started | flow_ended | note | blocked | campaign | …
    data: str = text("{}")
    at: int = big()


class Segment(SQLModel, table=True):
    """A saved predicate over contacts."""

    __tablename__ = "segment"
    __table_args__ = (UniqueConstraint("workspace_id", "name"),)

    id: int = identifier()
    workspace_id: int = big()
    name: str = text()
    predicate: str = text("{}")
    created_at: int = big()
    updated_at: int = big()
