"""The SQLite side of `storage.database`: one file, one writer thread with three queues, a few readers.

Theory of operation. One writer thread owns the only writing connection. Its queues: *live* (intake, steps, marks),
*people* (console, API, command) and *bulk* (campaigns, clean-up). It takes all of the live queue as one transaction
(group commit with a window of 0: what arrived during the last commit is the next batch), each function in its own
savepoint, so that one failure is only its own; then at most one of people, then one bulk unit, which afterwards rests
as long as it ran. The transaction is synchronous=FULL when one of its functions is durable, else NORMAL: an attempt
counter or a reply's mark need not survive a power cut. Readers are pooled connections used in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.pool import QueuePool

from domain.errors import Conflict, Unavailable
from storage.database import READ_LIMIT_S, Database, F, Queue, T, Work
from storage.direct import DirectConnection

READERS = (
    4  # threads: enough for a console page beside the worker's reads; SQLite readers do not block the writer
)
QUEUE_LIMIT = 20_000  # functions that wait for the writer; past it the caller is told to come back (I7)
GROUP_LIMIT = 512  # functions in one live transaction: bounds how long the writer is held
BUSY_TIMEOUT_MS = 5_000  # another process (a backup, a person's sqlite3 shell) may hold the file this long
BUSY_AGAIN_S = 0.01  # between two tries where SQLite does not wait by itself
CACHE_KB = 16_384  # pages kept by the writer: more of them only double what the system's own cache holds
READER_CACHE_KB = 4_096  # and by each reader
STATEMENTS = 500  # kept compiled by a connection: there are some three hundred, and compiling is dear


@dataclass
class _Request:
    work: Work[Any]
    durable: bool
    future: asyncio.Future[Any]
    then: Callable[[Connection, Any], Any] | None = None  # a second transaction, with the first one's result
    result: Any = None
    error: BaseException | None = None


class SqliteDatabase(Database):
    """One file, one writer thread, a few readers."""

    def __init__(self, url: URL, *, exclusive: bool) -> None:
        super().__init__(url)
        self._path = Path(
            str(url.database)
        ).resolve()  # the lock lies beside the file itself, whatever leads to it
        private_file(self._path)
        self._lock_file = _take_file(self._path) if exclusive else None
        self.alone = exclusive
        self._loop = asyncio.get_running_loop()
        self._engine = sqlite_engine(url)
        self._readers = sqlite_engine(url, reader=True)
        self._reader_threads = ThreadPoolExecutor(READERS, thread_name_prefix="sqlite-reader")
        self._queues: dict[Queue, deque[_Request]] = {queue: deque() for queue in Queue}
        self._wake = threading.Condition()
        self._stopping = False
        self._last: Queue | None = None  # whose turn it was, None after a pause
        self._other = Queue.bulk  # of people and bulk, whose turn it was
        self._bulk_rests_until = 0.0
        self._writer = threading.Thread(target=self._write_for_ever, name="sqlite-writer", daemon=True)
        self._writer.start()

    async def write(
        self, work: Work[T], *, queue: Queue = Queue.people, durable: bool = True, single: bool = False
    ) -> T:
        result: T = await self._queued(_Request(work, durable, self._loop.create_future()), queue)
        return result

    async def write_then(
        self, first: Work[F], then: Callable[[Connection, F], T], *, queue: Queue = Queue.live
    ) -> T | None:
        # The writer goes on by itself: the way to the event loop and back is longer than the first transaction.
        request = _Request(first, False, self._loop.create_future(), then)
        result: T | None = await self._queued(request, queue)
        return result

    async def _queued(self, request: _Request, queue: Queue) -> Any:
        with self._wake:
            if self._stopping:
                raise Unavailable("the store is closing")
            if len(self._queues[queue]) >= QUEUE_LIMIT:
                raise Unavailable("too much is waiting to be written", retry_after=2.0)
            self._queues[queue].append(request)
            self._wake.notify()
        # Shielded: a caller that goes away must not make a commit look undone to those who share it.
        return await asyncio.shield(request.future)

    async def read(self, work: Work[T]) -> T:
        if self._stopping:
            raise Unavailable("the store is closing")
        return await self._loop.run_in_executor(self._reader_threads, self._read, work)

    async def close(self) -> None:
        with self._wake:
            self._stopping = True
            self._wake.notify()
        await self._loop.run_in_executor(None, self._writer.join)
        self._reader_threads.shutdown(wait=True)
        self._readers.dispose()
        self._engine.dispose()
        if self._lock_file is not None:
            self._lock_file.close()

    def waiting(self) -> dict[str, int]:
        return {queue.value: len(requests) for queue, requests in self._queues.items()}

    def _read(self, work: Work[T]) -> T:
        try:
            with self._readers.connect() as connection:
                raw = connection.connection.driver_connection
                deadline = time.monotonic() + READ_LIMIT_S
                raw.set_progress_handler(lambda: time.monotonic() > deadline, 100_000)  # type: ignore[union-attr]
                try:
                    return work(cast(Connection, DirectConnection(connection)))
                finally:
                    raw.set_progress_handler(None, 0)  # type: ignore[union-attr]
        except OperationalError as error:
            raise _as_unavailable(error) from error

    def _write_for_ever(self) -> None:
        connection: Connection | None = None
        while (group := self._next_group()) is not None:
            queue, requests = group
            started = time.monotonic()
            try:
                if connection is None:
                    connection = self._engine.connect()
                _commit_group(connection, requests)
            except BaseException as error:
                for request in requests:
                    request.error = request.error or _as_unavailable(error)
                if connection is not None and isinstance(error, DBAPIError | sqlite3.Error):
                    with contextlib.suppress(Exception):  # what it still has to say was said by `error`
                        connection.invalidate()
                        connection.close()
                    connection = None
            ended = time.monotonic()
            self.commits[queue].note(ended - started)
            if queue is Queue.bulk:
                self._bulk_rests_until = ended + (ended - started)
            if ready := [request for request in requests if not self._goes_on(request, queue)]:
                self._answer(ready)
        if connection is not None:
            connection.close()

    def _goes_on(self, request: _Request, queue: Queue) -> bool:
        """Puts a request's second part in front, if it has one and its first gave something."""
        then, found = request.then, request.result
        if then is None or request.error is not None:
            return False
        if not found:
            request.result = None
            return False
        second = _Request(lambda connection: then(connection, found), True, request.future)
        with self._wake:
            self._queues[queue].appendleft(second)
        return True

    def _next_group(self) -> tuple[Queue, list[_Request]] | None:
        with self._wake:
            while True:
                for queue in self._order():
                    waiting = self._queues[queue]
                    if waiting and (queue is not Queue.bulk or self._bulk_rest() <= 0):
                        self._last = queue
                        size = min(len(waiting), GROUP_LIMIT) if queue is Queue.live else 1
                        return queue, [waiting.popleft() for _ in range(size)]
                self._last = None
                bulk_waits = bool(self._queues[Queue.bulk])
                if self._stopping and not bulk_waits:
                    return None
                self._wake.wait(self._bulk_rest() if bulk_waits else None)

    def _order(self) -> tuple[Queue, ...]:
        """Who is asked first. After each live group one of the others has its turn, these two alternately: however much
        live work comes, nobody waits for ever."""
        if self._last is not Queue.live:
            self._other = self._last or self._other
            return Queue.live, *self._others()
        return *self._others(), Queue.live

    def _others(self) -> tuple[Queue, Queue]:
        return (Queue.bulk, Queue.people) if self._other is Queue.people else (Queue.people, Queue.bulk)

    def _bulk_rest(self) -> float:
        """Seconds for which bulk still has to rest; none when the store closes."""
        return 0.0 if self._stopping else self._bulk_rests_until - time.monotonic()

    def _answer(self, requests: list[_Request]) -> None:
        try:
            self._loop.call_soon_threadsafe(_resolve, requests)
        except RuntimeError:  # the loop is gone: nobody waits any more
            return


