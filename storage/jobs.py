"""Jobs: everything that takes long. One table, one runner, kinds registered by `@job`; at least once, resumable.

Theory of operation. A job is a row with a unique (workspace, kind, key), a sealed payload and a cursor. The runner
takes due rows under a lease, calls the kind's function, and records what it returned: `Done`, or `Again` with a new
cursor and time. A function that raises is tried again with back-off, up to MAX_ATTEMPTS, and is then failed, visible.
A function may run twice from the same cursor (a crash between its work and the record): its steps must be harmless
to repeat.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import msgspec
import structlog
from sqlalchemy import Connection, text

from domain.crash import crash_point
from domain.errors import Conflict, Unavailable
from storage.database import Database, Queue, dialect
from storage.sealing import Sealer
from storage.signals import LISTEN_S, Signals, until_look
from storage.statements import prepared

LEASE_MS = 60_000
STEP_SHARE = 0.75  # of its lease a step may take: it must come back with a cursor before that ends
BACK_OFF_MS = (1_000, 10_000, 60_000, 600_000, 3_600_000)
MAX_ATTEMPTS = 8
AT_ONCE = 4  # jobs of one process at a time: they share two cores with the conversations
POLL_S = 1.0
RECORD_AGAIN_S = (
    0.5  # a store that is away when a result is to be recorded is asked again, until the lease ends
)

_log = structlog.get_logger("jobs")


# Which rows a runner may take; `only` and `but` are empty or a kind.
_DUE = "state = 0 AND due_at <= :now AND lease_until < :now AND (:only = '' OR kind = :only) AND kind <> :but"


class Running(NamedTuple):
    """A job in hand."""

    id: int
    workspace_id: int
    kind: str
    key: str
    payload: dict[str, Any]
    cursor: str
    attempts: int


class Done(NamedTuple):
    """The job has done its work. `progress` is what people see of it; `also` is done in the transaction that records
    it, and not at all when the job has become somebody else's; `wakes` is a topic that is notified after it."""

    progress: Mapping[str, Any] = {}
    also: Callable[[Connection], None] | None = None
    wakes: str = ""


class Again(NamedTuple):
    """There is more to do, from `cursor`, not before `due_at` (ms; 0: at once)."""

    cursor: str
    progress: Mapping[str, Any] = {}
    due_at: int = 0


Step = Callable[[Any, Running], Awaitable[Done | Again]]
_kinds: dict[str, Step] = {}


def job(kind: str) -> Callable[[Step], Step]:
    """Registers `async function(context, running)`; a second one of the kind is an error at start."""

    def register(step: Step) -> Step:
        if kind in _kinds:
            raise RuntimeError(f"job {kind!r} is registered twice: {step.__module__}")
        _kinds[kind] = step
        return step

    return register


def kinds() -> Mapping[str, Step]:
    """Every registered kind."""
    return _kinds


def add(
    connection: Connection,
    *,
    workspace_id: int,
    kind: str,
    key: str,
    payload: Mapping[str, Any],
    due_at: int,
    sealer: Sealer,
    new_id: Callable[[], int],
    now: int,
) -> None:
    """A new job, unless one with that key is known already."""
    job_id = new_id()
    connection.execute(
        text(
            "INSERT INTO job (id, workspace_id, kind, key, payload, cursor, progress, state, attempts, owner, "
            "lease_until, due_at, problem, created_at, updated_at) VALUES (:id, :workspace, :kind, :key, :payload, '', "
            "'{}', 0, 0, '', 0, :due, '', :now, :now) ON CONFLICT DO NOTHING"
        ),
        {
            "id": job_id,
            "workspace": workspace_id,
            "kind": kind,
            "key": key,
            "payload": sealer.seal(
                msgspec.json.encode(dict(payload)), table="job", row=job_id, column="payload"
            ),
            "due": due_at,
            "now": now,
        },
    )


