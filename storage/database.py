"""One way to the database, for SQLite (`storage.sqlite`) and PostgreSQL (`storage.postgresql`) alike.

Every function that touches the store is synchronous and takes a SQLAlchemy `Connection`. `write(fn)` runs it in a
transaction and returns after the commit; `read(fn)` runs it on a reader. How statements are written, bulk ones above
all, is `storage.statements`; the few differences between the databases stand in `Dialect`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, make_url, text

from domain.errors import RejectedInput
from storage.durations import Durations

F = TypeVar("F")
T = TypeVar("T")
Work = Callable[[Connection], T]

READ_LIMIT_S = 5.0  # a reader that takes longer holds up checkpoints: it is interrupted


class Queue(StrEnum):
    """Who waits for the writer."""

    live = "live"
    people = "people"
    bulk = "bulk"


@dataclass(frozen=True)
class Dialect:
    """What differs between the databases, as SQL fragments."""

    name: str
    for_update: str  # locks the rows read, "" where the writer is alone
    for_no_key_update: str  # the same, and rows that are only held by their key stay held
    for_key_share: str
    greatest: str  # function names
    least: str
    hurried: str = "0"  # an expression: the commit of a single statement that selects it need not be durable

    def json_text(self, column: str, key_parameter: str) -> str:
        """The text of a top-level key of a JSON text column; the key is a bound parameter."""
        if self.name == "sqlite":
            return f"({column} ->> {key_parameter})"
        return f"(CAST({column} AS json) ->> {key_parameter})"


DIALECTS = {
    "sqlite": Dialect("sqlite", "", "", "", "max", "min"),
    "postgresql": Dialect(
        "postgresql",
        "FOR UPDATE",
        "FOR NO KEY UPDATE",
        "FOR KEY SHARE",
        "greatest",
        "least",
        "set_config('synchronous_commit', 'off', true)",
    ),
}


def dialect(connection: Connection) -> Dialect:
    """The fragments for this connection's database."""
    return DIALECTS[connection.dialect.name]


class Database(ABC):
    """The store of one process. `open` gives one; `close` ends its threads and connections."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.dialect = DIALECTS[url.get_backend_name()]
        self.commits = {queue: Durations() for queue in Queue}  # seconds that writing transactions took
        self.alone = False  # no other server may have the store: then leases cannot pass to somebody else

    @staticmethod
    async def open(url: str, *, exclusive: bool = False) -> Database:
        """Opens the database of a URL `sqlite:///file` or `postgresql+asyncpg://…`.

        `exclusive` (the server) refuses with Conflict when another server has the same SQLite file.
        """
        parsed = parse_url(url)
        if parsed.get_backend_name() == "sqlite":
            from storage.sqlite import SqliteDatabase

            return SqliteDatabase(parsed, exclusive=exclusive)
        from storage.postgresql import PostgresqlDatabase

        return await PostgresqlDatabase.connect(parsed)

    @abstractmethod
    async def write(
        self, work: Work[T], *, queue: Queue = Queue.people, durable: bool = True, single: bool = False
    ) -> T:
        """Runs `work` in a write transaction; returns its result after the commit, raises its error after the
        rollback. Raises Unavailable when the store cannot be reached or too many wait.

        `single`: `work` runs one textual statement and no other (RuntimeError), which PostgreSQL takes as the whole
        transaction, in one way there and back instead of three. What need not be durable says so itself there
        (`Dialect.hurried`)."""

    async def write_then(
        self, first: Work[F], then: Callable[[Connection, F], T], *, queue: Queue = Queue.live
    ) -> T | None:
        """Two transactions, the second directly after the first: `first`, which need not survive a power cut, and
        `then` with its result, which must. None, and no second one, when `first` gave nothing. Errors as of `write`."""
        found = await self.write(first, queue=queue, durable=False)
        if not found:
            return None
        return await self.write(lambda connection: then(connection, found), queue=queue)

    @abstractmethod
    async def read(self, work: Work[T]) -> T:
        """Runs `work` on a reader, which sees what was committed before."""

    @abstractmethod
    async def close(self) -> None:
        """Finishes what was handed over and closes all connections."""

    @abstractmethod
    def waiting(self) -> dict[str, int]:
        """How many functions wait, by queue."""


def parse_url(url: str) -> URL:
    """A database URL we can serve. Raises RejectedInput that says what is wrong."""
    where = "PASSAPAROLA_DATABASE_URL"
    try:
        parsed = make_url(url)
    except Exception as error:
        raise RejectedInput(
            "is not a database URL (sqlite:////path/file.sqlite3 or postgresql+asyncpg://user@host/name)",
            where=where,
        ) from error
    backend = parsed.get_backend_name()
    if backend == "sqlite" and parsed.database:
        return parsed.set(drivername="sqlite")
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+asyncpg")
    raise RejectedInput(
        f"{backend!r} is not served: use sqlite with a file, or postgresql+asyncpg", where=where
    )


def scalar_int(connection: Connection, sql: str, parameters: Mapping[str, Any] | None = None) -> int:
    """The single integer that a query gives (0 when it gives none)."""
    value = connection.execute(text(sql), parameters or {}).scalar()
    return int(value or 0)


def rows_of(connection: Connection, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
    """All rows of a query, as named tuples."""
    return connection.execute(text(sql), parameters or {}).all()
