"""Months of intake and messages on PostgreSQL: made ahead, never missed, moved without a copy when they are large."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection, text

from domain.errors import Conflict
from domain.ids import first_id_at
from storage import partitions
from storage.database import Database


def at(moment: str) -> int:
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()) * 1000


@pytest.fixture(autouse=True)
def from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of tests are small."""
    monkeypatch.setattr(partitions, "START_BYTES", -1)


@pytest.fixture
async def database(migrated_postgres_url: str) -> AsyncIterator[Database]:
    database = await Database.open(migrated_postgres_url)
    yield database
    await database.close()


async def advance(database: Database, moment: str) -> int:
    """Ticks until there is nothing more to do; gives how many it took."""
    for ticks in range(100):
        if not await database.write(lambda c: partitions.advance(c, now=at(moment))):
            return ticks
    raise AssertionError("it never ends")


async def names(database: Database, table: str = "message") -> list[str]:
    return list((await database.read(lambda c: partitions.read(c, table))).names)


def write(connection: Connection, moment: str, n: int = 1) -> None:
    """Rows of that moment, in both tables."""
    for table, columns in (("intake", INTAKE), ("message", MESSAGE)):
        first = first_id_at(at(moment))
        connection.execute(
            text(
                f"INSERT INTO {table} ({', '.join(['id', *columns])}) "
                f"SELECT {first} + g, {', '.join(map(str, columns.values()))} FROM generate_series(1, {n}) g"
            )
        )


async def lies_in(database: Database, table: str = "message") -> dict[str, int]:
    """How many rows each partition holds."""
    rows = await database.read(
        lambda c: c.execute(
            text(f"SELECT CAST(tableoid AS regclass)::text, count(*) FROM {table} GROUP BY 1")
        ).all()
    )
    return {row[0]: row[1] for row in rows}


def columns_of(table: str) -> dict[str, object]:
    from storage.tables.intake import Intake
    from storage.tables.messages import Message

    model = {"intake": Intake, "message": Message}[table].__table__  # type: ignore[attr-defined]
    return {
        column.name: "''" if "TEXT" in str(column.type) else 0
        for column in model.columns
        if not column.nullable and column.name != "id"
    }


INTAKE, MESSAGE = columns_of("intake"), columns_of("message")


async def test_this_month_and_two_ahead_are_made(database: Database) -> None:
    assert await advance(database, "2027-01-31T23:59:59") == 6
    for table in partitions.TABLES:
        assert await names(database, table) == [f"{table}_2027_01", f"{table}_2027_02", f"{table}_2027_03"]
    assert await advance(database, "2027-01-31T23:59:59") == 0
    assert await advance(database, "2027-02-01T00:00:00") == 2
    assert (await names(database))[-1] == "message_2027_04"


