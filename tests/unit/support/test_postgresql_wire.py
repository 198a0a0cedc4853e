"""The faults of PostgreSQL that the proxy plays, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.support.databases import PostgresServer
from tests.support.postgresql_wire import Faults, Wire
from tests.support.proxy import Proxy


class Place:
    """A database behind a proxy, and straight access to it."""

    def __init__(self, faults: Faults, connection: Any, straight: Any) -> None:
        self.faults = faults
        self.connection = connection
        self.straight = straight

    async def rows(self) -> list[int]:
        """What is truly in the table."""
        return [row[0] for row in await self.straight.fetch("SELECT n FROM t ORDER BY n")]


@pytest.fixture
async def place(postgres: PostgresServer, postgres_url: str) -> AsyncIterator[Place]:
    name = postgres_url.removeprefix("postgresql+asyncpg://postgres:@/").split("?")[0]
    straight = await asyncpg.connect(host=str(postgres.folder), user="postgres", database=name)
    await straight.execute("CREATE TABLE t (n int)")
    faults = Faults()
    async with Proxy(postgres.socket, tap=lambda: Wire(faults)) as proxy:
        address = {"host": "127.0.0.1", "port": proxy.port, "user": "postgres", "database": name}
        connection = await asyncpg.connect(**address)
        yield Place(faults, connection, straight)
        await connection.close()
        await straight.close()


async def test_a_full_disk_refuses_writes_and_ends_the_transaction(place: Place) -> None:
    await place.connection.execute("INSERT INTO t VALUES ($1)", 1)
    place.faults.disk_full = True
    transaction = place.connection.transaction()
    await transaction.start()
    with pytest.raises(asyncpg.DiskFullError, match="No space left"):
        await place.connection.execute("INSERT INTO t VALUES ($1)", 2)
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        await place.connection.fetch("SELECT 1")
    await transaction.rollback()
    with pytest.raises(asyncpg.DiskFullError):
        await place.connection.execute("UPDATE t SET n = 3")
    assert await place.connection.fetchval("SELECT count(*) FROM t") == 1
    place.faults.disk_full = False
    await place.connection.execute("INSERT INTO t VALUES ($1)", 4)
    assert await place.rows() == [1, 4]
    assert place.faults.refused == 2


@pytest.mark.parametrize("committed", [True, False])
async def test_a_commit_whose_answer_is_lost(place: Place, committed: bool) -> None:
    place.faults.lose("INSERT INTO t", committed=committed)
    async with place.connection.transaction():
        assert await place.connection.fetchval("SELECT count(*) FROM t") == 0  # not this one
    transaction = place.connection.transaction()
    await transaction.start()
    await place.connection.execute("INSERT INTO t VALUES ($1)", 1)
    with pytest.raises((asyncpg.ConnectionDoesNotExistError, ConnectionResetError)):
        await transaction.commit()
    assert place.connection.is_closed()
    assert await place.rows() == ([1] if committed else [])
    assert (place.faults.lost, place.faults.times) == (1, 0)


@pytest.mark.parametrize("committed", [True, False])
async def test_a_statement_of_its_own_whose_answer_is_lost(place: Place, committed: bool) -> None:
    place.faults.lose("INSERT INTO t", committed=committed)
    assert await place.connection.fetchval("SELECT count(*) FROM t") == 0  # not this one
    with pytest.raises((asyncpg.ConnectionDoesNotExistError, ConnectionResetError)):
        await place.connection.execute("INSERT INTO t VALUES ($1)", 1)
    assert place.connection.is_closed()
    assert await place.rows() == ([1] if committed else [])
    assert (place.faults.lost, place.faults.times) == (1, 0)