def _commit_group(connection: Connection, requests: list[_Request]) -> None:
    """One transaction for all; a function that fails is rolled back alone, to its savepoint.

    The transaction is the driver's own. SQLAlchemy's, which a function that uses Core or the ORM begins, joins it
    (`sqlite_engine`) and ends with it.
    """
    direct = DirectConnection(connection)
    durable = any(request.durable for request in requests)
    if connection.info.get("durable") is not durable:  # the driver's connection keeps it
        direct.run(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        connection.info["durable"] = durable
    direct.run("BEGIN IMMEDIATE")
    try:
        if len(requests) == 1:  # the usual case at low load: no savepoint needed
            requests[0].result = requests[0].work(cast(Connection, direct))
        else:
            for request in requests:
                _within_savepoint(direct, request)
        if connection.in_transaction():
            connection.commit()
        else:
            direct.run("COMMIT")
    except BaseException:
        if connection.in_transaction():
            connection.rollback()
        if direct.in_transaction:
            direct.run("ROLLBACK")
        raise


def _within_savepoint(direct: DirectConnection, request: _Request) -> None:
    direct.run("SAVEPOINT work")
    try:
        request.result = request.work(cast(Connection, direct))
    except Exception as error:
        request.error = _as_unavailable(error)
        direct.run("ROLLBACK TO work")
    direct.run("RELEASE work")


def _resolve(requests: list[_Request]) -> None:
    for request in requests:
        if request.future.done():
            continue
        if request.error is not None:
            request.future.set_exception(request.error)
            request.future.exception()  # a caller that went away must not leave a warning behind
        else:
            request.future.set_result(request.result)


def _as_unavailable(error: BaseException) -> BaseException:
    """SQLite's word that it cannot, through SQLAlchemy or straight from the driver, as ours: with SQLite's own name of
    the reason (SQLITE_FULL, SQLITE_BUSY, …), which carries nothing that people wrote."""
    said = error.orig if isinstance(error, OperationalError | InterfaceError) else error
    if isinstance(said, sqlite3.OperationalError | sqlite3.InterfaceError):
        return Unavailable(
            f"the store does not answer ({getattr(said, 'sqlite_errorname', type(said).__name__)})"
        )
    return error


def sqlite_engine(url: URL, *, reader: bool = False) -> Engine:
    """An engine whose connections have our pragmas and begin write transactions at once: a deferred one that turns
    into a write later fails with "database is locked" without waiting."""
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=READERS,
        hide_parameters=True,  # an error's text must not carry what people wrote
        connect_args={
            "check_same_thread": False,
            "timeout": BUSY_TIMEOUT_MS / 1000,
            "cached_statements": STATEMENTS,
        },
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        _write_ahead(cursor)
        for pragma in (
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            f"cache_size=-{READER_CACHE_KB if reader else CACHE_KB}",
            "temp_store=MEMORY",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if not connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
            connection.exec_driver_sql("BEGIN DEFERRED" if reader else "BEGIN IMMEDIATE")

    return engine


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Changes a new file to the write-ahead log. While another process does the same, or writes already, SQLite says
    that it is busy without waiting as it does elsewhere."""
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            _pause()


def _pause() -> None:
    time.sleep(BUSY_AGAIN_S)


def private_file(path: Path) -> None:
    """Makes the file, empty and for its owner alone, and its folder, where they are not there yet. It will hold what
    people wrote; SQLite gives the files beside it (-wal, -shm) the same mode."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _take_file(path: Path) -> IO[str]:
    """The server's lock beside the database file; the operating system frees it when the process ends."""
    lock = Path(f"{path}.server-lock").open("a+")  # noqa: SIM115 (held for the life of the process)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        holder = lock.read().strip()
        lock.close()
        raise Conflict(
            f"another Passaparola server (process {holder or 'unknown'}) is using {path}: stop it first, "
            "or give this one its own PASSAPAROLA_DATA_DIR"
        ) from error
    lock.seek(0)
    lock.truncate()
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
