"""What only SQLite has: one writer with three queues, limits of readers, one server per file."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from domain.errors import Conflict, Unavailable
from storage import sqlite as module
from storage.database import Database, Queue, rows_of


@pytest.fixture
async def file(a_file: str) -> AsyncIterator[Database]:
    opened = await Database.open(a_file)
    yield opened
    await opened.close()


class Held:
    """Keeps the writer busy in the people's queue until `go_on`."""

    def __init__(self, database: Database) -> None:
        self.inside, self.released = threading.Event(), threading.Event()
        self.task = asyncio.create_task(database.write(self._hold))

    def _hold(self, _: Connection) -> None:
        self.inside.set()
        assert self.released.wait(10)

    async def begun(self) -> None:
        assert await asyncio.to_thread(self.inside.wait, 10)

    async def go_on(self) -> None:
        await asyncio.sleep(0)  # those who write meanwhile are in their queues
        self.released.set()
        await self.task


def path_of(url: str) -> str:
    return url.removeprefix("sqlite:///")


def insert(subject: str) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        connection.execute(
            text("INSERT INTO revision (workspace_id, subject, number) VALUES (1, :s, 1)"), {"s": subject}
        )

    return work


async def test_what_arrived_during_a_commit_is_one_transaction(file: Database, a_file: str) -> None:
    """Group commit with a window of 0: nobody outside sees any of the group's rows before all are there."""
    seen: list[int] = []

    def look(subject: str) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            insert(subject)(connection)
            outside = sqlite3.connect(path_of(a_file))
            seen.append(outside.execute("SELECT count(*) FROM revision").fetchone()[0])
            outside.close()

        return work

    held = Held(file)
    await held.begun()
    group = [asyncio.create_task(file.write(look(f"{n}"), queue=Queue.live)) for n in range(10)]
    await held.go_on()
    await asyncio.gather(*group)
    assert seen == [0] * 10
    assert len(await file.read(lambda c: rows_of(c, "SELECT 1 FROM revision"))) == 10


async def test_a_group_is_fsynced_when_one_of_it_must_be(file: Database) -> None:
    """2 is FULL, 1 NORMAL (https://sqlite.org/pragma.html#pragma_synchronous)."""

    def level(connection: Connection) -> int:
        return int(connection.exec_driver_sql("PRAGMA synchronous").scalar_one())

    assert await file.write(level, durable=False) == 1
    assert await file.write(level, durable=True) == 2
    for durable, expected in (([False] * 4, 1), ([False, False, True, False], 2), ([False] * 2, 1)):
        held = Held(file)
        await held.begun()
        group = [asyncio.create_task(file.write(level, queue=Queue.live, durable=one)) for one in durable]
        await held.go_on()
        assert await asyncio.gather(*group) == [expected] * len(durable)


