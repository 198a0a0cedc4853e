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

LEASE_MS = 60_000
STEP_S = 45.0  # a step that takes longer is cut off: it must come back with a cursor before its lease ends
BACK_OFF_MS = (1_000, 10_000, 60_000, 600_000, 3_600_000)
MAX_ATTEMPTS = 8
AT_ONCE = 4  # jobs of one process at a time: they share two cores with the conversations
POLL_S = 1.0

_log = structlog.get_logger("jobs")


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
    """The job has done its work. `progress` is what people see of it."""

    progress: Mapping[str, Any] = {}


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
    """Runs jobs in this process. `context` is handed to every step."""

    def __init__(
        self, database: Database, sealer: Sealer, clock: Callable[[], int], owner: str, context: Any
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._clock = clock
        self._owner = owner
        self._context = context
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Works until stopped. One that is cut short in the middle of a step gives its jobs back."""
        try:
            await self._rounds()
        except asyncio.CancelledError:
            with suppress(Unavailable, Conflict):
                await self._database.write(self._give_back)
            raise

    async def _rounds(self) -> None:
        while not self._stopping.is_set():
            try:
                ran = await self.round()
            except Unavailable as error:
                _log.warning("jobs_wait", problem=str(error))
                ran = 0
            except Exception as error:  # the lease ends by itself and the job is taken again
                _log.error("jobs_round_failed", problem=type(error).__name__, exc_info=error)
                ran = 0
            if not ran:
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._stopping.wait()

    def stop(self) -> None:
        """Takes no further jobs; those in hand finish their step."""
        self._stopping.set()

    async def round(self) -> int:
        """Takes due jobs and runs one step of each; gives how many."""
        taken = await self._database.write(self._take, queue=Queue.people)
        await asyncio.gather(*(self._step(one) for one in taken))
        return len(taken)

    def _take(self, connection: Connection) -> Sequence[Any]:
        """Due rows, now leased; their payloads are still sealed: one that does not open is its own job's failure."""
        skip = "FOR UPDATE SKIP LOCKED" if dialect(connection).for_update else ""
        now = self._clock()
        return connection.execute(
            text(
                "UPDATE job SET owner = :owner, lease_until = :until, attempts = attempts + 1, updated_at = :now "
                "WHERE id IN (SELECT id FROM job WHERE state = 0 AND due_at <= :now AND lease_until < :now "
                f"ORDER BY due_at LIMIT :n {skip}) RETURNING id, workspace_id, kind, key, payload, cursor, attempts"
            ),
            {"owner": self._owner, "until": now + LEASE_MS, "now": now, "n": AT_ONCE},
        ).all()

    def _give_back(self, connection: Connection) -> None:
        """Others may go on from the cursor at once; that we had to leave is no failure of the job."""
        connection.execute(
            text(
                "UPDATE job SET lease_until = 0, attempts = attempts - 1 "
                "WHERE state = 0 AND owner = :owner AND lease_until >= :now"
            ),
            {"owner": self._owner, "now": self._clock()},
        )

    def _open(self, row: Any) -> Running:
        opened = self._sealer.open(row.payload, table="job", row=row.id, column="payload")
        return Running(
            row.id, row.workspace_id, row.kind, row.key, msgspec.json.decode(opened), row.cursor, row.attempts
        )

    async def _step(self, taken: Any) -> None:
        try:
            step = _kinds.get(taken.kind)
            if step is None:
                raise LookupError(f"nobody runs jobs of kind {taken.kind!r}")
            running = self._open(taken)
            async with asyncio.timeout(STEP_S):
                result = await step(self._context, running)
        except Exception as error:
            _log.error(
                "job_failed", job=taken.id, kind=taken.kind, problem=type(error).__name__, exc_info=error
            )
            await self._database.write(partial(self._failed, taken=taken, error=error))
            return
        crash_point("jobs.after_step")
        await self._database.write(lambda c: self._finished(c, running, result))

    def _finished(self, connection: Connection, running: Running, result: Done | Again) -> None:
        again = isinstance(result, Again)
        payload = "" if again else "payload = '', "  # what is done needs nobody's data any more
        connection.execute(
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
