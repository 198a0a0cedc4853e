"""Parked events: what could not be handled after five tries, or could not be read; a person looks and has it retried.

What an event says stays sealed: people see its kind, when it came, what went wrong and how often it was tried.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from sqlalchemy import Connection, text

from bot.intake import open_event
from domain.errors import NotFound, RejectedInput
from domain.events import Unrecognised
from storage.sealing import Sealer
from storage.statements import bulk_values

PAGE = 100


class ParkedEvent(Struct, frozen=True, kw_only=True):
    """One event that waits for a person. `what` is its kind: message, timer, unrecognised …; times are ms UTC."""

    id: int
    channel_id: int
    what: str
    problem: str
    attempts: int
    received_at: int


def parked(
    connection: Connection, workspace_id: int, *, sealer: Sealer, after: int = 0, limit: int = PAGE
) -> list[ParkedEvent]:
    """Parked events of a workspace, oldest first, after an id (index intake_parked)."""
    rows = connection.execute(
        text(
            "SELECT id, channel_id, payload, problem, attempts, received_at FROM intake WHERE state = 1 "
            "AND workspace_id = :workspace AND id > :after ORDER BY id LIMIT :limit"
        ),
        {"workspace": workspace_id, "after": after, "limit": limit},
    ).all()
    return [
        ParkedEvent(
            id=row.id,
            channel_id=row.channel_id,
            what=_kind(sealer, row.id, row.payload),
            problem=row.problem,
            attempts=row.attempts,
            received_at=row.received_at,
        )
        for row in rows
    ]


def retry(connection: Connection, workspace_id: int, event_ids: Sequence[int] = ()) -> int:
    """Opens parked events again, all of the workspace when none are named; gives how many. The caller wakes the worker
    (`signals.notify("intake")`). Raises NotFound when one of the named is not parked here."""
    named = "AND id IN (SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e)" if event_ids else ""
    values = {"ids": bulk_values(event_ids)} if event_ids else {}
    opened = connection.execute(
        text(
            "UPDATE intake SET state = 0, attempts = 0, not_before = 0, problem = '' "
            f"WHERE state = 1 AND workspace_id = :workspace {named}"
        ),
        {"workspace": workspace_id, **values},
    ).rowcount
    if event_ids and opened != len(set(event_ids)):
        raise NotFound("there is no such parked event")
    return opened


def _kind(sealer: Sealer, row_id: int, payload: str) -> str:
    try:
        event = open_event(sealer, row_id, payload)
    except (
        RejectedInput,
        ValueError,
    ):  # sealed with another secret, or written by a release that we do not know
        return "unreadable"
    if isinstance(event, Unrecognised):
        return f"unrecognised {event.what}"
    return str(event.__struct_config__.tag)
