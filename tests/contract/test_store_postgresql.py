"""What only PostgreSQL has: limits that the server keeps, and what its errors mean to the caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Connection, text

from domain.errors import Conflict, Unavailable
from storage.database import Database, rows_of


@pytest.fixture
async def database(migrated_postgres_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(migrated_postgres_url)
    yield opened
    await opened.close()


def put(connection: Connection) -> None:
    connection.execute(text("INSERT INTO revision (workspace_id, subject, number) VALUES (1, 'one', 1)"))


async def test_statements_and_idle_transactions_end_before_half_a_lease(database: Database) -> None:
    def limits(connection: Connection) -> list[str]:
        names = ("statement_timeout", "idle_in_transaction_session_timeout", "jit")
        return [str(connection.execute(text(f"SHOW {name}")).scalar_one()) for name in names]

    assert await database.read(limits) == ["12s", "12s", "off"]


async def test_a_commit_that_need_not_survive_a_power_cut_waits_for_no_disk(database: Database) -> None:
    def level(connection: Connection) -> str:
        return str(connection.execute(text("SHOW synchronous_commit")).scalar_one())

    assert await database.write(level, durable=True) == "on"
    assert await database.write(level, durable=False) == "off"
    assert await database.write(level, durable=True) == "on"


async def test_a_statement_that_takes_too_long_is_unavailable(database: Database) -> None:
    def slow(connection: Connection) -> None:
        connection.execute(text("SET LOCAL statement_timeout = 30"))
        connection.execute(text("SELECT pg_sleep(10)"))

    with pytest.raises(Unavailable, match="57014"):
        await database.read(slow)


async def test_somebody_was_first_is_a_conflict(database: Database) -> None:
    await database.write(put)
    with pytest.raises(Conflict, match="23505"):
        await database.write(put)


async def test_a_deadlock_is_a_conflict_for_one_of_the_two(database: Database) -> None:
    """The other one commits."""
    first, second = asyncio.Event(), asyncio.Event()

    async def locks(mine: int, other: int, got: asyncio.Event, wait: asyncio.Event) -> None:
        from sqlalchemy.ext.asyncio import create_async_engine

        engine = create_async_engine(database.url)
        try:
            async with engine.begin() as connection:
                await connection.execute(text("SET LOCAL deadlock_timeout = 20"))
                await connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": mine})
                got.set()
                await wait.wait()
                await connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": other})
        finally:
            await engine.dispose()

    from sqlalchemy.exc import DBAPIError

    from storage.postgresql import translate

    results = await asyncio.gather(
        locks(1, 2, first, second), locks(2, 1, second, first), return_exceptions=True
    )
    errors = [one for one in results if isinstance(one, DBAPIError)]
    assert len(errors) == 1
    assert isinstance(translate(errors[0]), Conflict)


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    database = await Database.open("postgresql+asyncpg://nobody@127.0.0.1:9/none")
    try:
        with pytest.raises(Unavailable):
            await database.write(put)
        with pytest.raises(Unavailable):
            await database.read(lambda c: rows_of(c, "SELECT 1"))
    finally:
        await database.close()
