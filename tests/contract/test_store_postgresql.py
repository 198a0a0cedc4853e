"""What only PostgreSQL has: limits that the server keeps, and what its errors mean to the caller."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Connection, literal, select, text
from sqlalchemy.exc import InternalError

from domain.errors import Conflict, Unavailable
from storage import postgresql
from storage.database import Database, Queue, rows_of
from storage.postgresql import POOL, PostgresqlDatabase, translate
from storage.statements import apart, begun, gathered, require, send
from tests.support.databases import PostgresServer
from tests.support.postgresql_wire import Faults, Wire
from tests.support.proxy import Proxy


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


async def test_a_single_statement_is_a_transaction_of_its_own(database: Database) -> None:
    """Nothing is open while it runs; what it selects for it makes its commit a hurried one, and none after it."""

    def insert(connection: Connection) -> str:
        hurried = connection.execute(
            text(
                "WITH put AS (INSERT INTO revision (workspace_id, subject, number) VALUES (1, 'one', 1) RETURNING 1) "
                "SELECT set_config('synchronous_commit', 'off', true) FROM put"
            )
        )
        return str(hurried.scalar_one())

    def level(connection: Connection) -> str:
        return str(connection.execute(text("SHOW synchronous_commit")).scalar_one())

    assert await database.write(insert, single=True) == "off"
    assert await database.read(lambda c: rows_of(c, "SELECT subject FROM revision")) == [("one",)]
    assert await database.write(level, single=True) == "on"


async def test_what_runs_apart_is_committed_before_the_transaction_begins(database: Database) -> None:
    """And belongs to the transaction once that has begun."""

    def work(connection: Connection) -> None:
        assert not begun(connection)
        apart(connection).execute(
            text("INSERT INTO revision (workspace_id, subject, number) VALUES (1, 'apart', 1)")
        )
        assert not begun(connection)
        put(connection)
        assert begun(connection)
        apart(connection).execute(
            text("INSERT INTO revision (workspace_id, subject, number) VALUES (1, 'within', 1)")
        )
        raise ValueError("rolled back")

    with pytest.raises(ValueError, match="rolled back"):
        await database.write(work)
    assert await database.read(lambda c: rows_of(c, "SELECT subject FROM revision")) == [("apart",)]


@pytest.mark.parametrize("expected", [1, 2])
async def test_what_was_gathered_may_be_the_whole_transaction(database: Database, expected: int) -> None:
    """Nothing is open around it; when a part gives another number of rows, nothing was written, and the connection
    goes on."""

    def work(connection: Connection) -> bool:
        gathering = gathered(connection)
        gathering.execute(
            text("INSERT INTO revision (workspace_id, subject, number) VALUES (1, 'gathered', 1)")
        )
        raised = text("UPDATE revision SET number = number + :more WHERE subject = 'one' RETURNING 1")
        require(gathering, raised, {"more": 5}, rows=expected)
        written = send(gathering, last=True)
        assert not begun(connection)
        return written

    await database.write(put)
    assert await database.write(work) is (expected == 1)
    found = await database.read(lambda c: rows_of(c, "SELECT subject, number FROM revision ORDER BY subject"))
    assert found == ([("gathered", 1), ("one", 6)] if expected == 1 else [("one", 1)])


async def test_what_was_gathered_last_joins_a_transaction_that_has_begun(database: Database) -> None:
    def work(connection: Connection) -> None:
        put(connection)
        gathering = gathered(connection)
        gathering.execute(
            text("INSERT INTO revision (workspace_id, subject, number) VALUES (1, 'gathered', 1)")
        )
        assert send(gathering, last=True)
        raise ValueError("rolled back")

    with pytest.raises(ValueError, match="rolled back"):
        await database.write(work)
    assert await database.read(lambda c: rows_of(c, "SELECT subject FROM revision")) == []


@pytest.mark.parametrize("second", [text("SELECT 2"), select(literal(2))])
async def test_a_second_statement_beside_a_single_one_is_refused(database: Database, second: Any) -> None:
    def work(connection: Connection) -> None:
        connection.execute(text("SELECT 1"))
        connection.execute(second)

    with pytest.raises(RuntimeError, match="single"):
        await database.write(work, single=True)
    await database.write(put)


async def test_a_single_statement_that_fails_leaves_a_sound_connection(database: Database) -> None:
    await database.write(put, single=True)
    with pytest.raises(Conflict):
        await database.write(put, single=True)
    assert len(await database.read(lambda c: rows_of(c, "SELECT subject FROM revision"))) == 1


async def test_a_statement_that_takes_too_long_is_unavailable(database: Database) -> None:
    def slow(connection: Connection) -> None:
        connection.execute(text("SET LOCAL statement_timeout = 30"))
        connection.execute(text("SELECT pg_sleep(10)"))

    with pytest.raises(Unavailable, match="57014"):
        await database.write(slow)


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


async def test_a_statement_outlives_a_change_of_its_table(database: Database) -> None:
    """A newer program may widen a column while this one runs: who meets that asks again, and it goes on, on every
    connection that has prepared the statement."""

    def change(sql: str) -> Callable[[Connection], object]:
        return lambda connection: connection.execute(text(sql))

    def look(connection: Connection) -> list[int]:
        return [row.a for row in connection.execute(text("SELECT a FROM widened")).all()]

    await database.write(change("CREATE TABLE widened (a INTEGER)"))
    await database.write(change("INSERT INTO widened VALUES (7)"))
    for _ in range(3):
        assert await asyncio.gather(*(database.write(look, queue=Queue.live) for _ in range(4))) == [[7]] * 4
    await database.write(change("ALTER TABLE widened ALTER COLUMN a TYPE BIGINT"))
    found = await asyncio.gather(
        *(database.write(look, queue=Queue.live) for _ in range(4)), return_exceptions=True
    )
    assert all(one == [7] or isinstance(one, Conflict) for one in found), found
    for _ in range(3):
        assert await asyncio.gather(*(database.write(look, queue=Queue.live) for _ in range(4))) == [[7]] * 4


async def test_nobody_hears_of_a_failure_that_nobody_waits_for(database: Database) -> None:
    """The caller went away (a stop), the transaction fails a moment later: no "exception was never retrieved"."""
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    ended = asyncio.Event()

    def fail(connection: Connection) -> None:
        try:
            connection.execute(text("SELECT pg_sleep(0.1)")).all()
            connection.execute(text("SELECT 1 / 0"))
        finally:
            ended.set()

    waiting = asyncio.create_task(database.write(fail, queue=Queue.live))
    await asyncio.sleep(0.02)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await ended.wait()
    await database.read(one)
    del waiting
    gc.collect()
    assert heard == []


@pytest.mark.parametrize("at", ["BEGIN", "a statement", "COMMIT"])
async def test_what_is_cancelled_in_the_middle_leaves_no_transaction_open(
    database: Database, at: str
) -> None:
    """Whoever gets a connection next is not inside it: what they write alone stands."""

    def cancel_at(place: str) -> None:
        task = asyncio.current_task()
        if at == place and task is not None:
            asyncio.get_running_loop().call_soon(task.cancel)

    def work(connection: Connection) -> None:
        cancel_at("BEGIN")
        put(connection)
        cancel_at("a statement")
        connection.execute(text("SELECT 1"))
        cancel_at("COMMIT")

    later = text("INSERT INTO revision (workspace_id, subject, number) VALUES (1, 'later', 1)")
    with pytest.raises(asyncio.CancelledError):
        await database.write(work)
    await database.write(lambda c: c.execute(later), single=True)
    other = await Database.open(database.url.render_as_string(hide_password=False))
    found = await other.read(lambda c: rows_of(c, "SELECT 1 FROM revision WHERE subject = 'later'"))
    await other.close()
    assert len(found) == 1


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    database = await Database.open("postgresql+asyncpg://nobody@127.0.0.1:9/none")
    try:
        with pytest.raises(Unavailable):
            await database.write(put)
        with pytest.raises(Unavailable):
            await database.read(lambda c: rows_of(c, "SELECT 1"))
    finally:
        await database.close()


# --- a server or a network that goes away


@asynccontextmanager
async def behind_a_proxy(
    url: str, server: PostgresServer
) -> AsyncIterator[tuple[PostgresqlDatabase, Proxy, Faults]]:
    """A store whose connections can be hurt."""
    faults = Faults()
    async with Proxy(server.socket, tap=lambda: Wire(faults)) as proxy:
        opened = await Database.open(server.url_at(proxy.port, url))
        assert isinstance(opened, PostgresqlDatabase)
        yield opened, proxy, faults
        await proxy.heal()
        await opened.close()


@pytest.fixture
async def hurt(
    migrated_postgres_url: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[PostgresqlDatabase, Proxy, Faults]]:
    """A store with limits that a test can wait for."""
    monkeypatch.setattr(postgresql, "CONNECT_TIMEOUT_S", 0.3)
    monkeypatch.setattr(postgresql, "POOL_TIMEOUT_S", 0.3)
    monkeypatch.setattr(postgresql, "LIMIT_S", dict.fromkeys(Queue, 0.5))
    async with behind_a_proxy(migrated_postgres_url, postgres) as place:
        yield place


def one(connection: Connection) -> int:
    return int(connection.execute(text("SELECT 1")).scalar_one())


def ours(connection: Connection) -> list[Any]:
    return list(rows_of(connection, "SELECT subject FROM revision WHERE subject = 'one'"))


async def back(database: Database, within_s: float = 5.0) -> float:
    """Seconds until the store answers again."""
    started = time.monotonic()
    while True:
        try:
            await database.write(one, queue=Queue.live)
        except Unavailable:
            assert time.monotonic() - started < within_s
            await asyncio.sleep(0.02)
        else:
            return time.monotonic() - started


async def test_connections_that_the_server_has_closed_cost_nobody_an_error(
    database: Database, postgres: PostgresServer
) -> None:
    """After a restart at night the first webhook of the morning is stored."""
    await asyncio.gather(*(database.read(one) for _ in range(5)))
    name = database.url.database
    postgres.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    await asyncio.sleep(0.05)  # the news is on its way to this process
    assert await asyncio.gather(*(database.read(one) for _ in range(5))) == [1] * 5
    await database.write(put, queue=Queue.live)


async def test_a_network_that_swallows_everything_is_noticed_by_this_side(
    hurt: tuple[PostgresqlDatabase, Proxy, Faults],
) -> None:
    """In the middle of a transaction, at rest, and while connecting: each ends within its limit, none hangs."""
    database, proxy, _ = hurt
    await database.write(one)

    def silenced(connection: Connection) -> int:
        connection.execute(text("SELECT 1"))
        proxy.swallow()
        return one(connection)

    for work in (silenced, one, one):
        started = time.monotonic()
        with pytest.raises(Unavailable):
            await database.write(work, queue=Queue.live)
        assert time.monotonic() - started < 1.0
    started = time.monotonic()
    with pytest.raises(Unavailable):
        await database.read(one)
    assert time.monotonic() - started < 0.1  # it was just tried: told at once
    await proxy.heal()
    assert await back(database) < 1.5


async def test_a_hanging_store_does_not_keep_a_cancelled_reader(
    hurt: tuple[PostgresqlDatabase, Proxy, Faults],
) -> None:
    database, proxy, _ = hurt
    await database.read(one)
    proxy.silence()
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await database.read(one)
    assert time.monotonic() - started < 0.3


@pytest.mark.parametrize("what", ["cut", "refuse", "half_open"])
async def test_cut_in_use_and_back(hurt: tuple[PostgresqlDatabase, Proxy, Faults], what: str) -> None:
    database, proxy, _ = hurt

    async def slow() -> object:
        return await database.write(lambda c: c.execute(text("SELECT pg_sleep(0.3)")).all(), queue=Queue.live)

    busy = [asyncio.create_task(slow()) for _ in range(4)]
    while proxy.connections < 4:  # noqa: ASYNC110 (the kernel tells it)
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    getattr(proxy, what)()
    results = await asyncio.gather(*busy, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 4
    await proxy.heal()
    assert await back(database) < 1.5


async def test_pages_and_jobs_leave_connections_for_webhooks(database: Database) -> None:
    """As many slow reads as there may be: a live write is committed beside them; more reads are turned away."""
    slow = [
        asyncio.create_task(database.read(lambda c: c.execute(text("SELECT pg_sleep(2.5)")).all()))
        for _ in range(20)
    ]
    await asyncio.sleep(0.1)
    started = time.monotonic()
    await asyncio.gather(*(database.write(one, queue=Queue.live) for _ in range(20)))
    assert time.monotonic() - started < 1.0
    results = await asyncio.gather(*slow, return_exceptions=True)
    assert sum(isinstance(result, Unavailable) for result in results) == 20 - (POOL - postgresql.RESERVED)


@pytest.mark.parametrize("committed", [True, False])
async def test_a_commit_whose_word_got_lost_is_unavailable(
    hurt: tuple[PostgresqlDatabase, Proxy, Faults], committed: bool
) -> None:
    database, _, faults = hurt
    faults.lose("INSERT INTO revision", committed=committed)
    with pytest.raises(Unavailable):
        await database.write(put, queue=Queue.live)
    assert faults.lost == 1
    assert len(await database.read(ours)) == int(committed)
    if not committed:
        await database.write(put, queue=Queue.live)


async def test_a_full_disk_is_unavailable_and_reading_goes_on(
    hurt: tuple[PostgresqlDatabase, Proxy, Faults],
) -> None:
    database, _, faults = hurt
    faults.disk_full = True
    for _ in range(3):
        with pytest.raises(Unavailable, match="53100"):
            await database.write(put, queue=Queue.live)
        assert await database.read(ours) == []
    faults.disk_full = False
    await database.write(put, queue=Queue.live)


async def test_idle_connections_are_looked_after_by_the_kernel(
    hurt: tuple[PostgresqlDatabase, Proxy, Faults],
) -> None:
    database, _, _ = hurt

    def options(connection: Connection) -> tuple[int, int]:
        driver: Any = connection.connection.driver_connection
        plain = driver._transport.get_extra_info("socket")
        return (
            plain.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
        )

    assert await database.read(options) == (1, 10_000)


def test_a_driver_that_lost_count_is_an_absent_server() -> None:
    """What breaks off while it is being connected may be told as the driver's own confusion: it comes back."""
    told = RuntimeError("cannot switch to state 11; another operation (2) is in progress")
    told.__cause__ = asyncpg.InternalClientError(str(told))
    error = InternalError("SET transaction_timeout = 1", {}, told)
    assert isinstance(translate(error), Unavailable)
