"""The PostgreSQL side of `storage.database`: pooled asyncpg connections, functions run in a greenlet of their own.

Theory of operation. A server that is away must cost its callers little time, and a connection that died must not cost
a caller anything if that can be known before its first statement:

  checkout   a pooled connection that the server has closed meanwhile (a restart, a failover) is replaced unasked;
             when one turns out dead in use, all that are older go with it
  away       after a failed attempt to connect the next one waits a moment, drawn at random so that many processes do
             not come back in step; whoever asks meanwhile is told at once
  limits     to connect, to wait for a free connection, and for each transaction as a whole, kept by this side: a
             network that swallows packets answers nothing, also not to the server's own time-outs. Past the limit the
             connection is dropped, which ends whatever waits on it

A transaction that ends in `Unavailable` was not applied, or was applied and only its word got lost: every caller must
be able to ask again (duplicates are dropped, versions and attempts are compared).
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, cast

import asyncpg
from sqlalchemy import URL, Connection, PoolProxiedConnection, event
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import greenlet_spawn

from domain.errors import Conflict, Unavailable
from storage.database import READ_LIMIT_S, Database, Queue, T, Work
from storage.direct_postgresql import Begin, DirectPostgresqlConnection
from storage.durations import Durations

POOL = (
    10  # PostgreSQL connections a process; 100 is the usual limit of a server: 8 processes, and 20 for others
)
STATEMENT_TIMEOUT_MS = (
    12_000  # below half a lease (30 s), so that a stuck owner cannot outlive its lease unseen
)
IDLE_TIMEOUT_MS = 12_000
CONNECT_TIMEOUT_S = 2.0  # a healthy server answers in milliseconds, also across a continent
POOL_TIMEOUT_S = 2.0
RESERVED = 3  # connections that only the live queue may take: slow pages never keep a webhook from its commit
# A transaction as a whole. Live ones take milliseconds; others hold at most 1,000 rows, and end within a lease.
LIMIT_S = {Queue.live: 5.0, Queue.people: 25.0, Queue.bulk: 25.0}
TRANSACTION_TIMEOUT_MS = int(max(LIMIT_S.values()) * 1000)  # by the server; within a lease (30 s)
AGAIN_S = (0.1, 0.5)  # between attempts to connect, drawn at random
CLOSE_S = 5.0  # for a goodbye that nobody may answer
# The kernel's own look at idle connections: a path that is gone is noticed within half a minute, before it is needed.
KEEPALIVE = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 10_000))

# SQLSTATE classes in which the transaction was not applied and may be tried again by its owner.
_CONFLICTS = {"40001", "40P01", "23505", "55P03"}
_REFUSED = ("28", "3D")  # wrong user or password, no such database: somebody may be setting it up just now
_AWAY = (
    "08",
    "53",
    "57",
    "58",
)  # connection, resources (disk full 53100), operator intervention, system error


class PostgresqlDatabase(Database):
    """One pool; reads and writes differ only in their limits and in what they say to the server."""

    def __init__(self, url: URL, engine: AsyncEngine, chance: Callable[[float, float], float]) -> None:
        super().__init__(url)
        self._engine = engine
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._others = asyncio.Semaphore(POOL - RESERVED)
        self._again_at = 0.0  # monotonic time before which nobody tries to connect
        self._running = 0

    @staticmethod
    async def connect(
        url: URL, *, chance: Callable[[float, float], float] = random.uniform
    ) -> PostgresqlDatabase:
        """An open pool; no connection is made yet. `chance(a, b)` draws the pauses between attempts to connect."""
        settings = {
            "jit": "off",  # our statements are short; compiling them costs more than it saves
            "statement_timeout": str(STATEMENT_TIMEOUT_MS),
            "idle_in_transaction_session_timeout": str(IDLE_TIMEOUT_MS),
            "application_name": f"passaparola {os.getpid()}",  # so that `pg_stat_activity` tells whose it is
        }
        engine = create_async_engine(
            url,
            pool_size=POOL,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT_S,
            pool_use_lifo=True,  # few connections that know all statements, rather than many that must learn each
            pool_pre_ping=False,  # `_prepare` knows without a question what the server has closed
            hide_parameters=True,  # an error's text must not carry what people wrote
            connect_args={
                "timeout": CONNECT_TIMEOUT_S,
                "command_timeout": LIMIT_S[
                    Queue.bulk
                ],  # for what SQLAlchemy asks before the first transaction
                "server_settings": settings,
                "prepared_statement_cache_size": 500,
            },
        )
        event.listen(engine.sync_engine, "connect", _keep_alive)
        event.listen(engine.sync_engine, "connect", _limit_transactions)
        event.listen(engine.sync_engine, "checkout", _replace_closed)
        return PostgresqlDatabase(url, engine, chance)

    async def write(
        self, work: Work[T], *, queue: Queue = Queue.people, durable: bool = True, single: bool = False
    ) -> T:
        # Shielded like the writer thread: a commit that is under way is finished though its caller went away.
        begin = Begin.single if single else Begin.durable if durable else Begin.hurried
        transaction = self._transaction(work, begin, LIMIT_S[queue], self.commits[queue])
        return await _shielded(transaction if queue is Queue.live else self._in_turn(transaction))

    async def read(self, work: Work[T]) -> T:
        # Shielded too: to cancel a query is a question to the server, which may be the one that does not answer.
        return await _shielded(self._in_turn(self._transaction(work, Begin.never, READ_LIMIT_S)))

    async def close(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._engine.dispose()

    def waiting(self) -> dict[str, int]:
        return {"live": self._running}

    async def _in_turn(self, transaction: Awaitable[T]) -> T:
        """Not all connections at once: `RESERVED` stay for the live queue."""
        try:
            async with asyncio.timeout(POOL_TIMEOUT_S):
                await self._others.acquire()
        except TimeoutError:
            transaction.close()  # type: ignore[attr-defined]
            raise Unavailable("too much is asked of the store at once", retry_after=2.0) from None
        try:
            return await transaction
        finally:
            self._others.release()

    async def _transaction(
        self, work: Work[T], begin: Begin, limit_s: float, durations: Durations | None = None
    ) -> T:
        if time.monotonic() < self._again_at:
            raise Unavailable("the store does not answer")
        self._running += 1
        try:
            return await greenlet_spawn(self._run, work, begin, limit_s, durations)
        except (DBAPIError, PoolTimeout, OSError, asyncpg.InterfaceError) as error:
            raise translate(error) from error
        finally:
            self._running -= 1

    def _run(self, work: Work[T], begin: Begin, limit_s: float, durations: Durations | None) -> T:
        """One transaction, in the greenlet."""
        pooled = self._checked_out()
        driver: Any = pooled.driver_connection
        started = time.monotonic()
        limit = self._loop.call_later(limit_s, driver.terminate)
        try:
            with DirectPostgresqlConnection(self._engine.sync_engine, pooled, begin) as connection:
                return work(cast(Connection, connection))
        finally:
            limit.cancel()
            if durations is not None:
                durations.note(time.monotonic() - started)

    def _checked_out(self) -> PoolProxiedConnection:
        engine = self._engine.sync_engine
        try:
            return engine.raw_connection()
        except (engine.dialect.loaded_dbapi.Error, OSError, asyncpg.InterfaceError) as error:
            # The last: cut while it was being made.
            self._again_at = time.monotonic() + self._chance(*AGAIN_S)
            Connection._handle_dbapi_exception_noconnection(error, engine.dialect, engine)


async def _shielded(transaction: Coroutine[Any, Any, T]) -> T:
    """Its result; it goes on when the caller goes away, and then nobody needs to hear how it failed."""
    task = asyncio.ensure_future(transaction)
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    return await asyncio.shield(task)


def translate(error: BaseException) -> BaseException:
    """What a driver's error means to the caller: Unavailable (come back), Conflict (somebody was first), or itself."""
    if not isinstance(error, DBAPIError):
        return Unavailable(f"the store does not answer ({type(error).__name__})")
    state = _sqlstate(error)
    if state in _CONFLICTS:
        return Conflict(f"changed by somebody else in the meantime ({state})")
    if state.startswith(_REFUSED):
        return Unavailable(f"PostgreSQL does not let us in ({_first_line(error)})")
    cause = error.orig and error.orig.__cause__
    if isinstance(cause, asyncpg.InvalidCachedStatementError):
        return Conflict("the schema was changed in the meantime")
    if isinstance(cause, asyncpg.InternalClientError):  # the driver lost count while a connection broke off
        return Unavailable("the store does not answer (the connection broke off)")
    lost = error.connection_invalidated or isinstance(error, InterfaceError | OperationalError)
    if lost or state.startswith(_AWAY):
        return Unavailable(f"the store does not answer ({state or type(error.orig).__name__})")
    return error


