"""Parked events: what could not be handled, kept for a person to see and to try again.

An event is parked after its last attempt, or at once when it was malformed (`bot/intake.py`); the conversation goes on
without it. What a parked event holds is sealed and not shown here: only where it came from and what was wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from bot.intake import OPEN, PARKED
from domain.errors import RejectedInput
from storage.database import bulk_values

MAX_PAGE = 500


@dataclass(frozen=True)
class ParkedEvent:
    """One event that waits for a person. `received_at` in ms UTC."""

    id: int
    channel_id: int
    attempts: int
    problem: str
    received_at: int


def parked(connection: Connection, workspace_id: int, *, after: int = 0, limit: int = 100) -> list[ParkedEvent]:
    """A page of parked events, oldest first; `after`: the id at which the last page ended."""
    if not 1 <= limit <= MAX_PAGE:
        raise RejectedInput(f"must be 1 to {MAX_PAGE}", where="limit")
    rows = connection.execute(
        text(
            "SELECT id, channel_id, attempts, problem, received_at FROM intake "
            f"WHERE workspace_id = :workspace AND state = {PARKED} AND id > :after ORDER BY id LIMIT :limit"
        ),
        {"workspace": workspace_id, "after": after, "limit": limit},
    ).all()
    return [ParkedEvent(*row) for row in rows]


def retry(connection: Connection, workspace_id: int, ids: Sequence[int] | None = None) -> int:
    """Opens parked events again, all or those given; gives how many. They count as never tried.

    A malformed event would only be parked again: it stays, because nothing about it has changed.
    """
    chosen = "" if ids is None else "AND id IN (SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e)"
    opened = connection.execute(
        text(
            f"UPDATE intake SET state = {OPEN}, attempts = 0, not_before = 0 "
            f"WHERE workspace_id = :workspace AND state = {PARKED} AND attempts > 0 {chosen}"
        ),
        {"workspace": workspace_id, **({} if ids is None else {"ids": bulk_values(ids)})},
    )
    return int(opened.rowcount)
