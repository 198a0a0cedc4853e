"""The PostgreSQL side of `storage.database`: pooled asyncpg connections, functions run through `run_sync`."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from domain.errors import Conflict, Unavailable
from storage.database import IDLE_TIMEOUT_MS, POOL, STATEMENT_TIMEOUT_MS, Database, Queue, T, Work

CONNECT_TIMEOUT_S = 2.0  # a webhook must get its 503 within 2 s when the database is away
POOL_TIMEOUT_S = 2.0
# SQLSTATE classes in which the transaction was not applied and may be tried again by its owner.
_CONFLICTS = {"40001", "40P01", "23505", "55P03"}
_AWAY = (
    "08",
    "53",
    "57",
    "58",
)  # connection, resources (disk full 53100), operator intervention, system error


class PostgresqlDatabase(Database):
    """One pool; reads and writes differ only in what they say to the server."""

    def __init__(self, url: URL, engine: AsyncEngine) -> None:
        super().__init__(url)
        self._engine = engine
        self._running = 0

    @staticmethod
    async def connect(url: URL) -> PostgresqlDatabase:
        """An open pool; no connection is made yet."""
        settings = {
            "jit": "off",  # our statements are short; compiling them costs more than it saves
            "statement_timeout": str(STATEMENT_TIMEOUT_MS),
            "idle_in_transaction_session_timeout": str(IDLE_TIMEOUT_MS),
            "application_name": "passaparola",
        }
        engine = create_async_engine(
            url,
            pool_size=POOL,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT_S,
            pool_pre_ping=False,
            hide_parameters=True,  # an error's text must not carry what people wrote
            connect_args={
                "timeout": CONNECT_TIMEOUT_S,
                "server_settings": settings,
                "prepared_statement_cache_size": 500,
            },
        )
        return PostgresqlDatabase(url, engine)

    async def write(self, work: Work[T], *, queue: Queue = Queue.people, durable: bool = True) -> T:
        # Shielded like the writer thread: a commit that is under way is finished though its caller went away.
        return await asyncio.shield(self._transaction(work, durable))

    async def read(self, work: Work[T]) -> T:
        return await self._transaction(work, True)

    async def close(self) -> None:
        await self._engine.dispose()

    def waiting(self) -> dict[str, int]:
        return {"live": self._running}

    async def _transaction(self, work: Work[T], durable: bool) -> T:
        self._running += 1
        try:
            async with self._engine.begin() as connection:
                if not durable:
                    await connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
                return await connection.run_sync(work)
        except (DBAPIError, PoolTimeout, OSError, TimeoutError) as error:
            raise translate(error) from error
        finally:
            self._running -= 1


def translate(error: BaseException) -> BaseException:
    """What a driver's error means to the caller: Unavailable (come back), Conflict (somebody was first), or itself."""
    if not isinstance(error, DBAPIError):
        return Unavailable(f"the store does not answer ({type(error).__name__})")
    state = _sqlstate(error)
    if state in _CONFLICTS:
        return Conflict(f"changed by somebody else in the meantime ({state})")
    lost = error.connection_invalidated or isinstance(error, InterfaceError | OperationalError)
    if lost or state.startswith(_AWAY):
        return Unavailable(f"the store does not answer ({state or type(error.orig).__name__})")
    return error


def _sqlstate(error: DBAPIError) -> str:
    original: Any = error.orig
    return str(getattr(original, "sqlstate", "") or getattr(original, "pgcode", "") or "")