def place(url: URL) -> str:
    """Where a URL leads to, for a sentence: without the password."""
    host = url.query.get("host", url.host or "localhost")
    port = f":{url.port}" if url.port else ""
    return f"{host}{port}, database {url.database}, user {url.username}"


def _first_line(error: DBAPIError) -> str:
    """PostgreSQL's own sentence; the driver puts its class before it."""
    return (str(error.orig).splitlines() or [""])[0].rpartition(">: ")[2]


def _sqlstate(error: DBAPIError) -> str:
    original: Any = error.orig
    return str(getattr(original, "sqlstate", "") or getattr(original, "pgcode", "") or "")


def _replace_closed(connection: Any, _record: Any, _proxy: Any) -> None:
    """Before a pooled connection is handed out: one that the server has closed is replaced, and its age with it."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError("closed by the server")


def _limit_transactions(connection: Any, _record: Any) -> None:
    """The server's own limit for a whole transaction, where it has one (17 and later). A process that is frozen after
    it has announced a statement and before it runs it counts neither as idle nor as running one: without this limit
    it would keep its locks for as long as it sleeps, and its lanes with them."""
    if connection.driver_connection.get_server_version().major >= 17:
        cursor = connection.cursor()
        cursor.execute(f"SET transaction_timeout = {TRANSACTION_TIMEOUT_MS}")
        cursor.close()
        connection.commit()  # else it ends with the first transaction, if that is rolled back


def _keep_alive(connection: Any, _record: Any) -> None:
    """A new connection over TCP: the kernel looks after it while it is idle."""
    plain = connection.driver_connection._transport.get_extra_info("socket")
    if plain is None or plain.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with suppress(OSError):  # a kernel that does not know one of them does without
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE:
            if hasattr(socket, name):
                plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