async def test_a_small_table_stays_whole(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made, and nothing is said to be missing, until a table is large; each table for itself."""
    await database.write(lambda c: write(c, "2027-01-15T12:00:00", 2_000))
    sizes = await database.read(
        lambda c: [
            int(c.execute(text(f"SELECT pg_relation_size('{table}_default')")).scalar_one())
            for table in partitions.TABLES
        ]
    )
    monkeypatch.setattr(partitions, "START_BYTES", max(sizes))
    assert await advance(database, "2027-01-15T12:00:00") == 0
    assert not await database.read(lambda c: partitions.missing(c, now=at("2027-01-15T12:00:00")))
    monkeypatch.setattr(partitions, "START_BYTES", min(sizes))
    await advance(database, "2027-01-15T12:00:00")
    assert sorted([len(await names(database, table)) for table in partitions.TABLES]) == [0, 3]


async def test_rows_lie_in_their_month(database: Database) -> None:
    """Bounds are exact: the last millisecond of a month, the first of the next; what is older than all has a place."""
    await advance(database, "2027-01-15T12:00:00")
    for moment in (
        "2024-05-01T00:00:00",
        "2027-01-31T23:59:59",
        "2027-02-01T00:00:00",
        "2027-03-31T23:59:59",
    ):
        await database.write(lambda c, moment=moment: write(c, moment))  # type: ignore[misc]
    assert await lies_in(database) == {"message_2027_01": 2, "message_2027_02": 1, "message_2027_03": 1}


async def test_a_row_without_a_partition_is_kept_and_moves_when_there_is_one(database: Database) -> None:
    """The scheduler was away for half a year: nothing failed, and afterwards nothing is left in the default."""
    await advance(database, "2027-01-15T12:00:00")
    for moment in ("2027-01-15T12:00:00", "2027-04-02T00:00:00", "2027-07-20T00:00:00"):
        await database.write(lambda c, moment=moment: write(c, moment, 50))  # type: ignore[misc]
    assert await database.read(lambda c: partitions.missing(c, now=at("2027-07-20T00:00:00")))
    assert (await lies_in(database))["message_default"] == 100
    await advance(database, "2027-07-20T00:00:00")
    for table in partitions.TABLES:
        assert await lies_in(database, table) == {
            f"{table}_2027_01": 50,
            f"{table}_2027_04": 50,
            f"{table}_2027_07": 50,
        }
    assert (await names(database))[-1] == "message_2027_09"
    assert not await database.read(lambda c: partitions.missing(c, now=at("2027-07-20T00:00:00")))


async def test_a_large_default_partition_becomes_the_first_one_without_a_copy(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows stay in the file in which they are; writers go on at every point between the transactions."""
    monkeypatch.setattr(partitions, "MOVE_BYTES", 0)
    await database.write(lambda c: write(c, "2027-01-10T12:00:00", 500))
    files = await database.read(
        lambda c: c.execute(text("SELECT pg_relation_filenode('message_default')")).scalar()
    )
    n = 0
    while await database.write(lambda c: partitions.advance(c, now=at("2027-01-28T12:00:00"))):
        n += 1
        await database.write(lambda c, n=n: write(c, f"2027-01-28T12:00:{n:02d}"))  # type: ignore[misc]
        monkeypatch.setattr(partitions, "MOVE_BYTES", 0 if n < 6 else 64 << 20)
    # A bound eight days ahead: the rest of January and all of February are its own.
    assert await names(database) == ["message_2027_02", "message_2027_03"]
    assert await lies_in(database) == {"message_2027_02": 500 + n}
    kept = await database.read(
        lambda c: c.execute(text("SELECT pg_relation_filenode('message_2027_02')")).scalar()
    )
    assert kept == files
    left = await database.read(
        lambda c: c.execute(text("SELECT conname FROM pg_constraint WHERE conname LIKE 'until%'")).all()
    )
    assert list(left) == []


async def test_a_default_partition_that_grew_large_after_others_becomes_the_next(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await advance(database, "2027-01-15T12:00:00")
    await database.write(lambda c: write(c, "2027-06-15T12:00:00", 50))
    monkeypatch.setattr(partitions, "MOVE_BYTES", 0)
    for _ in range(6):  # three transactions for each table
        await database.write(lambda c: partitions.advance(c, now=at("2027-06-15T12:00:00")))
    monkeypatch.undo()
    await advance(database, "2027-06-15T12:00:00")
    assert await lies_in(database) == {"message_2027_06": 50}
    assert await names(database) == [f"message_2027_0{n}" for n in (1, 2, 3, 6, 7, 8)]


async def test_a_bound_that_cannot_be_checked_is_given_up_before_it_refuses_a_row(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "MOVE_BYTES", 0)
    await database.write(lambda c: write(c, "2027-01-10T12:00:00"))
    await database.write(
        lambda c: partitions.advance(c, now=at("2027-01-10T12:00:00"))
    )  # until the end of January
    with pytest.raises(Exception, match="until_next_partition"):
        await database.write(lambda c: write(c, "2027-02-01T00:00:00"))
    await database.write(lambda c: partitions.advance(c, now=at("2027-01-29T12:00:00")))
    await database.write(lambda c: write(c, "2027-02-01T00:00:00"))


async def test_partitions_have_what_their_table_has(database: Database) -> None:
    """Every index, and the rule that an id is there once."""
    await advance(database, "2027-01-15T12:00:00")
    counts = await database.read(
        lambda c: (
            c.execute(
                text(
                    "SELECT count(*) FROM pg_indexes WHERE tablename IN "
                    "('message_2027_01', 'message_2027_03', 'message_default') GROUP BY tablename"
                )
            )
            .scalars()
            .all()
        )
    )
    assert len(counts) == 3
    assert len(set(counts)) == 1
    await database.write(lambda c: write(c, "2027-01-15T12:00:00"))
    with pytest.raises(Conflict):
        await database.write(lambda c: write(c, "2027-01-15T12:00:00"))


async def test_a_lock_that_does_not_come_costs_writers_a_second_at_most(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody's long look at a table: the tick gives up, says so, and the next one succeeds."""
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT_MS", 50)
    looked, done = asyncio.Event(), asyncio.Event()

    async def look() -> None:
        async with database._engine.begin() as connection:  # type: ignore[attr-defined]
            await connection.execute(text("SELECT count(*) FROM message"))
            looked.set()
            await done.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(look())
        await looked.wait()
        with pytest.raises(Conflict):
            await advance(database, "2027-01-15T12:00:00")
        done.set()
    await advance(database, "2027-01-15T12:00:00")


async def test_a_row_that_moves_while_it_is_changed_is_changed(database: Database) -> None:
    """Its writer began to wait before the new partition existed: it must not look for the row where that was."""
    await database.write(lambda c: write(c, "2027-01-15"))
    loop, waiting = asyncio.get_running_loop(), asyncio.Event()

    def move(connection: Connection) -> None:
        partitions.advance(connection, now=at("2027-01-15"))
        loop.call_soon(waiting.set)
        connection.execute(text("SELECT pg_sleep(0.3)"))  # the writer comes while the rows are on their way

    moving = asyncio.create_task(database.write(move))
    await waiting.wait()
    change = "UPDATE intake SET attempts = 7 WHERE id = :id"
    changed = await database.write(
        lambda c: c.execute(text(change), {"id": first_id_at(at("2027-01-15")) + 1}).rowcount
    )
    await moving
    assert changed == 1


async def test_two_schedulers_at_once_do_no_harm(database: Database) -> None:
    """A lease that was lost in the middle: they take turns."""

    await asyncio.gather(*(advance(database, "2027-01-15T12:00:00") for _ in range(3)))
    await advance(database, "2027-01-15T12:00:00")
    assert await names(database) == ["message_2027_01", "message_2027_02", "message_2027_03"]


async def test_sqlite_has_none(a_file: str) -> None:
    database = await Database.open(a_file)
    try:
        assert not await database.write(lambda c: partitions.advance(c, now=at("2027-01-15T12:00:00")))
        assert not await database.read(lambda c: partitions.missing(c, now=at("2027-01-15T12:00:00")))
    finally:
        await database.close()
