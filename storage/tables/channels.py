"""Channels (connected bots and numbers), outlets that are posted to, and what the channels know."""

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import SQLModel

from storage.tables.columns import CLUSTERED, big, identifier, text, within_workspace


class Channel(SQLModel, table=True):
    """One connected bot or number."""

    __tablename__ = "channel"
    __table_args__ = (
        UniqueConstraint("workspace_id", "id"),
        UniqueConstraint("workspace_id", "name"),
        Index("channel_account", "kind", "account"),
    )

    id: int = identifier()
    workspace_id: int = big()
    kind: str = text()
    name: str = text()
    state: str = text("active")  # active | stopped | deleting
    state_reason: str = text()
    mode: str = text("webhook")  # webhook | polling
    account: str = text()  # the platform's own id: phone_number_id, bot id
    business_account: str = text()  # WhatsApp business account id
    secrets: str = text()  # sealed JSON: tokens, app secret, verify token, webhook secret
    secret_group: str = text()  # keyed hash of the app secret: endpoints of one app share it
    config: str = text("{}")
    poll_offset: int = big(0)
    health: str = text("{}")
    created_at: int = big()


class Outlet(SQLModel, table=True):
    """A place that is posted to: a Telegram channel or group where the bot may write."""

    __tablename__ = "outlet"
    __table_args__ = (
        UniqueConstraint("workspace_id", "id"),
        UniqueConstraint("channel_id", "address"),
        within_workspace("channel_id", "channel"),
    )

    id: int = identifier()
    workspace_id: int = big()
    channel_id: int = big()
    address: str = text()
    kind: str = text("channel")  # channel | group | supergroup
    title: str = text()
    state: str = text("active")  # active | gone
    rights: str = text("{}")
    members: int | None = big(nullable=True)
    added_at: int = big()


class MessageTemplate(SQLModel, table=True):
    """A template as the platform has it (WhatsApp)."""

    __tablename__ = "message_template"
    __table_args__ = (UniqueConstraint("channel_id", "name", "language"),)

    id: int = identifier()
    workspace_id: int = big()
    channel_id: int = big()
    external_id: str = text()
    name: str = text()
    language: str = text()
    category: str = text()
    status: str = text()
    quality: str = text()
    components: str = text("[]")
    updated_at: int = big()


class ChannelLogEntry(SQLModel, table=True):
    """One redacted line per notable attempt or notice; kept 30 days."""

    __tablename__ = "channel_log"
    __table_args__ = (Index("channel_log_channel", "channel_id", "id"),)

    id: int = identifier()
    workspace_id: int = big()
    channel_id: int = big()
    what: str = text()
    outcome: str = text()
    detail: str = text()
    at: int = big()


class UploadedMedia(SQLModel, table=True):
    """A stored file's id with a platform: uploaded once, sent many times."""

    __tablename__ = "uploaded_media"
    __table_args__ = CLUSTERED

    workspace_id: int = big()
    channel_id: int = big(primary_key=True)
    media_key: str = text(primary_key=True)  # "<media id>:<kind>"
    platform_id: str = text()
    expires_at: int | None = big(nullable=True)


class MediaFile(SQLModel, table=True):
    """A file that we keep, sealed, under DATA_DIR/media."""

    __tablename__ = "media_file"
    __table_args__ = (
        Index("media_file_hash", "workspace_id", "sha256"),
        Index("media_file_contact", "workspace_id", "contact_id"),
    )

    id: int = identifier()
    workspace_id: int = big()
    contact_id: int = big(0)  # whose file it is, to be erased with them; 0: the business's own
    sha256: str = text()
    mime: str = text()
    filename: str = text()
    size: int = big()
    created_at: int = big()
