"""How many contacts a predicate has, some of them, and all of them page by page."""

from __future__ import annotations

from sqlalchemy import Connection, text

from crm.segments.compiler import compile_predicate
from domain.predicates import Predicate


def count(connection: Connection, *, workspace_id: int, predicate: Predicate, now: int) -> int:
    """How many contacts of the workspace fulfil the predicate."""
    where = compile_predicate(connection, predicate, now=now)
    statement = text(f"SELECT count(*) FROM contact c WHERE c.workspace_id = :workspace_id AND {where.sql}")
    return int(connection.execute(statement, {"workspace_id": workspace_id, **where.parameters}).scalar_one())


def sample(
    connection: Connection, *, workspace_id: int, predicate: Predicate, now: int, limit: int = 10
) -> list[int]:
    """Ids of the newest contacts that fulfil it, newest first."""
    where = compile_predicate(connection, predicate, now=now)
    statement = text(
        f"SELECT c.id FROM contact c WHERE c.workspace_id = :workspace_id AND {where.sql} "
        "ORDER BY c.id DESC LIMIT :limit"
    )
    rows = connection.execute(statement, {"workspace_id": workspace_id, "limit": limit, **where.parameters})
    return [row[0] for row in rows]


def members(
    connection: Connection,
    *,
    workspace_id: int,
    predicate: Predicate,
    now: int,
    after: int = 0,
    limit: int = 1_000,
) -> list[int]:
    """Ids of contacts that fulfil it, ascending from after an id: the next page begins after the last of this one."""
    where = compile_predicate(connection, predicate, now=now)
    statement = text(
        "SELECT c.id FROM contact c WHERE c.workspace_id = :workspace_id AND c.id > :after "
        f"AND {where.sql} ORDER BY c.id LIMIT :limit"
    )
    parameters = {"workspace_id": workspace_id, "after": after, "limit": limit, **where.parameters}
    return [row[0] for row in connection.execute(statement, parameters)]
