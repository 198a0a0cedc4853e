"""What the conversation runtime holds of a person: shown to them (`/mydata`), and deleted when they ask (`/forget`).

Intake rows that are done have no payload any more; open ones of a person who is being forgotten are deleted with
their conversation's key. Files that nobody else's message shows go as well, bytes included (by the job).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from bot import assistant
from crm.privacy import erases, exports
from storage.database import dialect

# What a flow asks for somebody, with what they wrote in it; one that is on its way finds nobody to answer.
_FORGET_CALLS = text(
    "DELETE FROM job WHERE workspace_id = :w AND kind = 'http_call' AND key >= :first AND key <= :last"
)
AT_ONCE = 1_000  # rows of one table in one transaction
_SHOWN = 5_000  # messages of an export; the newest


@erases("conversations")
def erase_conversations(
    connection: Connection, workspace_id: int, contact_id: int, identity_ids: Sequence[int], now: int
) -> bool:
    """Deletes messages, turns, sessions, timers, calls, open events of a person's conversations; true: once more."""
    values = {"workspace": workspace_id, "contact": contact_id, "n": AT_ONCE}
    mine = "workspace_id = :workspace AND contact_id = :contact"
    threads = f"workspace_id = :workspace AND conversation_id IN (SELECT id FROM conversation WHERE {mine})"
    walks = f"session_id IN (SELECT id FROM flow_session WHERE {mine})"
    campaigns = f"{mine} AND conversation_id = 0 AND contact_id <> 0"
    # In the order in which a worker locks them: it comes before what follows, or finds the conversation gone.
    lock = dialect(connection).for_update
    line = f"turn_id <> 0 AND conversation_id <> 0 AND {threads}"
    for table, whose in (("outbox", line), ("conversation", mine)):
        rows = connection.execute(text(f"SELECT id FROM {table} WHERE {whose} ORDER BY id {lock}"), values)
        rows.all()
    for table, whose in (
        ("turn", threads),
        ("timer", walks),
        ("timer", f"session_id IN (SELECT id FROM conversation WHERE {mine})"),  # of silences
        (
            "timer",
            f"session_id IN (SELECT id FROM flow_schedule WHERE workspace_id = :workspace) AND {threads}",
        ),
        # What is on the wire settles first, and goes with the next call.
        ("outbox", f"state <> 3 AND conversation_id <> 0 AND {threads}"),
        ("outbox", f"state <> 3 AND id IN (SELECT id FROM message WHERE {campaigns})"),
        ("message", threads),
        ("message", campaigns),
    ):
        statement = f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {whose} LIMIT :n)"
        if connection.execute(text(statement), values).rowcount >= AT_ONCE:
            return True
    for service in ("", assistant.SERVICE):
        prefix = assistant.key_prefix(contact_id, service)
        connection.execute(_FORGET_CALLS, {"w": workspace_id, "first": prefix, "last": prefix + "9" * 19})
    keys = f"(channel_id, intake_key) IN (SELECT channel_id, intake_key FROM conversation WHERE {mine})"
    for statement in (
        f"DELETE FROM intake WHERE state = 0 AND {keys}",
        f"DELETE FROM intake WHERE state = 3 AND {keys}",
        f"DELETE FROM intake WHERE state = 1 AND workspace_id = :workspace AND {keys}",
        f"DELETE FROM album_part WHERE workspace_id = :workspace AND {keys}",
        "DELETE FROM uploaded_media WHERE (channel_id, media_key) IN (SELECT c.id, CAST(f.id AS TEXT) "
        "FROM media_file f JOIN channel c ON c.workspace_id = f.workspace_id "
        "WHERE f.workspace_id = :workspace AND f.contact_id = :contact)",
        "DELETE FROM media_file WHERE workspace_id = :workspace AND contact_id = :contact",
        "DELETE FROM flow_session WHERE workspace_id = :workspace AND contact_id = :contact",
        "DELETE FROM conversation WHERE workspace_id = :workspace AND contact_id = :contact",
    ):
        connection.execute(text(statement), values)
    return False


@exports("messages")
def export_messages(
    connection: Connection, workspace_id: int, contact_id: int, identity_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Everything that was said, oldest first."""
    rows = connection.execute(
        text(
            "SELECT direction, content, status, created_at FROM message WHERE workspace_id = :workspace "
            "AND contact_id = :contact ORDER BY id DESC LIMIT :n"
        ),
        {"workspace": workspace_id, "contact": contact_id, "n": _SHOWN},
    ).all()
    return [
        {
            "at": f"{datetime.fromtimestamp(row.created_at // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "from": "you" if row.direction == "in" else "us",
            "content": msgspec.json.decode(row.content),
            "status": row.status,
        }
        for row in reversed(rows)
    ]


@exports("answers")
def export_answers(
    connection: Connection, workspace_id: int, contact_id: int, identity_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """What was answered in flows."""
    rows = connection.execute(
        text(
            "SELECT f.key, s.state, s.status FROM flow_session s JOIN flow f ON f.id = s.flow_id "
            "WHERE s.workspace_id = :workspace AND s.contact_id = :contact ORDER BY s.id"
        ),
        {"workspace": workspace_id, "contact": contact_id},
    ).all()
    return [
        {
            "flow": row.key,
            "status": row.status,
            "results": msgspec.json.decode(row.state or "{}").get("results", {}),
        }
        for row in rows
    ]
