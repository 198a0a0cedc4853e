"""PostgreSQL without SQLAlchemy's work per statement: the same `execute`, straight on asyncpg.

The counterpart of `storage.direct`: a textual statement runs as a prepared statement of the driver's, with its `:names`
as `$numbers`, and its result is read at once. A statement of a millisecond's work costs some 150 µs of CPU on this side
instead of 500. The connection is one of SQLAlchemy's pool, with the statements that it has prepared; SQLAlchemy's own
`Connection` over it (`real`) is made for what only that can do: other statements, rolling back, saying what an error
means for the pool. The transaction begins with the first statement, as with SQLAlchemy's adapter, in a word with how
durable it is; where each statement may stand alone (`Begin.never`, `Begin.single`, `apart`) the two ways for BEGIN and
COMMIT are spared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import lru_cache
from types import TracebackType
from typing import Any

import asyncpg
from sqlalchemy import Connection, Engine, PoolProxiedConnection, RootTransaction, TextClause
from sqlalchemy.util import await_only

from storage.direct import Rows, row_kind

STATEMENTS = 2_000  # texts kept with their numbered form; there are some hundred
_NAME = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")  # as SQLAlchemy reads `text()`
_ROWCOUNT = re.compile(r"(?:SELECT|UPDATE|DELETE|INSERT \d+) (\d+)")


class Begin(Enum):
    """What the first statement begins with. `never`: every statement sees what was committed before it and is one
    transaction (reads). `single`: there is only one statement, and it is the transaction."""

    durable = "BEGIN"
    hurried = "BEGIN; SET LOCAL synchronous_commit = off"
    never = ""
    single = " "


class DirectPostgresqlConnection:
    """One transaction on a pooled asyncpg connection, within its greenlet, in place of a SQLAlchemy `Connection`: left
    as a context it is committed, or rolled back by an error, and the connection given back."""

    __slots__ = ("_adapter", "_begin", "_engine", "_pooled", "_ran", "_real", "_transaction", "dialect")

    def __init__(self, engine: Engine, pooled: PoolProxiedConnection, begin: Begin) -> None:
        self._engine = engine
        self._pooled = pooled
        self._adapter: Any = pooled.dbapi_connection
        self._begin = begin
        self._ran = False
        self._real: Connection | None = None
        self._transaction: RootTransaction | None = None
        self.dialect: Any = engine.dialect

    def __enter__(self) -> DirectPostgresqlConnection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        last = error
        try:
            if error is None and self._real is None:
                self._commit()
            elif error is None or isinstance(error, Exception):
                self.real  # noqa: B018 (rolled back as SQLAlchemy does it, with its connection)
                assert self._transaction is not None
                self._transaction.__exit__(kind, error, trace)
        except BaseException as failure:
            last = failure
            raise
        finally:
            if last is None or isinstance(last, Exception):
                (self._real or self._pooled).close()
            else:  # cancelled in the middle: nobody knows where the connection stands
                self._pooled.invalidate()

    @property
    def real(self) -> Connection:
        """SQLAlchemy's connection, in the same transaction."""
        if self._real is None:
            self._real = Connection(self._engine, connection=self._pooled)
            self._transaction = self._real.begin()
        return self._real

    def execute(self, statement: Any, parameters: Any = None, **options: Any) -> Any:
        """Runs a textual statement on the driver, any other on the real connection."""
        if type(statement) is not TextClause or options or isinstance(parameters, list):
            if self._begin is Begin.single:
                raise RuntimeError("a single statement is a textual one")
            if self._begin is Begin.hurried and self._adapter._transaction is None:
                await_only(self._start())
            return self.real.execute(statement, parameters, **options)
        if self._begin is Begin.single and self._ran:
            raise RuntimeError(
                "a second statement where there was to be a single one: nothing holds them together"
            )
        return self._run(statement, parameters or {}, begins=self._begin in _BEGUN)

    def _run(self, statement: TextClause, given: Mapping[str, Any], *, begins: bool) -> Rows:
        sql, names = numbered(statement.text)
        try:
            return await_only(self._fetch(sql, [given[name] for name in names], begins))
        except KeyError:
            raise  # a parameter is missing: a mistake of ours, no word of the database
        except Exception as error:
            self._explain(error, sql)
            raise

    async def _fetch(self, sql: str, values: Sequence[Any], begins: bool) -> Rows:
        adapter = self._adapter
        if begins and adapter._transaction is None:
            await self._start()
        self._ran = True
        prepared, attributes = await adapter._prepare(sql, self.dialect._invalidate_schema_cache_asof)
        records = await prepared.fetch(*values)
        counted = _ROWCOUNT.match(prepared.get_statusmsg() or "")
        rowcount = int(counted[1]) if counted else -1
        if not attributes:
            return Rows((), rowcount)
        kind = row_kind(sql, [attribute.name for attribute in attributes])
        return Rows(list(map(kind._make, records)), rowcount)

    async def _start(self) -> None:
        driver = self._adapter._connection
        self._adapter._transaction = _Transaction(
            driver
        )  # first: what is cut off here is rolled back as well
        await driver.execute(self._begin.value)

    @property
    def begun(self) -> bool:
        """Whether the transaction has begun."""
        return self._adapter._transaction is not None

    @property
    def apart(self) -> Apart:
        """See `storage.statements.apart`."""
        return Apart(self)

    def _commit(self) -> None:
        try:
            self._adapter.commit()
        except Exception as error:
            self.real._handle_dbapi_exception(error, None, None, None, None)

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


class Apart:
    """See `storage.statements.apart`."""

    __slots__ = ("_connection", "dialect")

    def __init__(self, connection: DirectPostgresqlConnection) -> None:
        self._connection = connection
        self.dialect = connection.dialect

    def execute(self, statement: TextClause, parameters: Mapping[str, Any] | None = None) -> Rows:
        """Runs a textual statement, which begins no transaction."""
        return self._connection._run(statement, parameters or {}, begins=False)


_BEGUN = (Begin.durable, Begin.hurried)


class _Transaction:
    """A transaction that `_start` has begun, as the adapter ends it."""

    __slots__ = ("_driver",)

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    async def commit(self) -> None:
        """Makes it last."""
        await self._driver.execute("COMMIT")

    async def rollback(self) -> None:
        """Undoes it."""
        await self._driver.execute("ROLLBACK")


@lru_cache(STATEMENTS)
def numbered(text: str) -> tuple[str, tuple[str, ...]]:
    """`SELECT :a, :b, :a` → (`SELECT $1, $2, $1`, (`a`, `b`)); `\\:` is a colon."""
    names: dict[str, int] = {}

    def number(matched: re.Match[str]) -> str:
        return f"${names.setdefault(matched[1], len(names) + 1)}"

    sql = _NAME.sub(number, text).replace("\\:", ":")
    return sql, tuple(names)
