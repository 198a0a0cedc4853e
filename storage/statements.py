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
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from itertools import accumulate, pairwise, starmap
from operator import itemgetter
from typing import Any, cast

import msgspec
from sqlalchemy import Connection, TextClause, text
from sqlalchemy.exc import DBAPIError

from storage.database import dialect
from storage.direct import DirectConnection


@cache
def prepared(sql: str) -> TextClause:
    """The statement of a constant SQL text, parsed once: on the message path the parsing of bound names costs as much
    as a small query. Only for texts that are written down in the code."""
    return text(sql)


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
) -> str:
    """`SELECT`-able columns over a bulk parameter: `json_rows({"id": "BIGINT", "name": "TEXT"})` selects
    `CAST(e.value ->> 'id' AS BIGINT) AS id, e.value ->> 'name' AS name` from what `json_each(:rows)` gives.
    `constants` are further columns, the same SQL literal in every row.

    MATERIALIZED, because SQLite writes a row's JSON anew for each mention of `value`: with twenty columns that is
    most of a bulk insert."""
    parts = [
        f"{alias}.value ->> '{name}' AS {name}"
        if kind == "TEXT"
        else f"CAST({alias}.value ->> '{name}' AS {kind}) AS {name}"
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


def in_order(columns: Collection[str]) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    """Takes the values of these columns out of a row. The driver finds a value by its place in half of the time that it
    needs to look it up by its name: 2.7 µs instead of 6.1 for thirty."""
    if len(columns) == 1:
        (only,) = columns
        return lambda row: (row[only],)
    values: Callable[[Mapping[str, Any]], Sequence[Any]] = itemgetter(*columns)
    return values


class BulkInsert:
    """A bulk INSERT of rows as mappings with the named `columns`; `constants` are the same literal in every row.

    On PostgreSQL one statement over one JSON parameter; on SQLite the driver's own repetition, since making and reading
    JSON costs as much there as the insert itself.
    """

    def __init__(
        self, table: str, columns: Mapping[str, str], *, constants: Mapping[str, str] | None = None
    ) -> None:
        fixed = constants or {}
        names = ", ".join([*columns, *fixed])
        values = ", ".join([*("?" for _ in columns), *fixed.values()])
        self._each = f"INSERT INTO {table} ({names}) VALUES ({values})"
        self._values = in_order(columns)
        self._at_once = text(insert_rows(table, columns, constants=constants))

    def __call__(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes all rows, or raises and has written none when the transaction is rolled back."""
        if not rows:
            return
        if isinstance(connection, DirectConnection):
            connection.repeat(self._each, map(self._values, rows))
        else:
            connection.execute(self._at_once, {"rows": bulk(rows)})


class BulkUpdate:
    """A bulk UPDATE of rows as mappings with the named `columns`, each row found by its key.

    `sets` and `where` are SQL in which `v.<column>` is the given row's value: `BulkUpdate("contact", {"id": "BIGINT",
    "name": "TEXT"}, sets="name = v.name", where="contact.id = v.id")`. On PostgreSQL one statement over one JSON
    parameter; on SQLite the driver's own repetition, as in `BulkInsert`: half of the time.
    """

    def __init__(
        self, table: str, columns: Mapping[str, str], *, sets: str, where: str, ordered: bool = False
    ) -> None:
        """`ordered`: where others write at the same time, the rows are locked in ascending id first."""
        given = json_rows(columns)
        if ordered:
            given = f"SELECT v.* FROM ({given}) v JOIN {table} ON {where} ORDER BY {table}.id FOR UPDATE OF {table}"
        self._at_once = text(f"UPDATE {table} SET {sets} FROM ({given}) v WHERE {where}")
        self._counted = text(f"{self._at_once.text} RETURNING 1")
        number = {name: n for n, name in enumerate(columns, 1)}
        one = f"UPDATE {table} SET {sets} WHERE {where}"
        self._each = _ROW_VALUE.sub(lambda found: f"?{number[found[1]]}", one)
        self._named = _ROW_VALUE.sub(r":\1", one)
        self._values = in_order(columns)

    def __call__(self, connection: Connection, rows: Sequence[Mapping[str, Any]], **shared: Any) -> None:
        """Writes all rows, or raises and has written none when the transaction is rolled back. `shared`: parameters
        that are the same for all."""
        if not rows:
            return
        if isinstance(connection, DirectConnection):
            if shared:
                connection.repeat(self._named, [{**row, **shared} for row in rows])
            else:
                connection.repeat(self._each, map(self._values, rows))
        else:
            connection.execute(self._at_once, {"rows": bulk(rows), **shared})

    def expect(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> bool:
        """The same, where every row is to be found. False when one was not and that is known at once; where writes are
        `gathered`, `send` tells."""
        if not rows:
            return True
        if isinstance(connection, DirectConnection):
            return connection.repeat(self._each, map(self._values, rows)) == len(rows)
        if isinstance(connection, Gathering):
            connection.execute(self._counted, {"rows": bulk(rows)}, expected=len(rows))
            return True
        return len(connection.execute(self._counted, {"rows": bulk(rows)}).all()) == len(rows)


_ROW_VALUE = re.compile(r"\bv\.(\w+)")


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


_NAME = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")  # as SQLAlchemy reads `text()`


_DIVIDED_BY_ZERO = "22012"


@lru_cache(COMBINATIONS)
def _combined(texts: tuple[str, ...], counted: tuple[bool, ...], *, alone: bool = False) -> TextClause:
    """`WITH w0 AS (…), w1 AS (…) SELECT 1, (SELECT count(*) FROM w0)`: every part runs, also what is not counted.
    `alone`: as nobody could roll it back, it divides by zero itself where a count is not `:expected_<n>`."""
    parts = []
    for number, sql in enumerate(texts):
        own = _NAME.sub(rf":\1_{number}", sql)
        parts.append(f"w{number} AS ({own})")
    counts = [f"(SELECT count(*) FROM w{number})" for number, asked in enumerate(counted) if asked]
    if alone and counts:
        met = " AND ".join(f"{count} = CAST(:expected_{n} AS BIGINT)" for n, count in enumerate(counts))
        return text(f"WITH {', '.join(parts)} SELECT 1 / CASE WHEN {met} THEN 1 ELSE 0 END")
    return text(f"WITH {', '.join(parts)} SELECT {', '.join(['1', *counts])}")
