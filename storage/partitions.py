"""Months of intake and messages on PostgreSQL: partitions made ahead, and a default one that keeps what has none yet.

Theory of operation. Both tables are partitioned by id, which begins with the time. Their partitions lie side by side
without a gap: the first begins with the smallest id, each ends with a month (UTC), and what is later than the last
lies in `<table>_default`. A row therefore always finds a place, also when nobody made a partition in time.

A table is left whole, in its default partition, until that has `START_BYTES`: with every partition a statement that
finds rows by other things than their time takes a little longer (an update of 16 messages by id 0.25 ms in one
partition, 0.8 ms in four, 2.5 ms in 28), and what they are good for, taking old months away at once, only matters to
large tables.
From then on `advance`, one short transaction of the scheduler, called again as long as there is more, sees to it:

* the next month is made and attached while the default partition is small. Rows of that month which were written to
  the default partition move in the same transaction (`MOVE_BYTES` bounds how long that is).
* a large default partition (the first time, or after a scheduler that was away for months) is not copied: it
  *becomes* the next partition, up to the first month that ends at least `AHEAD_MS` from now. PostgreSQL wants to be
  sure of its rows first, which takes as long as reading them; so that nobody waits for it the bound is declared, then
  checked while all goes on, and only then the partition changes its name (three transactions). A bound that could not
  be checked in days (it took longer than the store lets anything take) is given up again before it refuses a row.

Nothing is detached or dropped here. Each statement waits `LOCK_TIMEOUT_MS` for its lock at most: while it waits,
messages wait behind it. Then the transaction fails with Conflict and the next tick tries again. SQLite has plain
tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, text

from domain.ids import first_id_at, made_at

TABLES = ("intake", "message")
MONTHS_AHEAD = 2  # besides the present one: a scheduler that is away for weeks leaves no gap
START_BYTES = 1 << 30  # two or three million messages
MOVE_BYTES = 64 << 20  # of a default partition that is read and moved at once: a second or two
AHEAD_MS = (
    8 * 86_400_000
)  # by which a declared bound lies ahead: were every scheduler to end before it is checked,
# rows past it would be refused; eight days without any scheduler is an installation that is switched off
LOCK_TIMEOUT_MS = 1_000
_LOCK = 7_290_412_226_002  # of PostgreSQL's advisory locks: any number that is only ours
_BOUND = "until_next_partition"  # the declared bound of a default partition

_NAME = re.compile(rf"({'|'.join(TABLES)})_(default|\d{{4}}_\d{{2}})")
_TO = re.compile(r"TO \('?(\d+)'?\)")


def is_partition(table: str) -> bool:
    """Whether a table's name is that of a partition: the models name their parents only."""
    return _NAME.fullmatch(table) is not None


@dataclass(frozen=True)
class Partitions:
    """What a table has: the id at which its last partition ends (None: it has none but the default one)."""

    table: str
    end: int | None
    names: tuple[str, ...]


def read(connection: Connection, table: str) -> Partitions:
    """The partitions of a table."""
    rows = connection.execute(
        text(
            "SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bound FROM pg_inherits i "
            "JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = CAST(:table AS regclass) ORDER BY c.relname"
        ),
        {"table": table},
    ).all()
    ends = [int(found[1]) for row in rows if (found := _TO.search(row.bound))]
    return Partitions(
        table, max(ends, default=None), tuple(row.name for row in rows if row.bound != "DEFAULT")
    )


def advance(connection: Connection, *, now: int) -> bool:
    """Makes the next partition that is missing, if any; true when there may be more to do. `now` in ms UTC."""
    if connection.dialect.name != "postgresql":
        return False
    connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
    connection.execute(
        text(f"SELECT pg_advisory_xact_lock({_LOCK})")
    )  # a scheduler that lost its lease may be here too
    for table in TABLES:
        found = read(connection, table)
        if _declared(connection, table) is not None or _wants_another(connection, found, now):
            _next(connection, found, now)
            return True
    return False


def missing(connection: Connection, *, now: int) -> bool:
    """Whether rows of this moment have no partition though their table has some: the scheduler is behind."""
    if connection.dialect.name != "postgresql":
        return False
    ends = [read(connection, table).end for table in TABLES]
    return any(end is not None and end <= first_id_at(now) for end in ends)


def _wants_another(connection: Connection, found: Partitions, now: int) -> bool:
    if found.end is None:
        return _size(connection, found.table) > START_BYTES
    return found.end < _wanted(now)


def _size(connection: Connection, table: str) -> int:
    """Bytes of a default partition, without its indexes."""
    return int(connection.execute(text(f"SELECT pg_relation_size('{table}_default')")).scalar_one())


