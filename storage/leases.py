"""Leases: who owns a lane, a channel's outbox, a poller, the scheduler, a node number.

How several processes share the leases of a kind is `storage.sharing`.

A lease is a row (name, owner, fence, expiry). The expiry is by the database's clock, so that the clocks of several
machines need not agree. `take` gets what is free or expired and raises its fence; `renew` extends what is still ours
and tells what was lost. A writer that relies on a lease locks its row with (name, fence) in its own transaction
(`hold`): a takeover raises the fence and so waits for it, a renewal does not conflict.

A server that has a SQLite file to itself knows that every owner in it is gone: it frees all leases at its start
(`free_all`), so that one that was killed holds nobody up for half a minute. Node numbers stay taken for their time: a
clock that stepped back must not make the dead process's ids again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, text

from storage.database import DIALECTS, dialect
from storage.statements import bulk, bulk_values, json_rows, prepared, require

LEASE_MS = 30_000
RENEW_EVERY_S = LEASE_MS / 3000  # a third: two renewals may fail before the lease is lost

_NOW = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000.0 AS BIGINT)",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
}


def clock(connection: Connection) -> str:
    """The database's clock as an SQL expression, ms UTC."""
    return _NOW[connection.dialect.name]


def now(connection: Connection) -> int:
    """The database's clock, ms UTC."""
    return int(connection.execute(text(f"SELECT {clock(connection)}")).scalar_one())


def take(
    connection: Connection,
    names: Sequence[str],
    owner: str,
    *,
    limit: int | None = None,
    length_ms: int = LEASE_MS,
) -> dict[str, int]:
    """Takes up to `limit` of the named leases that are free, expired or already ours; gives name → fence."""
    if not names:
        return {}
    at = clock(connection)
    connection.execute(
        text(
            "INSERT INTO lease (name, workspace_id, fence, owner, expires_at) "
            "SELECT e.value ->> 'v', 0, 0, '', 0 FROM json_each(:names) e WHERE true ON CONFLICT DO NOTHING"
        ),
        {"names": bulk_values(sorted(names))},
    )
    skip = "FOR UPDATE SKIP LOCKED" if dialect(connection).name == "postgresql" else ""
    rows = connection.execute(
        text(
            f"UPDATE lease SET owner = :owner, fence = CASE WHEN owner = :owner THEN fence ELSE fence + 1 END, "
            f"expires_at = {at} + :length WHERE name IN ("
            f"SELECT name FROM lease WHERE name IN (SELECT e.value ->> 'v' FROM json_each(:names) e) "
            f"AND (owner = :owner OR expires_at < {at}) ORDER BY name LIMIT :limit {skip}) RETURNING name, fence"
        ),
        {"names": bulk_values(names), "owner": owner, "length": length_ms, "limit": limit or len(names)},
    ).all()
    return {row.name: row.fence for row in rows}


def renew(connection: Connection, held: dict[str, int], owner: str) -> dict[str, int]:
    """Extends the leases that are still ours; gives those, so that the caller lets go of the rest at once."""
    if not held:
        return {}
    rows = connection.execute(
        text(
            f"UPDATE lease SET expires_at = {clock(connection)} + :length "
            f"WHERE owner = :owner AND name IN ({_in_order(connection)}) RETURNING name, fence"
        ),
        {"names": bulk_values(held), "owner": owner, "length": LEASE_MS},
    ).all()
    return {row.name: row.fence for row in rows if held.get(row.name) == row.fence}


def _in_order(connection: Connection) -> str:
    """The rows of `:names`, locked by name: one process may renew, hand over and give back at the same time, and who
    locks in another order than the others waits for them in a circle."""
    return (
        "SELECT name FROM lease WHERE name IN (SELECT e.value ->> 'v' FROM json_each(:names) e) "
        f"ORDER BY name {dialect(connection).for_no_key_update}"
    )


def held(connection: Connection, names: Sequence[str]) -> int:
    """How many of the named leases somebody holds."""
    return int(
        connection.execute(
            text(
                f"SELECT count(*) FROM lease WHERE owner <> '' AND expires_at >= {clock(connection)} "
                "AND name IN (SELECT e.value ->> 'v' FROM json_each(:names) e)"
            ),
            {"names": bulk_values(names)},
        ).scalar_one()
    )


def release(connection: Connection, names: Sequence[str], owner: str) -> None:
    """Lets others have them at once."""
    connection.execute(
        text(
            "UPDATE lease SET owner = '', expires_at = 0 "
            f"WHERE owner = :owner AND name IN ({_in_order(connection)})"
        ),
        {"names": bulk_values(names), "owner": owner},
    )


def forget(connection: Connection, name: str) -> None:
    """Removes the row of a lease that nobody will ask for again."""
    connection.execute(text("DELETE FROM lease WHERE name = :name"), {"name": name})


def forget_expired(connection: Connection, pattern: str) -> None:
    """Removes expired rows of names that are made anew at each start; what somebody else just changes, stays."""
    skip = "FOR UPDATE SKIP LOCKED" if dialect(connection).name == "postgresql" else ""
    connection.execute(
        text(
            "DELETE FROM lease WHERE name IN (SELECT name FROM lease WHERE name LIKE :pattern "
            f"AND expires_at < {clock(connection)} {skip})"
        ),
        {"pattern": pattern},
    )


def free_all(connection: Connection) -> None:
    """Every lease but node numbers is free, jobs in hand too. Only for who has the database to themselves."""
    connection.execute(text("UPDATE lease SET owner = '', expires_at = 0 WHERE name NOT LIKE 'node:%'"))
    connection.execute(text("UPDATE job SET lease_until = 0 WHERE state = 0"))


def hold(connection: Connection, fences: Mapping[str, int]) -> set[str]:
    """Locks the lease rows until the transaction ends; gives the names whose fence is no longer ours."""
    statement = prepared(_STILL_HELD[dialect(connection).name])
    return fences.keys() - {row.name for row in connection.execute(statement, {"rows": _rows(fences)})}


def require_held(gathering: Connection, fences: Mapping[str, int]) -> None:
    """`hold` within what is gathered, on PostgreSQL: nothing of it counts when a fence is no longer ours."""
    require(gathering, prepared(_STILL_HELD["postgresql"]), {"rows": _rows(fences)}, rows=len(fences))


def _rows(fences: Mapping[str, int]) -> str:
    return bulk({"name": name, "fence": fence} for name, fence in fences.items())


_STILL_HELD = {
    name: f"SELECT l.name FROM ({json_rows({'name': 'TEXT', 'fence': 'BIGINT'})}) v "
    "JOIN lease l ON l.name = v.name AND l.fence = v.fence ORDER BY l.name "
    f"{kind.for_key_share and f'{kind.for_key_share} OF l'}"
    for name, kind in DIALECTS.items()
}
