"""Where what happens beside messages comes in: a contact's private conversations."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, text

HAPPENED = "happened"  # what a `SessionCommand` that carries an occasion says


class Door(NamedTuple):
    """The conversation to which an occasion goes."""

    conversation_id: int
    channel_id: int
    channel_kind: str
    slot: int
    intake_key: str


_LATEST = text(
    "SELECT c.id, c.channel_id, h.kind, c.slot, c.intake_key FROM conversation c JOIN channel h ON h.id = c.channel_id "
    "WHERE c.workspace_id = :workspace AND c.contact_id = :contact AND c.place = 'private' AND h.state = 'active' "
    "ORDER BY c.last_message_at DESC, c.id DESC LIMIT 1"
)


def latest(connection: Connection, workspace_id: int, contact_id: int) -> Door | None:
    """The private conversation in which something was said last (index conversation_contact); None: there is none."""
    row = connection.execute(_LATEST, {"workspace": workspace_id, "contact": contact_id}).one_or_none()
    return None if row is None else Door(*row)
