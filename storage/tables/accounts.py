"""People and programs that may use the console and the API."""

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import SQLModel

from storage.tables.columns import big, identifier, small, text


class User(SQLModel, table=True):
    """A team member."""

    __tablename__ = "user_account"
    __table_args__ = (UniqueConstraint("workspace_id", "email"),)

    id: int = identifier()
    workspace_id: int = big()
    email: str = text()
    role: str = text("agent")  # owner | admin | marketer | agent | viewer
    active: int = small(1)
    created_at: int = big()


class SignInLink(SQLModel, table=True):
    """A one-time link; only the hash of its token is kept."""

    __tablename__ = "sign_in_link"

    token_hash: str = text(primary_key=True)
    workspace_id: int = big()
    user_id: int = big()
    expires_at: int = big()
    used_at: int | None = big(nullable=True)


class ConsoleSession(SQLModel, table=True):
    """A signed-in browser; only the hash of its cookie is kept."""

    __tablename__ = "console_session"

    token_hash: str = text(primary_key=True)
    workspace_id: int = big()
    user_id: int = big()
    created_at: int = big()
    expires_at: int = big()


class ApiKey(SQLModel, table=True):
    """A key of the REST API; only its hash is kept. `scopes`: space-separated, e.g. `contacts:read campaigns:write`."""

    __tablename__ = "api_key"
    __table_args__ = (UniqueConstraint("key_hash"),)

    id: int = identifier()
    workspace_id: int = big()
    name: str = text()
    key_hash: str = text()
    scopes: str = text()
    created_at: int = big()
    last_used_at: int | None = big(nullable=True)
    revoked_at: int | None = big(nullable=True)


class AuditEntry(SQLModel, table=True):
    """Who did what that matters: keys, exports, erasures, stops, bulk service messages."""

    __tablename__ = "audit_entry"

    id: int = identifier()
    workspace_id: int = big()
    actor: str = text()
    action: str = text()
    target: str = text()
    detail: str = text("{}")
    at: int = big()


class IdempotentRequest(SQLModel, table=True):
    """A POST of the API that was done under its `Idempotency-Key`, with its sealed answer; kept a day."""

    __tablename__ = "idempotent_request"
    __table_args__ = (Index("idempotent_request_age", "created_at"),)

    workspace_id: int = big(primary_key=True)
    key_id: int = big(primary_key=True)
    request_key: str = text(primary_key=True)
    fingerprint: str = text()  # SHA-256 of method, path and body
    answer: str = text()  # sealed JSON
    created_at: int = big()
