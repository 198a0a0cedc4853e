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
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from itertools import accumulate, pairwise, starmap
from operator import itemgetter
from typing import Any, cast

import msgspec
from sqlalchemy import Connection, TextClause, text
from sqlalchemy.exc import DBAPIError

from storage.database import DIALECTS, Dialect, dialect
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


Row = Mapping[str, Any] | tuple[Any, ...]


class _Each:
    """A statement that SQLite's driver repeats for every row; in `sql` `v.<column>` is the row's value and `:<name>`
    one that is the same for all. They are numbered: the driver finds a value by its place in half of the time that it
    needs to look it up by its name, 2.7 µs instead of 6.1 for thirty."""

    def __init__(self, sql: str, columns: Sequence[str]) -> None:
        used = [name for name in columns if name in _ROW_VALUE.findall(sql)]
        self._shared = tuple(dict.fromkeys(_NAME.findall(sql)))
        number = {name: str(n) for n, name in enumerate([*(f"v.{c}" for c in used), *self._shared], start=1)}
        numbered = _ROW_VALUE.sub(lambda found: f"?{number[found[0]]}", sql)
        self._sql = _NAME.sub(lambda found: f"?{number[found[1]]}", numbered)
        self._of_mapping = _picking(used)
        self._of_tuple = None if used == [*columns] else _picking([[*columns].index(name) for name in used])

    def __call__(self, connection: DirectConnection, rows: Sequence[Row], shared: Mapping[str, Any]) -> int:
        """How many rows of the table were written in all."""
        pick = self._of_tuple if isinstance(rows[0], tuple) else self._of_mapping
        values: Iterable[Any] = map(pick, rows) if pick else rows
        if self._shared:
            same = tuple([shared[name] for name in self._shared])
            values = [row + same for row in values]
        return connection.repeat(self._sql, values)


_ROW_VALUE = re.compile(r"\bv\.(\w+)")
_NAME = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")  # as SQLAlchemy reads `text()`


