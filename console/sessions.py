"""Signed-in browsers: a random cookie, of which only the hash is kept; ended by sign-out, by idleness, by age, and as
soon as the team member or the workspace is no longer active.
"""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, text

from crm.accounts import SignedIn, token_hash

IDLE_MS = 12 * 3_600_000
LIFE_MS = 7 * 86_400_000  # a sign-in is good for a week, however busy
RENEW_MS = 300_000  # how exactly idleness is kept: not a write for every page
TOKEN_BYTES = 32


def begin(connection: Connection, who: SignedIn, *, now: int) -> str:
    """A new session; gives the cookie's value. Sessions that are over go at the same time."""
    connection.execute(
        text(
            "DELETE FROM console_session WHERE token_hash IN "
            "(SELECT token_hash FROM console_session WHERE expires_at <= :now LIMIT 100)"
        ),
        {"now": now},
    )
    token = secrets.token_urlsafe(TOKEN_BYTES)
    connection.execute(
        text(
            "INSERT INTO console_session (token_hash, workspace_id, user_id, created_at, expires_at) "
            "VALUES (:hash, :workspace, :user, :now, :until)"
        ),
        {
            "hash": token_hash(token),
            "workspace": who.workspace_id,
            "user": who.user_id,
            "now": now,
            "until": now + IDLE_MS,
        },
    )
    return token


def find(connection: Connection, token: str, *, now: int) -> tuple[SignedIn, bool] | None:
    """Who it is, and whether the session wants to be extended; None when it is over."""
    row = connection.execute(
        text(
            "SELECT s.user_id, s.workspace_id, s.created_at, s.expires_at, u.email, u.role FROM console_session s "
            "JOIN user_account u ON u.id = s.user_id AND u.workspace_id = s.workspace_id AND u.active = 1 "
            "JOIN workspace w ON w.id = s.workspace_id AND w.state = 'active' "
            "WHERE s.token_hash = :hash AND s.expires_at > :now AND s.created_at > :oldest AND s.workspace_id <> 0"
        ),
        {"hash": token_hash(token), "now": now, "oldest": now - LIFE_MS},
    ).one_or_none()
    if row is None:
        return None
    return SignedIn(
        row.user_id, row.workspace_id, row.email, row.role
    ), row.expires_at < now + IDLE_MS - RENEW_MS


def extend(connection: Connection, token: str, *, now: int) -> None:
    """It was used now."""
    connection.execute(
        text("UPDATE console_session SET expires_at = :until WHERE token_hash = :hash AND expires_at > :now"),
        {"hash": token_hash(token), "until": now + IDLE_MS, "now": now},
    )


def end(connection: Connection, token: str) -> None:
    """Sign-out: it is over now."""
    connection.execute(
        text("DELETE FROM console_session WHERE token_hash = :hash"), {"hash": token_hash(token)}
    )


def link_is_open(connection: Connection, token: str, *, now: int) -> bool:
    """Whether a one-time link could let somebody in."""
    found = connection.execute(
        text("SELECT 1 FROM sign_in_link WHERE token_hash = :hash AND used_at IS NULL AND expires_at > :now"),
        {"hash": token_hash(token), "now": now},
    )
    return found.first() is not None


def anybody(connection: Connection) -> bool:
    """Whether the installation has a team member; until then the console is for this machine only."""
    return connection.execute(text("SELECT 1 FROM user_account WHERE active = 1 LIMIT 1")).first() is not None
