"""The stop button: a row that the sender reads at every slice, so that pressing it brings silence within a second.

Scopes, from wide to narrow: the installation, a workspace, a channel, a campaign. `what` is marketing or everything.
Messages keep their place and go when the button is let go of, or expire.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from bot.channel_store import raise_revision
from domain.errors import NotFound, RejectedInput

SCOPES = {"installation": "", "workspace": "workspace", "channel": "channel", "campaign": "campaign"}  # scope → table
KINDS = ("marketing", "everything")


@dataclass(frozen=True)
class Stop:
    """A pressed button."""

    workspace_id: int
    scope: str
    target_id: int
    what: str
    by: str
    set_at: int


def press(
    connection: Connection, *, workspace_id: int, scope: str, target_id: int, what: str, by: str, now: int
) -> None:
    """Presses the button. A second press in the same scope replaces `what`. Raises RejectedInput, NotFound."""
    key = _key(connection, workspace_id, scope, target_id)
    if what not in KINDS:
        raise RejectedInput(f"must be one of {', '.join(KINDS)}", where="what")
    connection.execute(
        text(
            "INSERT INTO stop (workspace_id, scope, target_id, what, by, set_at) "
            "VALUES (:workspace, :scope, :target, :what, :by, :now) "
            "ON CONFLICT (workspace_id, scope, target_id) DO UPDATE SET what = :what, by = :by, set_at = :now"
        ),
        {**key, "what": what, "by": by, "now": now},
    )
    raise_revision(connection, "stops")


def let_go(connection: Connection, *, workspace_id: int, scope: str, target_id: int) -> bool:
    """Lets go of the button; false when it was not pressed. Raises RejectedInput, NotFound."""
    key = _key(connection, workspace_id, scope, target_id)
    gone = connection.execute(
        text("DELETE FROM stop WHERE workspace_id = :workspace AND scope = :scope AND target_id = :target"), key
    )
    raise_revision(connection, "stops")
    return bool(gone.rowcount)


def pressed(connection: Connection, workspace_id: int) -> list[Stop]:
    """The buttons that hold this workspace back, widest first."""
    rows = connection.execute(
        text(
            "SELECT workspace_id, scope, target_id, what, by, set_at FROM stop "
            "WHERE workspace_id IN (0, :workspace) ORDER BY workspace_id, scope, target_id"
        ),
        {"workspace": workspace_id},
    ).all()
    return [Stop(*row) for row in rows]


def _key(connection: Connection, workspace_id: int, scope: str, target_id: int) -> dict[str, object]:
    if scope not in SCOPES:
        raise RejectedInput(f"must be one of {', '.join(SCOPES)}", where="scope")
    if scope == "installation":
        return {"workspace": 0, "scope": scope, "target": 0}
    if scope == "workspace":
        return {"workspace": workspace_id, "scope": scope, "target": workspace_id}
    found = connection.execute(
        text(f"SELECT 1 FROM {SCOPES[scope]} WHERE workspace_id = :workspace AND id = :id"),
        {"workspace": workspace_id, "id": target_id},
    ).first()
    if found is None:
        raise NotFound(f"there is no such {scope}")
    return {"workspace": workspace_id, "scope": scope, "target": target_id}
