"""Saved segments: a predicate under a name. It is checked when it is saved; who is in it is asked anew each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, text

from crm.segments import compile_predicate
from domain import predicates
from domain.errors import Conflict, NotFound, RejectedInput

MAX_NAME = 100


class SegmentView(Struct, frozen=True, kw_only=True):
    """A saved segment; times are ms UTC."""

    id: int
    name: str
    predicate: dict[str, Any]
    created_at: int
    updated_at: int


def create(
    connection: Connection,
    workspace_id: int,
    *,
    name: str,
    predicate: Any,
    new_id: Callable[[], int],
    now: int,
) -> int:
    """Saves a segment; gives its id. Raises RejectedInput, and Conflict when the name is taken."""
    if not 0 < len(name.strip()) <= MAX_NAME:
        raise RejectedInput(f"must have 1 to {MAX_NAME} characters", where="name")
    parsed = predicates.parse(predicate)
    compile_predicate(connection, parsed, now=now)
    segment_id = new_id()
    made = connection.execute(
        text(
            "INSERT INTO segment (id, workspace_id, name, predicate, created_at, updated_at) "
            "VALUES (:id, :workspace, :name, :predicate, :now, :now) ON CONFLICT (workspace_id, name) DO NOTHING"
        ),
        {
            "id": segment_id,
            "workspace": workspace_id,
            "name": name.strip(),
            "predicate": msgspec.json.encode(predicates.to_data(parsed)).decode(),
            "now": now,
        },
    )
    if not made.rowcount:
        raise Conflict("there is a segment of this name already")
    return segment_id


def delete(connection: Connection, workspace_id: int, segment_id: int) -> None:
    """Forgets a segment; campaigns hold their own copy of a predicate. Raises NotFound."""
    gone = connection.execute(
        text("DELETE FROM segment WHERE workspace_id = :workspace AND id = :id"),
        {"workspace": workspace_id, "id": segment_id},
    )
    if not gone.rowcount:
        raise NotFound("there is no such segment")


def get(connection: Connection, workspace_id: int, segment_id: int) -> SegmentView:
    """One segment. Raises NotFound."""
    row = connection.execute(
        text(f"{_SELECT} WHERE workspace_id = :workspace AND id = :id"),
        {"workspace": workspace_id, "id": segment_id},
    ).one_or_none()
    if row is None:
        raise NotFound("there is no such segment")
    return _view(row)


def segments(
    connection: Connection, workspace_id: int, *, after: int = 0, limit: int = 100
) -> list[SegmentView]:
    """Segments in the order in which they were made, after an id."""
    rows = connection.execute(
        text(f"{_SELECT} WHERE workspace_id = :workspace AND id > :after ORDER BY id LIMIT :limit"),
        {"workspace": workspace_id, "after": after, "limit": limit},
    ).all()
    return [_view(row) for row in rows]


_SELECT = "SELECT id, name, predicate, created_at, updated_at FROM segment"


def _view(row: Any) -> SegmentView:
    return SegmentView(**{**row._mapping, "predicate": msgspec.json.decode(row.predicate)})