def _wanted(now: int) -> int:
    """The id up to which partitions should reach: the end of the month that is MONTHS_AHEAD from this one."""
    months = _ends_of_months(now)
    return first_id_at([next(months) for _ in range(MONTHS_AHEAD + 1)][-1])


def _ends_of_months(since: int) -> Iterator[int]:
    """The ends of the month that holds `since` and of all later ones, ms UTC."""
    at = datetime.fromtimestamp(since / 1000, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while True:
        at = (at + timedelta(days=32)).replace(day=1)
        yield int(at.timestamp()) * 1000


def _next(connection: Connection, found: Partitions, now: int) -> None:
    if _size(connection, found.table) > MOVE_BYTES or _declared(connection, found.table) is not None:
        _become(connection, found, now)
    else:
        _attach(connection, found, now)


def _attach(connection: Connection, found: Partitions, now: int) -> None:
    """A new partition beside the default one, with the rows that belong to it."""
    since = now if found.end is None else made_at(found.end)
    end = first_id_at(next(_ends_of_months(since)))
    name = _name(found.table, end)
    # Nobody uses the table until it is attached; whoever wants to waits for the lock's end, not longer than a move. A
    # lock on the default partition alone would let a statement be planned without the new one: it would wait, and then
    # not find the rows that have moved.
    connection.execute(text(f"LOCK TABLE {found.table} IN ACCESS EXCLUSIVE MODE"))
    connection.execute(text(f"CREATE TABLE {name} (LIKE {found.table} INCLUDING ALL)"))
    connection.execute(
        text(
            f"WITH moved AS (DELETE FROM {found.table}_default WHERE id < {end} RETURNING *) "
            f"INSERT INTO {name} SELECT * FROM moved"
        )
    )
    connection.execute(
        text(f"ALTER TABLE {found.table} ATTACH PARTITION {name} FOR VALUES FROM ({_from(found)}) TO ({end})")
    )


def _become(connection: Connection, found: Partitions, now: int) -> None:
    """One of the three transactions by which the default partition becomes the next one, whichever is due."""
    default, declared = f"{found.table}_default", _declared(connection, found.table)
    if declared is not None and not declared.valid and declared.end < first_id_at(now + AHEAD_MS // 2):
        # It could not be checked for days: no row may be refused for it.
        connection.execute(text(f"ALTER TABLE {default} DROP CONSTRAINT {_BOUND}"))
    elif declared is None:
        # NOT VALID: rows from now on are held to it, those that are there are looked at later.
        latest = connection.execute(text(f"SELECT max(id) FROM {default}")).scalar() or 0
        ends = _ends_of_months(max(now + AHEAD_MS, made_at(latest)))
        end = first_id_at(next(ends))
        low = "" if found.end is None else f"id >= {found.end} AND "
        check = f"ADD CONSTRAINT {_BOUND} CHECK ({low}id < {end}) NOT VALID"
        connection.execute(text(f"ALTER TABLE {default} {check}"))
    elif not declared.valid:
        connection.execute(
            text("SET LOCAL statement_timeout = 0")
        )  # it reads every row, and nobody waits for it
        connection.execute(text(f"ALTER TABLE {default} VALIDATE CONSTRAINT {_BOUND}"))
    else:
        name = _name(found.table, declared.end)
        bounds = f"FROM ({_from(found)}) TO ({declared.end})"
        for statement in (
            f"ALTER TABLE {found.table} DETACH PARTITION {default}",
            f"ALTER TABLE {default} RENAME TO {name}",
            f"ALTER TABLE {found.table} ATTACH PARTITION {name} FOR VALUES {bounds}",
            f"ALTER TABLE {name} DROP CONSTRAINT {_BOUND}",
            f"CREATE TABLE {default} PARTITION OF {found.table} DEFAULT",
        ):
            connection.execute(text(statement))


@dataclass(frozen=True)
class _Declared:
    """The bound that a default partition was given: its rows are below `end`; `valid` when that was checked."""

    end: int
    valid: bool


def _declared(connection: Connection, table: str) -> _Declared | None:
    row = connection.execute(
        text(
            "SELECT pg_get_constraintdef(oid) AS definition, convalidated FROM pg_constraint "
            f"WHERE conrelid = CAST('{table}_default' AS regclass) AND conname = '{_BOUND}'"
        )
    ).first()
    if row is None:
        return None
    end = re.search(r"id < '?(\d+)", row.definition)
    assert end is not None, row.definition
    return _Declared(int(end[1]), row.convalidated)


def _from(found: Partitions) -> str:
    return "MINVALUE" if found.end is None else str(found.end)


def _name(table: str, end: int) -> str:
    """A partition bears the month in which it ends: `message_2027_01` ends with January."""
    return f"{table}_{datetime.fromtimestamp((made_at(end) - 1) / 1000, UTC):%Y_%m}"
