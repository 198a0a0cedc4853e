"""How SQL is written here: statements that are parsed once, and bulk ones that have one text for both databases.

Bulk statements take one parameter, a JSON *object* made by `bulk`; columns are cast, the parameter never (an array
fails on PostgreSQL, a cast parameter gives silent NULLs on SQLite). What differs between the databases is
`storage.database.Dialect`.

Bulk writes that follow one another are `gathered` into one statement where each of them is a way to a server and back.

Where a condition on `workspace_id` is written `+x.workspace_id`, the plus keeps SQLite, which has no statistics, from
walking an index that begins with the workspace in place of the key that names the row; both databases take it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from itertools import accumulate, pairwise, starmap
from typing import Any, cast

import msgspec
from sqlalchemy import Connection, TextClause, text
from sqlalchemy.exc import DBAPIError

from storage.database import dialect


@cache
def prepared(sql: str) -> TextClause:
    """The statement of a constant SQL text, parsed once: on the message path the parsing of bound names costs as much
    as a small query. Only for texts that are written down in the code."""
    return text(sql)


BOUND = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")  # a parameter's name, as SQLAlchemy reads `text()`

_encode = msgspec.json.Encoder().encode


def bulk(rows: Iterable[Mapping[str, Any] | msgspec.Struct]) -> str:
    """The one parameter of a bulk statement: a JSON object `{"0": row, "1": row, …}`, in the order of the rows."""
    return _encode({str(n): row for n, row in enumerate(rows)}).decode()


def bulk_values(values: Iterable[int | str]) -> str:
    """A bulk parameter of single values; read them as `e.value ->> 'v'`."""
    return bulk({"v": value} for value in values)


def bulk_keyed(rows: Mapping[int, Any]) -> str:
    """A bulk parameter whose keys say something themselves; read them as `CAST(e.key AS BIGINT)`. The values are short
    lists, of which `e.value ->> 0` is the first."""
    return _encode(rows).decode()


def json_rows(
    columns: Mapping[str, str],
    *,
    parameter: str = "rows",
    alias: str = "e",
    constants: Mapping[str, str] | None = None,
    listed: bool = False,
) -> str:
    """`SELECT`-able columns over a bulk parameter: `json_rows({"id": "BIGINT", "name": "TEXT"})` selects
    `CAST(e.value ->> 'id' AS BIGINT) AS id, e.value ->> 'name' AS name` from what `json_each(:rows)` gives.
    `constants` are further columns, the same SQL literal in every row. `listed`: the rows are no objects but lists of
    the values in the order of `columns`.

    MATERIALIZED, because SQLite writes a row's JSON anew for each mention of `value`: with twenty columns that is
    most of a bulk insert."""
    values = {
        name: f"{alias}.value ->> {position}" if listed else f"{alias}.value ->> '{name}'"
        for position, name in enumerate(columns)
    }
    parts = [
        f"{values[name]} AS {name}" if kind == "TEXT" else f"CAST({values[name]} AS {kind}) AS {name}"
        for name, kind in columns.items()
    ]
    parts += [f"{literal} AS {name}" for name, literal in (constants or {}).items()]
    rows = f"WITH {alias} AS MATERIALIZED (SELECT {alias}.value FROM json_each(:{parameter}) {alias})"
    return f"{rows} SELECT {', '.join(parts)} FROM {alias}"


def side_by_side(*parts: Sequence[str]) -> tuple[str, list[slice]]:
    """Several things in one row: all their columns for a SELECT, and where in the row each of the things is."""
    ends = [0, *accumulate(len(part) for part in parts)]
    return ", ".join(column for part in parts for column in part), list(starmap(slice, pairwise(ends)))


def insert_rows(
    table: str, columns: Mapping[str, str], *, constants: Mapping[str, str] | None = None, conflict: str = ""
) -> str:
    """A bulk INSERT of `:rows` into `table`; `constants` as in `json_rows`: less JSON to carry. `conflict` e.g.
    `ON CONFLICT DO NOTHING`; the `WHERE true` keeps SQLite from reading it as a join's ON."""
    names = ", ".join([*columns, *(constants or {})])
    return f"INSERT INTO {table} ({names}) {json_rows(columns, constants=constants)} WHERE true {conflict}".rstrip()


