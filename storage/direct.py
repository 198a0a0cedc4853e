"""SQLite without SQLAlchemy's work per statement: the same `execute`, straight on the driver.

SQLAlchemy spends some 35 µs on a textual statement that SQLite answers in 6; a conversation step has about forty. The
store hands its functions a `DirectConnection`: `execute(text(…), parameters)` runs on the driver's own cursor, and its
result has the part of SQLAlchemy's `Result` and `Row` that textual statements use. Everything else (Core and ORM
constructs, savepoints, the dialect) is the real connection's. Errors come as SQLAlchemy's, with hidden parameters.
The transaction is the real connection's, too: both speak over the same driver connection.
"""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, TextClause
from sqlalchemy.exc import DBAPIError, MultipleResultsFound, NoResultFound

KINDS = 2_000  # row types that are kept, by statement; there are some hundred statements

_kinds: dict[str, type[Any]] = {}


class DirectConnection:
    """Stands in for a SQLAlchemy `Connection` over SQLite; `real` is that one."""

    __slots__ = ("_driver", "dialect", "real")

    def __init__(self, real: Connection) -> None:
        self.real = real
        self._driver: sqlite3.Connection = real.connection.driver_connection  # type: ignore[assignment]
        self.dialect = real.dialect

    def execute(self, statement: Any, parameters: Any = None, **options: Any) -> Any:
        """Runs a textual statement on the driver, any other on the real connection."""
        if type(statement) is not TextClause or options or isinstance(parameters, list):
            return self.real.execute(statement, parameters, **options)
        sql = statement.text
        try:
            cursor = self._driver.execute(sql, parameters or {})
            if cursor.description is None:
                return Rows((), cursor.rowcount)
            kind = _kinds.get(sql)
            if kind is None or len(kind._fields) != len(cursor.description):
                kind = row_kind(sql, [column[0] for column in cursor.description])
            return Rows(list(map(kind._make, cursor)), cursor.rowcount)
        except sqlite3.Error as error:
            raise self._translated(sql, error) from error

    def repeat(self, sql: str, rows: Iterable[Mapping[str, Any] | Sequence[Any]]) -> int:
        """Runs a statement that gives nothing once for every row; how many rows they changed in all."""
        try:
            return self._driver.executemany(sql, rows).rowcount
        except sqlite3.Error as error:
            raise self._translated(sql, error) from error

    def _translated(self, sql: str, error: sqlite3.Error) -> BaseException:
        return DBAPIError.instance(
            sql, None, error, sqlite3.Error, hide_parameters=True, dialect=self.dialect
        )

    def run(self, sql: str) -> None:
        """Runs a statement about the transaction itself. Raises the driver's errors."""
        self._driver.execute(sql)

    @property
    def in_transaction(self) -> bool:
        """Whether the driver has a transaction open."""
        return self._driver.in_transaction

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class Rows:
    """What came of a statement: all rows, read at once, because another statement may follow on the same cursor."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: Any, rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def all(self) -> Any:
        """Every row."""
        return self._rows

    def first(self) -> Any:
        """The first row, or None."""
        return self._rows[0] if self._rows else None

    def one(self) -> Any:
        """The only row. Raises NoResultFound or MultipleResultsFound."""
        found = self.one_or_none()
        if found is None:
            raise NoResultFound("no row was found when one was required")
        return found

    def one_or_none(self) -> Any:
        """The only row, or None. Raises MultipleResultsFound."""
        if len(self._rows) > 1:
            raise MultipleResultsFound("several rows were found when one was required")
        return self.first()

    def scalar(self) -> Any:
        """The first column of the first row, or None."""
        return self._rows[0][0] if self._rows else None

    def scalar_one(self) -> Any:
        """The first column of the only row."""
        return self.one()[0]

    def scalars(self) -> Scalars:
        """The first column of every row."""
        return Scalars([row[0] for row in self._rows], -1)


class Scalars(Rows):
    """A column as a result."""

    __slots__ = ()

    def one(self) -> Any:
        """The only value."""
        if len(self._rows) != 1:
            raise NoResultFound("no value was found when one was required")
        return self._rows[0]


def row_kind(sql: str, names: Sequence[str]) -> type[Any]:
    """A tuple whose columns are attributes as well; columns without a usable name are reached by position."""
    known = _kinds.get(sql)
    if known is not None and len(known._fields) == len(names):  # a newer schema's `*` has more columns
        return known
    base = namedtuple("Row", names, rename=True)  # type: ignore[misc]

    class Row(base):
        __slots__ = ()

        @property
        def _mapping(self) -> Mapping[str, Any]:
            return dict(zip(names, self, strict=True))

    if len(_kinds) < KINDS:
        _kinds[sql] = Row
    return Row