class Runner:
    """Runs jobs in this process. `context` is handed to every step.

    `only` and `but` name a kind that it alone, or everybody but it, runs; `signals` wakes it at `topic`, so that a job
    that was just committed begins at once. `repeats` False: a step that was cut short may have had its effect, and its
    attempt counts.
    """

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        clock: Callable[[], int],
        owner: str,
        context: Any,
        *,
        signals: Signals | None = None,
        topic: str = "jobs",
        only: str = "",
        but: str = "",
        at_once: int = AT_ONCE,
        lease_ms: int = LEASE_MS,
        queue: Queue = Queue.people,
        repeats: bool = True,
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._clock = clock
        self._owner = owner
        self._context = context
        self._signals = signals
        self._topic = topic
        self._which = {"only": only, "but": but}
        self._at_once = at_once
        self._lease_ms = lease_ms
        self._queue = queue
        self._repeats = repeats
        self._running: set[asyncio.Task[None]] = set()
        self._taking: asyncio.Future[Sequence[Any]] | None = (
            None  # the last take; it ends though nobody waits
        )
        self._look = asyncio.Event()
        self._told = False  # a signal came: there is a job for sure
        self._stopping = False

    async def run(self) -> None:
        """Works until stopped. One that is cut short in the middle of a step gives its jobs back."""
        listening = asyncio.create_task(self._listen())
        try:
            await self._rounds()
            if self._running:
                await asyncio.wait(self._running)
        except asyncio.CancelledError:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            if self._taking is not None:  # what it takes is to be given back, too
                await asyncio.gather(self._taking, return_exceptions=True)
            with suppress(Unavailable, Conflict):
                await self._database.write(self._give_back)
            raise
        finally:
            listening.cancel()

    async def _listen(self) -> None:
        while self._signals is not None:
            if await self._signals.wait(self._topic, LISTEN_S):
                self._told = True
                self._look.set()

    async def _rounds(self) -> None:
        told = True
        while not self._stopping:
            try:
                free = self._at_once - len(self._running)
                if free and (told or await self._database.read(self._due)):
                    take = partial(self._take, most=free)
                    self._taking = asyncio.ensure_future(self._database.write(take, queue=self._queue))
                    self._begin(await asyncio.shield(self._taking))
            except Unavailable as error:
                _log.warning("jobs_wait", problem=str(error))
                self._look.clear()
            except Exception as error:  # the lease ends by itself and the job is taken again
                _log.error("jobs_round_failed", problem=type(error).__name__, exc_info=error)
                self._look.clear()
            told = await self._wait()

    async def _wait(self) -> bool:
        """Until there is room or something to do, at most POLL_S; true when we were told of a job."""
        with suppress(TimeoutError):
            async with asyncio.timeout(until_look(POLL_S)):
                await self._look.wait()
        self._look.clear()
        told, self._told = self._told, False
        return told

    def _begin(self, taken: Sequence[Any]) -> None:
        for one in taken:
            task = asyncio.create_task(self._step(one))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._look.set()  # there is room, and it may want to go on at once
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its result could not be recorded: the lease ends by itself and the job is taken again.
            _log.error("job_not_recorded", problem=type(error).__name__, exc_info=error)

    def stop(self) -> None:
        """Takes no further jobs; those in hand finish their step."""
        self._stopping = True
        self._look.set()

    async def round(self) -> int:
        """Takes due jobs and runs one step of each; gives how many."""
        taken = await self._database.write(lambda c: self._take(c, self._at_once), queue=self._queue)
        await asyncio.gather(*(self._step(one) for one in taken))
        return len(taken)

    def _due(self, connection: Connection) -> bool:
        """Whether there is anything to take: a look is cheaper than a transaction, and mostly there is nothing."""
        found = connection.execute(
            prepared(f"SELECT 1 FROM job WHERE {_DUE} LIMIT 1"), {"now": self._clock(), **self._which}
        )
        return found.first() is not None

    def _take(self, connection: Connection, most: int = AT_ONCE) -> Sequence[Any]:
        """Due rows, now leased; their payloads are still sealed: one that does not open is its own job's failure."""
        skip = "FOR UPDATE SKIP LOCKED" if dialect(connection).for_update else ""
        now = self._clock()
        return connection.execute(
            text(
                "UPDATE job SET owner = :owner, lease_until = :until, attempts = attempts + 1, updated_at = :now "
                f"WHERE id IN (SELECT id FROM job WHERE {_DUE} ORDER BY due_at LIMIT :n {skip}) "
                "RETURNING id, workspace_id, kind, key, payload, cursor, attempts"
            ),
            {"owner": self._owner, "until": now + self._lease_ms, "now": now, "n": most, **self._which},
        ).all()

    def _give_back(self, connection: Connection) -> None:
        """Others may go on from the cursor at once; that we had to leave is no failure of the job."""
        uncounted = "attempts = attempts - 1, " if self._repeats else ""
        connection.execute(
            text(
                f"UPDATE job SET {uncounted}lease_until = 0 "
                "WHERE state = 0 AND owner = :owner AND lease_until >= :now "
                "AND (:only = '' OR kind = :only) AND kind <> :but"
            ),
            {"owner": self._owner, "now": self._clock(), **self._which},
        )

    def _open(self, row: Any) -> Running:
        opened = self._sealer.open(row.payload, table="job", row=row.id, column="payload")
        return Running(
            row.id, row.workspace_id, row.kind, row.key, msgspec.json.decode(opened), row.cursor, row.attempts
        )

    async def _step(self, taken: Any) -> None:
        until = self._clock() + self._lease_ms
        try:
            step = _kinds.get(taken.kind)
            if step is None:
                raise LookupError(f"nobody runs jobs of kind {taken.kind!r}")
            running = self._open(taken)
            async with asyncio.timeout(self._lease_ms / 1000 * STEP_SHARE):
                result = await step(self._context, running)
        except Exception as error:
            _log.error(
                "job_failed", job=taken.id, kind=taken.kind, problem=type(error).__name__, exc_info=error
            )
            await self._record(partial(self._failed, taken=taken, error=error), until)
            return
        crash_point("jobs.after_step")
        await self._record(lambda c: self._finished(c, running, result), until)
        if isinstance(result, Done) and result.wakes and self._signals is not None:
            self._signals.notify(result.wakes)

    async def _record(self, work: Callable[[Connection], None], until: int) -> None:
        """Writes what came of a step; a store that is away for a moment does not cost it."""
        while True:
            try:
                await self._database.write(work, queue=self._queue)
                return
            except (Unavailable, Conflict):
                if self._clock() >= until:
                    raise
                await asyncio.sleep(RECORD_AGAIN_S)

    def _finished(self, connection: Connection, running: Running, result: Done | Again) -> None:
        again = isinstance(result, Again)
        payload = "" if again else "payload = '', "  # what is done needs nobody's data any more
        recorded = connection.execute(
            text(
                "UPDATE job SET state = :state, cursor = :cursor, progress = :progress, attempts = 0, lease_until = 0, "
                f"due_at = :due, problem = '', {payload}updated_at = :now WHERE id = :id AND owner = :owner"
            ),
            {
                "state": 0 if again else 2,
                "cursor": result.cursor if isinstance(result, Again) else running.cursor,
                "progress": msgspec.json.encode(dict(result.progress)).decode(),
                "due": max(result.due_at, self._clock()) if isinstance(result, Again) else 0,
                "now": self._clock(),
                "id": running.id,
                "owner": self._owner,
            },
        )
        if isinstance(result, Done) and result.also is not None and recorded.rowcount:
            result.also(connection)

    def _failed(self, connection: Connection, taken: Any, error: Exception) -> None:
        wait = BACK_OFF_MS[min(taken.attempts - 1, len(BACK_OFF_MS) - 1)]
        connection.execute(
            text(
                "UPDATE job SET state = :state, lease_until = 0, due_at = :due, problem = :problem, updated_at = :now "
                "WHERE id = :id AND owner = :owner"
            ),
            {
                "state": 1 if taken.attempts >= MAX_ATTEMPTS else 0,
                "due": self._clock() + wait,
                "problem": f"{type(error).__name__}"[:200],
                "now": self._clock(),
                "id": taken.id,
                "owner": self._owner,
            },
        )