def apart(connection: Connection) -> Connection:
    """What runs statements before the transaction begins, each by itself, where BEGIN and COMMIT are ways to a server
    and back: what one reads may be changed before the next, what one writes is committed. Within a transaction that
    has begun, and on SQLite, they are part of it."""
    found = getattr(connection, "apart", None)
    return connection if found is None else cast(Connection, found)


def begun(connection: Connection) -> bool:
    """Whether the transaction has begun; true on SQLite, where it begins before its first statement."""
    return bool(getattr(connection, "begun", True))


COMBINATIONS = 500  # of statements that are kept as one; a worker's flush has some dozens


def gathered(connection: Connection) -> Connection:
    """What takes writes whose results nobody needs, until `send`: on PostgreSQL they become one statement, on SQLite
    they run at once, as a statement costs little there.

    They must not depend on one another: all of them see the rows as they were before the first, no row may be written
    by two of them, and foreign keys are looked at after the last.
    """
    return cast(Connection, Gathering(connection)) if dialect(connection).for_update else connection


def require(
    gathering: Connection, statement: TextClause, parameters: Mapping[str, Any], *, rows: int
) -> None:
    """Gathers a statement that must give so many rows, on PostgreSQL; `send` tells whether it did."""
    cast(Any, gathering).execute(statement, parameters, expected=rows)


def send(gathering: Connection, *, last: bool = False) -> bool:
    """Runs what was gathered; false when a `BulkUpdate.expect` wrote another number of rows than it should: then the
    transaction is to be rolled back. `last`: nothing follows, so where nothing came before it, it is the transaction,
    and false says that it has written nothing."""
    return gathering.send(last=last) if isinstance(gathering, Gathering) else True


class Gathering:
    """See `gathered`: data-modifying parts of one statement, each with its own parameters."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._texts: list[str] = []
        self._counted: list[bool] = []
        self._expected: list[int] = []
        self._values: dict[str, Any] = {}

    @property
    def dialect(self) -> Any:
        """The connection's."""
        return self._connection.dialect

    def execute(
        self, statement: TextClause, parameters: Mapping[str, Any] | None = None, *, expected: int = -1
    ) -> None:
        """Keeps a write for `send`. `expected`: how many rows it must give."""
        number = len(self._texts)
        self._texts.append(statement.text)
        self._counted.append(expected >= 0)
        if expected >= 0:
            self._expected.append(expected)
        for name, value in (parameters or {}).items():
            self._values[f"{name}_{number}"] = value

    def send(self, *, last: bool) -> bool:
        """One statement for all; whether each gave as many rows as expected."""
        if not self._texts:
            return True
        if last and not begun(self._connection):
            return self._send_alone()
        statement = _combined(tuple(self._texts), tuple(self._counted))
        found = self._connection.execute(statement, self._values).one()
        return list(found)[1:] == self._expected

    def _send_alone(self) -> bool:
        statement = _combined(tuple(self._texts), tuple(self._counted), alone=True)
        values = {f"expected_{n}": count for n, count in enumerate(self._expected)}
        try:
            apart(self._connection).execute(statement, {**self._values, **values})
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", "") != _DIVIDED_BY_ZERO:
                raise
            return False
        return True


_DIVIDED_BY_ZERO = "22012"


@lru_cache(COMBINATIONS)
def _combined(texts: tuple[str, ...], counted: tuple[bool, ...], *, alone: bool = False) -> TextClause:
    """`WITH w0 AS (…), w1 AS (…) SELECT 1, (SELECT count(*) FROM w0)`: every part runs, also what is not counted.
    `alone`: as nobody could roll it back, it divides by zero itself where a count is not `:expected_<n>`."""
    parts = []
    for number, sql in enumerate(texts):
        own = BOUND.sub(rf":\1_{number}", sql)
        parts.append(f"w{number} AS ({own})")
    counts = [f"(SELECT count(*) FROM w{number})" for number, asked in enumerate(counted) if asked]
    if alone and counts:
        met = " AND ".join(f"{count} = CAST(:expected_{n} AS BIGINT)" for n, count in enumerate(counts))
        return text(f"WITH {', '.join(parts)} SELECT 1 / CASE WHEN {met} THEN 1 ELSE 0 END")
    return text(f"WITH {', '.join(parts)} SELECT {', '.join(['1', *counts])}")