async def test_after_a_failure_what_must_be_fsynced_still_is(file: Database) -> None:
    """The level is only said when it changes: not to a connection that was made anew, which has another one."""

    def level(connection: Connection) -> int:
        return int(connection.exec_driver_sql("PRAGMA synchronous").scalar_one())

    def broken(_: Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")  # the writer leaves this connection

    def ours(_: Connection) -> None:
        raise ValueError

    for before in (False, True):
        for fails in (broken, ours):
            for durable in (False, True):
                assert await file.write(level, durable=before) == 1 + before
                with pytest.raises((Unavailable, ValueError)):
                    await file.write(fails, durable=durable)
                assert await file.write(level, durable=before) == 1 + before


async def order_of(file: Database, works: list[tuple[Queue, str]], *, refill: int = 0) -> list[str]:
    """The order in which the writer runs what waits; each live one hands in another, `refill` times."""
    ran: list[str] = []
    more: list[asyncio.Task[Any]] = []
    loop = asyncio.get_running_loop()

    def note(name: str, queue: Queue, left: int) -> Callable[[Connection], None]:
        def work(_: Connection) -> None:
            ran.append(name)
            if queue is Queue.live and left:
                entered = threading.Event()

                def enter() -> None:
                    again = file.write(note(name, queue, left - 1), queue=queue)
                    more.append(asyncio.create_task(again))
                    loop.call_soon(loop.call_soon, entered.set)

                loop.call_soon_threadsafe(enter)
                assert entered.wait(10)

        return work

    held = Held(file)
    await held.begun()
    tasks = [asyncio.create_task(file.write(note(name, queue, refill), queue=queue)) for queue, name in works]
    await held.go_on()
    await asyncio.gather(*tasks)
    while any(not one.done() for one in more):
        await asyncio.gather(*more)
    return ran


async def test_the_live_queue_goes_first_the_others_one_at_a_time(file: Database) -> None:
    works = [(Queue.bulk, "b"), (Queue.people, "p"), (Queue.people, "p"), *[(Queue.live, "l")] * 3]
    ran = await order_of(file, works)
    assert ran.index("l") < ran.index("b")
    assert sorted(ran) == sorted(name for _, name in works)


async def test_nobody_starves_while_live_work_never_ends(file: Database) -> None:
    """People and bulk have had their turns long before the live work ends."""
    works = [(Queue.live, "l"), *[(Queue.people, "p")] * 3, (Queue.bulk, "b")]
    ran = await order_of(file, works, refill=30)
    assert len(ran) == 31 + 4
    assert "p" in ran[:4], ran
    assert ran.index("b") < 12, ran
    assert [n for n, name in enumerate(ran) if name == "p"][-1] < 16, ran


async def test_bulk_rests_as_long_as_it_ran(file: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several bulk units the next waits; live work that comes in the meantime does not."""
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    ran: list[str] = []

    def unit(name: str, seconds: float) -> Callable[[Connection], None]:
        def work(_: Connection) -> None:
            ran.append(name)
            clock[0] += seconds

        return work

    await file.write(unit("first", 3600.0), queue=Queue.bulk)
    second = asyncio.create_task(file.write(unit("second", 0.0), queue=Queue.bulk))
    await file.write(unit("live", 0.0), queue=Queue.live)
    await file.write(unit("person", 0.0), queue=Queue.people)
    assert ran == ["first", "live", "person"]
    clock[0] += 3600.0
    await file.write(unit("live", 0.0), queue=Queue.live)  # the writer looks again
    await second
    assert ran[:3] == ["first", "live", "person"]
    assert sorted(ran[3:]) == ["live", "second"]


async def test_too_many_waiting_are_told_to_come_back(
    file: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUE_LIMIT", 5)
    held = Held(file)
    await held.begun()
    waiting = [asyncio.create_task(file.write(insert(f"{n}"), queue=Queue.live)) for n in range(5)]
    await asyncio.sleep(0)
    assert file.waiting() == {"live": 5, "people": 0, "bulk": 0}
    with pytest.raises(Unavailable, match="too much") as refused:
        await file.write(insert("six"), queue=Queue.live)
    assert refused.value.retry_after > 0
    await held.go_on()
    await asyncio.gather(*waiting)
    assert len(await file.read(lambda c: rows_of(c, "SELECT 1 FROM revision"))) == 5


async def test_a_group_has_an_end(file: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than GROUP_LIMIT become several transactions, so that the writer is never held for long."""
    monkeypatch.setattr(module, "GROUP_LIMIT", 4)
    held = Held(file)
    await held.begun()
    groups: list[Connection] = []  # each transaction has a connection object of its own

    def count(connection: Connection) -> None:
        groups.append(connection)

    tasks = [asyncio.create_task(file.write(count, queue=Queue.live)) for _ in range(10)]
    await held.go_on()
    await asyncio.gather(*tasks)
    assert len(groups) == 10
    assert [sum(one is other for other in groups) for one in groups] == [4] * 8 + [2] * 2


async def test_a_reader_that_takes_too_long_is_interrupted(
    file: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_LIMIT_S", 0.05)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(Unavailable):
        await file.read(lambda c: rows_of(c, endless))
    assert await file.read(lambda c: rows_of(c, "SELECT 1")) == [(1,)]


async def test_readers_do_not_wait_for_the_writer(file: Database) -> None:
    held = Held(file)
    await held.begun()
    assert await file.read(lambda c: rows_of(c, "SELECT count(*) FROM revision")) == [(0,)]
    await held.go_on()


async def test_a_file_that_somebody_else_holds_is_unavailable_then_works_again(
    a_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups too: each of them is told, none is acknowledged."""
    monkeypatch.setattr(module, "BUSY_TIMEOUT_MS", 20)
    file = await Database.open(a_file)
    other = sqlite3.connect(path_of(a_file), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    results = await asyncio.gather(
        *(file.write(insert(f"{n}"), queue=Queue.live) for n in range(5)), return_exceptions=True
    )
    assert [type(one) for one in results] == [Unavailable] * 5
    other.execute("ROLLBACK")
    other.close()
    await file.write(insert("again"))
    assert await file.read(lambda c: rows_of(c, "SELECT subject FROM revision")) == [("again",)]
    await file.close()


async def test_a_transaction_that_the_database_gave_up_is_unavailable_for_all_of_it(file: Database) -> None:
    """A full disk makes SQLite roll the whole transaction back, savepoints included: nobody may be told "done"."""

    def full(connection: Connection) -> None:
        insert("lost too")(connection)
        raw: Any = connection.connection.driver_connection
        raw.execute("ROLLBACK")  # what SQLite itself does on SQLITE_FULL and SQLITE_IOERR
        raise sqlite3.OperationalError("database or disk is full")

    held = Held(file)
    await held.begun()
    tasks = [
        asyncio.create_task(file.write(work, queue=Queue.live))
        for work in (insert("before"), full, insert("after"))
    ]
    await held.go_on()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in results] == [Unavailable] * 3
    assert await file.read(lambda c: rows_of(c, "SELECT subject FROM revision")) == []
    await file.write(insert("again"))
    assert len(await file.read(lambda c: rows_of(c, "SELECT 1 FROM revision"))) == 1


async def test_a_closed_store_is_unavailable(a_file: str) -> None:
    file = await Database.open(a_file)
    await file.close()
    with pytest.raises(Unavailable):
        await file.write(insert("late"))
    with pytest.raises(Unavailable):
        await file.read(lambda c: rows_of(c, "SELECT 1"))


async def test_a_second_server_on_the_file_is_refused(a_file: str) -> None:
    """With the first one's process number and the way out; a command beside it is served; afterwards it is free."""
    first = await Database.open(a_file, exclusive=True)
    with pytest.raises(Conflict, match=rf"process {os.getpid()}.*stop it first"):
        await Database.open(a_file, exclusive=True)
    beside = await Database.open(a_file)
    await beside.write(insert("beside"))
    await beside.close()
    await first.close()
    second = await Database.open(a_file, exclusive=True)
    assert await second.read(lambda c: rows_of(c, "SELECT subject FROM revision")) == [("beside",)]
    await second.close()


async def test_a_new_file_that_somebody_writes_at_this_moment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several may start at once on a folder that is empty yet."""
    path = tmp_path / "new.sqlite3"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE theirs (id INTEGER)")
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(module, "_pause", lambda: other.execute("ROLLBACK"))
    file = await Database.open(f"sqlite:///{path}")
    try:
        assert await file.read(lambda c: rows_of(c, "PRAGMA journal_mode")) == [("wal",)]
        assert not other.in_transaction
    finally:
        await file.close()
        other.close()


async def test_foreign_keys_hold_and_the_log_is_a_write_ahead_log(file: Database) -> None:
    assert await file.read(lambda c: rows_of(c, "PRAGMA foreign_keys")) == [(1,)]
    assert await file.read(lambda c: rows_of(c, "PRAGMA journal_mode")) == [("wal",)]
