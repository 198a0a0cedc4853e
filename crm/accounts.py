"""People and programs that may use the console and the API: accounts, one-time sign-in links, API keys, the audit log.

Tokens and keys have 256 random bits and are shown once; the database holds only their SHA-256, which is enough against
guessing and makes a stolen table useless. Both HTTP rooms check against what stands here.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from domain.errors import Conflict, RejectedInput

ROLES = ("owner", "admin", "marketer", "agent", "viewer")
LINK_LIFE_MS = 24 * 3_600_000  # an invitation is used on the same day
KEY_PREFIX = "ppk_"
ALL_SCOPES = "*"
MAX_NAME = 100

_SCOPE = re.compile(r"[a-z_]{2,40}:(read|write)")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")


@dataclass(frozen=True)
class KeyHolder:
    """Whom an API key stands for. `scopes` holds `contacts:read`, … or `*` for all."""

    id: int
    workspace_id: int
    name: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether the key has the scope; `…:write` does not include `…:read`."""
        return ALL_SCOPES in self.scopes or scope in self.scopes


@dataclass(frozen=True)
class SignedIn:
    """A team member."""

    user_id: int
    workspace_id: int
    email: str
    role: str


def token_hash(token: str) -> str:
    """What of a token or key lies in the database."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def add_user(
    connection: Connection, *, workspace_id: int, email: str, role: str, new_id: Callable[[], int], now: int
) -> int:
    """A new team member; gives the id. Raises RejectedInput, and Conflict when the address is taken."""
    address = email.strip().lower()
    if not _EMAIL.fullmatch(address):
        raise RejectedInput("must be an e-mail address", where="email")
    if role not in ROLES:
        raise RejectedInput(f"must be one of {', '.join(ROLES)}", where="role")
    user_id = new_id()
    made = connection.execute(
        text(
            "INSERT INTO user_account (id, workspace_id, email, role, active, created_at) "
            "VALUES (:id, :workspace, :email, :role, 1, :now) ON CONFLICT DO NOTHING"
        ),
        {"id": user_id, "workspace": workspace_id, "email": address, "role": role, "now": now},
    )
    if not made.rowcount:
        raise Conflict("there is a team member with this e-mail address already")
    return user_id


def has_users(connection: Connection, workspace_id: int) -> bool:
    """Whether a team member exists; until then the console is open to this machine only."""
    found = connection.execute(
        text("SELECT 1 FROM user_account WHERE workspace_id = :workspace AND active = 1 LIMIT 1"),
        {"workspace": workspace_id},
    )
    return found.first() is not None


def make_sign_in_link(
    connection: Connection, *, workspace_id: int, user_id: int, now: int, life_ms: int = LINK_LIFE_MS
) -> str:
    """The token of a new one-time link."""
    token = secrets.token_urlsafe(32)
    connection.execute(
        text(
            "INSERT INTO sign_in_link (token_hash, workspace_id, user_id, expires_at, used_at) "
            "VALUES (:hash, :workspace, :user, :until, NULL)"
        ),
        {"hash": token_hash(token), "workspace": workspace_id, "user": user_id, "until": now + life_ms},
    )
    return token


def use_sign_in_link(connection: Connection, token: str, *, now: int) -> SignedIn | None:
    """Whom the link lets in; None when it is unknown, used or too old. Of two at once one gets in."""
    link = connection.execute(
        text(
            "UPDATE sign_in_link SET used_at = :now WHERE token_hash = :hash AND used_at IS NULL AND expires_at > :now "
            "RETURNING workspace_id, user_id"
        ),
        {"hash": token_hash(token), "now": now},
    ).one_or_none()
    if link is None:
        return None
    user = connection.execute(
        text(
            "SELECT id, workspace_id, email, role FROM user_account "
            "WHERE workspace_id = :workspace AND id = :user AND active = 1"
        ),
        {"workspace": link.workspace_id, "user": link.user_id},
    ).one_or_none()
    return SignedIn(user.id, user.workspace_id, user.email, user.role) if user is not None else None


def add_key(
    connection: Connection,
    *,
    workspace_id: int,
    name: str,
    scopes: Sequence[str],
    new_id: Callable[[], int],
    now: int,
) -> tuple[int, str]:
    """A new API key as (id, key); the key is not to be had again. No scopes: all of them. Raises RejectedInput."""
    if not 0 < len(name.strip()) <= MAX_NAME:
        raise RejectedInput(f"must have 1 to {MAX_NAME} characters", where="name")
    for scope in scopes:
        if scope != ALL_SCOPES and not _SCOPE.fullmatch(scope):
            raise RejectedInput("must look like contacts:read or campaigns:write", where="scope")
    key_id, key = new_id(), KEY_PREFIX + secrets.token_urlsafe(32)
    connection.execute(
        text(
            "INSERT INTO api_key (id, workspace_id, name, key_hash, scopes, created_at) "
            "VALUES (:id, :workspace, :name, :hash, :scopes, :now)"
        ),
        {
            "id": key_id,
            "workspace": workspace_id,
            "name": name.strip(),
            "hash": token_hash(key),
            "scopes": " ".join(dict.fromkeys(scopes or (ALL_SCOPES,))),
            "now": now,
        },
    )
    return key_id, key


def key_holder(connection: Connection, key: str) -> KeyHolder | None:
    """Whom a key stands for; None when it is unknown or revoked."""
    row = connection.execute(
        text(
            "SELECT id, workspace_id, name, scopes FROM api_key WHERE key_hash = :hash AND revoked_at IS NULL"
        ),
        {"hash": token_hash(key)},
    ).one_or_none()
    return (
        None if row is None else KeyHolder(row.id, row.workspace_id, row.name, frozenset(row.scopes.split()))
    )


def audit(
    connection: Connection,
    *,
    workspace_id: int,
    actor: str,
    action: str,
    target: str,
    detail: dict[str, Any] | None = None,
    new_id: Callable[[], int],
    now: int,
) -> None:
    """Notes who did what that matters. `detail` holds ids and reasons, never what people wrote."""
    connection.execute(
        text(
            "INSERT INTO audit_entry (id, workspace_id, actor, action, target, detail, at) "
            "VALUES (:id, :workspace, :actor, :action, :target, :detail, :now)"
        ),
        {
            "id": new_id(),
            "workspace": workspace_id,
            "actor": actor,
            "action": action,
            "target": target,
            "detail": msgspec.json.encode(detail or {}).decode(),
            "now": now,
        },
    )
