"""PostgreSQL without SQLAlchemy's work per statement: the same `execute`, straight on asyncpg.

The counterpart of `storage.direct`: a textual statement runs as a prepared statement of the driver's, with its `:names`
as `$numbers`, and its result is read at once. A statement of a millisecond's work costs some 150 µs of CPU on this side
instead of 500. Everything else is the real connection's, and so are the transaction (begun with the first statement, as
SQLAlchemy's adapter does it), the prepared statements and what an error means for the pool.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import asyncpg
from sqlalchemy import Connection, TextClause
from sqlalchemy.util import await_only

from storage.direct import Rows, row_kind

STATEMENTS = 2_000  # texts kept with their numbered form; there are some hundred
_NAME = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")  # as SQLAlchemy reads `text()`
_ROWCOUNT = re.compile(r"(?:SELECT|UPDATE|DELETE|INSERT \d+) (\d+)")


class DirectPostgresqlConnection:
    """Stands in for a SQLAlchemy `Connection` over asyncpg, within its greenlet; `real` is that one."""

    __slots__ = ("_adapter", "dialect", "real")

    def __init__(self, real: Connection) -> None:
        self.real = real
        self._adapter: Any = real.connection.dbapi_connection
        self.dialect: Any = real.dialect

    def execute(self, statement: Any, parameters: Any = None, **options: Any) -> Any:
        """Runs a textual statement on the driver, any other on the real connection."""
        if type(statement) is not TextClause or options or isinstance(parameters, list):
            return self.real.execute(statement, parameters, **options)
        sql, names = numbered(statement.text)
        given = parameters or {}
        try:
            return await_only(self._fetch(sql, [given[name] for name in names]))
        except KeyError:
            raise  # a parameter is missing: a mistake of ours, no word of the database
        except Exception as error:
            self._explain(error, sql)
            raise

    async def _fetch(self, sql: str, values: Sequence[Any]) -> Rows:
        adapter = self._adapter
        if adapter._transaction is None:
            await adapter._start_transaction()
        prepared, attributes = await adapter._prepare(sql, self.dialect._invalidate_schema_cache_asof)
        records = await prepared.fetch(*values)
        counted = _ROWCOUNT.match(prepared.get_statusmsg() or "")
        rowcount = int(counted[1]) if counted else -1
        if not attributes:
            return Rows((), rowcount)
        kind = row_kind(sql, [attribute.name for attribute in attributes])
        return Rows(list(map(kind._make, records)), rowcount)

    def _explain(self, error: Exception, sql: str) -> None:
        """Raises the error as SQLAlchemy would, and lets go of the connection when it is dead."""
        if isinstance(error, asyncpg.InvalidCachedStatementError | asyncpg.InternalServerError):
            self.dialect._invalidate_schema_cache()  # every connection prepares its statements anew
        try:
            self._adapter._handle_exception(error)
        except Exception as translated:
            self.real._handle_dbapi_exception(translated, sql, None, None, None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@lru_cache(STATEMENTS)
def numbered(text: str) -> tuple[str, tuple[str, ...]]:
    """`SELECT :a, :b, :a` → (`SELECT $1, $2, $1`, (`a`, `b`)); `\\:` is a colon."""
    names: dict[str, int] = {}

    def number(matched: re.Match[str]) -> str:
        return f"${names.setdefault(matched[1], len(names) + 1)}"

    sql = _NAME.sub(number, text).replace("\\:", ":")
    return sql, tuple(names)