def _picking(keys: Sequence[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """What takes the values at these keys out of a row, in their order."""
    if len(keys) == 1:
        return lambda row: (row[keys[0]],)
    return cast(Callable[[Any], tuple[Any, ...]], itemgetter(*keys))


class _BulkWrite:
    """A write of rows with the named `columns`: mappings that have these and perhaps others, or tuples in their order.

    On PostgreSQL one statement over one JSON parameter; on SQLite the driver's own repetition, since making and reading
    JSON costs as much there as the write itself.
    """

    def __init__(self, columns: Mapping[str, str], *, each: str, at_once: Mapping[str, str]) -> None:
        self._each = _Each(each, [*columns])
        self._at_once = at_once
        self._of_mapping = _picking([*columns])

    def __call__(self, connection: Connection, rows: Sequence[Row], **shared: Any) -> None:
        """Writes all rows, or raises and has written none when the transaction is rolled back. `shared`: parameters
        that are the same for all."""
        if not rows:
            return
        if isinstance(connection, DirectConnection):
            self._each(connection, rows, shared)
        else:
            statement = prepared(self._at_once[connection.dialect.name])
            connection.execute(statement, {"rows": self._bulk(rows), **shared})

    def _bulk(self, rows: Sequence[Row]) -> str:
        """As `json_rows(…, listed=True)` reads it."""
        listed = rows if isinstance(rows[0], tuple) else map(self._of_mapping, rows)
        return _encode(dict(enumerate(listed))).decode()


class BulkInsert(_BulkWrite):
    """A bulk INSERT; `constants` are SQL that is the same in every row, in which `:<name>` is a shared parameter."""

    def __init__(
        self, table: str, columns: Mapping[str, str], *, constants: Mapping[str, str] | None = None
    ) -> None:
        fixed = constants or {}
        names = ", ".join([*columns, *fixed])
        values = ", ".join([*(f"v.{name}" for name in columns), *fixed.values()])
        insert = f"INSERT INTO {table} ({names})"
        at_once = f"{insert} {json_rows(columns, constants=constants, listed=True)}"
        super().__init__(
            columns, each=f"{insert} VALUES ({values})", at_once=dict.fromkeys(DIALECTS, at_once)
        )


class _KeyedWrite(_BulkWrite):
    """A bulk write of rows that are there, each found by its key: a given row writes one row of the table, or none."""

    def __init__(
        self,
        columns: Mapping[str, str],
        *,
        each: str,
        at_once: Mapping[str, str],
        returning: str,
        then: BulkUpdate | None = None,
    ) -> None:
        super().__init__(columns, each=each, at_once=at_once)
        self._counted = f"{at_once['postgresql']} RETURNING 1"
        self._found = {name: f"{sql} RETURNING {returning}" for name, sql in at_once.items()}
        self._then = then
        if then is not None:
            self._found["postgresql"] = (
                f"WITH found AS ({self._found['postgresql']}), "
                f"followed AS ({then._at_once['postgresql']} AND v.id IN (SELECT id FROM found)) "
                "SELECT * FROM found"
            )

    def expect(self, connection: Connection, rows: Sequence[Row], **shared: Any) -> bool:
        """Writes rows of which every one is to be found. False when one was not and that is known at once, and the
        transaction is to be rolled back; where writes are `gathered`, `send` tells."""
        if not rows:
            return True
        if isinstance(connection, DirectConnection):
            return self._each(connection, rows, shared) == len(rows)
        counted, given = prepared(self._counted), {"rows": self._bulk(rows), **shared}
        if isinstance(connection, Gathering):
            connection.execute(counted, given, expected=len(rows))
            return True
        return len(connection.execute(counted, given).all()) == len(rows)

    def found(
        self,
        connection: Connection,
        rows: Sequence[tuple[Any, ...]],
        *,
        known: Sequence[Any] | None,
        **shared: Any,
    ) -> Sequence[Any]:
        """Writes the rows that are found, and gives `returning` of each. `known`: the same of all that are given, where
        the caller has it: if every one was found, as nearly always, it is the answer on SQLite, and nothing is read."""
        if not rows:
            return []
        if not isinstance(connection, DirectConnection):
            statement = prepared(self._found[connection.dialect.name])
            return connection.execute(statement, {"rows": self._bulk(rows), **shared}).all()
        if known is None or not self._every_one(connection, rows, shared):
            statement = prepared(self._found["sqlite"])
            known = connection.execute(statement, {"rows": self._bulk(rows), **shared}).all()
            if self._then is not None:
                written = {row.id for row in known}
                rows = [row for row in rows if row[0] in written]
        if self._then is not None:
            self._then(connection, rows)
        return known

    def _every_one(
        self, connection: DirectConnection, rows: Sequence[Row], shared: Mapping[str, Any]
    ) -> bool:
        """Whether all were found; none is written when not."""
        if len(rows) == 1:
            return self._each(connection, rows, shared) == 1
        connection.run("SAVEPOINT every_one")
        found = self._each(connection, rows, shared) == len(rows)
        if not found:
            connection.run("ROLLBACK TO every_one")
        connection.run("RELEASE every_one")
        return found


class BulkUpdate(_KeyedWrite):
    """A bulk UPDATE. `sets` and `where` are SQL in which `v.<column>` is the given row's value: `BulkUpdate("contact",
    {"id": "BIGINT", "name": "TEXT"}, sets="name = v.name", where="contact.id = v.id")`."""

    def __init__(
        self,
        table: str,
        columns: Mapping[str, str],
        *,
        sets: str,
        where: str,
        ordered: Sequence[str] = (),
        returning: Sequence[str] = (),
    ) -> None:
        """`ordered`: by these columns the rows are locked first where others write at the same time. `returning`: the
        columns of `found`."""
        given = json_rows(columns, listed=True)
        locked = f"SELECT v.* FROM ({given}) v JOIN {table} ON {where}"
        super().__init__(
            columns,
            each=f"UPDATE {table} SET {sets} WHERE {where}",
            at_once={
                name: f"UPDATE {table} SET {sets} FROM "
                f"({locked + lock if (lock := _in_order(table, ordered, kind)) else given}) v WHERE {where}"
                for name, kind in DIALECTS.items()
            },
            returning=", ".join(f"{table}.{name}" for name in returning),
        )


class BulkAdd(_KeyedWrite):
    """A bulk INSERT of rows whose key may be there already: such a row is left as it is. `found` gives the new ones."""

    def __init__(self, table: str, columns: Mapping[str, str], *, returning: Sequence[str]) -> None:
        insert = f"INSERT INTO {table} ({', '.join(columns)})"
        values = ", ".join(f"v.{name}" for name in columns)
        at_once = f"{insert} {json_rows(columns, listed=True)} WHERE true ON CONFLICT DO NOTHING"
        super().__init__(
            columns,
            each=f"{insert} VALUES ({values}) ON CONFLICT DO NOTHING",
            at_once=dict.fromkeys(DIALECTS, at_once),
            returning=", ".join(returning),
        )


class BulkDelete(_KeyedWrite):
    """A bulk DELETE of rows whose key is `id`, with `columns` and `where` as of `BulkUpdate`; rows are locked by their
    id first where others write at the same time. `then`: an update over the same rows, whose first column is the id, of
    what was found; where a statement is a way to a server and back, it is part of this one."""

    def __init__(
        self,
        table: str,
        columns: Mapping[str, str],
        *,
        where: str,
        returning: Sequence[str],
        then: BulkUpdate | None = None,
    ) -> None:
        chosen = f"SELECT {table}.id FROM ({json_rows(columns, listed=True)}) v JOIN {table} ON {where}"
        super().__init__(
            columns,
            each=f"DELETE FROM {table} WHERE {where}",
            at_once={
                name: f"DELETE FROM {table} WHERE id IN ({chosen}{_in_order(table, ['id'], kind)})"
                for name, kind in DIALECTS.items()
            },
            returning=", ".join(f"{table}.{name}" for name in returning),
            then=then,
        )


def _in_order(table: str, columns: Sequence[str], kind: Dialect) -> str:
    if not (columns and kind.for_update):
        return ""
    return f" ORDER BY {', '.join(f'{table}.{name}' for name in columns)} {kind.for_update} OF {table}"


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
        own = _NAME.sub(rf":\1_{number}", sql)
        parts.append(f"w{number} AS ({own})")
    counts = [f"(SELECT count(*) FROM w{number})" for number, asked in enumerate(counted) if asked]
    if alone and counts:
        met = " AND ".join(f"{count} = CAST(:expected_{n} AS BIGINT)" for n, count in enumerate(counts))
        return text(f"WITH {', '.join(parts)} SELECT 1 / CASE WHEN {met} THEN 1 ELSE 0 END")
    return text(f"WITH {', '.join(parts)} SELECT {', '.join(['1', *counts])}")
