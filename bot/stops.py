"""The stop button: for the installation, a workspace, a channel or a campaign; marketing only, or everything.

A row in `stop` is read at every slice that leaves, so that silence comes within a second. Pressing it again replaces
what it stops; letting go of it lets waiting messages leave that have not expired. Campaigns that a stop has paused stay
paused until a person resumes them.
"""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import Connection, text

from bot.channel_store import raise_revision
from domain.errors import NotFound, RejectedInput

SCOPES = ("installation", "workspace", "channel", "campaign")
WHAT = ("marketing", "everything")

_TARGETS = {"channel": "channel", "campaign": "campaign"}


class StopView(Struct, frozen=True, kw_only=True):
    """A pressed stop button. `target_id`: the channel or campaign, 0 for wider scopes."""

    scope: str
    target_id: int
    what: str
    by: str
    set_at: int


def stops(connection: Connection, workspace_id: int) -> list[StopView]:
    """What is stopped in a workspace, the installation's own stop included."""
    rows = connection.execute(
        text(
            "SELECT scope, target_id, what, by, set_at FROM stop WHERE workspace_id = :workspace "
            "OR (workspace_id = 0 AND scope = 'installation') ORDER BY set_at, scope, target_id"
        ),
        {"workspace": workspace_id},
    ).all()
    return [StopView(**row._mapping) for row in rows]


def press(
    connection: Connection, workspace_id: int, *, scope: str, target_id: int = 0, what: str, by: str, now: int
) -> None:
    """Stops. `workspace_id` 0 with scope installation: everybody. Raises RejectedInput and NotFound."""
    owner, target = _place(connection, workspace_id, scope, target_id)
    if what not in WHAT:
        raise RejectedInput(f"must be one of {', '.join(WHAT)}", where="what")
    connection.execute(
        text(
            "INSERT INTO stop (workspace_id, scope, target_id, what, by, set_at) "
            "VALUES (:workspace, :scope, :target, :what, :by, :now) ON CONFLICT (workspace_id, scope, target_id) "
            "DO UPDATE SET what = excluded.what, by = excluded.by, set_at = excluded.set_at"
        ),
        {"workspace": owner, "scope": scope, "target": target, "what": what, "by": by, "now": now},
    )
    raise_revision(connection, "stops")


def release(connection: Connection, workspace_id: int, *, scope: str, target_id: int = 0) -> bool:
    """Lets go; false when it was not pressed. Raises RejectedInput and NotFound."""
    owner, target = _place(connection, workspace_id, scope, target_id)
    released = connection.execute(
        text("DELETE FROM stop WHERE workspace_id = :workspace AND scope = :scope AND target_id = :target"),
        {"workspace": owner, "scope": scope, "target": target},
    ).rowcount
    raise_revision(connection, "stops")
    return released > 0


def _place(connection: Connection, workspace_id: int, scope: str, target_id: int) -> tuple[int, int]:
    """The row's (workspace, target)."""
    if scope not in SCOPES:
        raise RejectedInput(f"must be one of {', '.join(SCOPES)}", where="scope")
    if scope == "installation":
        return 0, 0
    if not workspace_id:
        raise RejectedInput("names no workspace", where="workspace")
    table = _TARGETS.get(scope)
    if table is None:
        return workspace_id, 0
    found = connection.execute(
        text(f"SELECT 1 FROM {table} WHERE workspace_id = :workspace AND id = :id"),
        {"workspace": workspace_id, "id": target_id},
    ).first()
    if found is None:
        raise NotFound(f"there is no such {scope}")
    return workspace_id, target_id
