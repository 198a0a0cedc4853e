"""The scheduler: what has to be done again and again, by one process at a time (a lease); harmless when two do it.

A tick is one transaction that starts from the state it finds. It says whether there is more to do at once and which
channels got something to send. Rooms above hand in their own tickers; the conversation runtime's stand here.

Nearly always there is nothing to do. So one statement asks for all tickers together, a few times a second, whether
there may be something; only then they are called. A transaction for each of them would be most of what an idle process
does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from sqlalchemy import Connection, text

from bot import holding, intake, schedules, statuses, step_counts, timers
from bot.outbox import Item
from bot.runtime import Runtime
from crm import proof
from domain.crash import crash_point
from domain.errors import Conflict, Unavailable
from domain.ids import first_id_at
from storage import leases, partitions
from storage.database import Queue
from storage.signals import until_look
from storage.statements import prepared

LEASE = "scheduler"
DAY_MS = 86_400_000
SEEN_LIFE_MS = 8 * DAY_MS  # longer than any platform retries (Meta: 7 days)
LOG_LIFE_MS = 30 * DAY_MS
JOB_LIFE_MS = 30 * DAY_MS  # of jobs that are done: so long a second one with the same key is known
CALL_LIFE_MS = (
    2 * DAY_MS
)  # of calls to services: their keys are never used again, and the last day's are counted
SWEEP = 1_000  # rows of one transaction
LOOK_EVERY_S = 0.25

_log = structlog.get_logger("scheduler")


@dataclass(frozen=True)
class Ticked:
    """What one tick did. `more`: call again without waiting. `channels`: whose sender has something new. `items`: of
    that, what need not be read from the outbox by a sender in this process; all that there is in their channels."""

    more: bool = False
    channels: tuple[int, ...] = ()
    items: tuple[Item, ...] = ()


class Tick(Protocol):
    """One transaction; `now` in ms UTC."""

    def __call__(self, connection: Connection, *, new_id: Callable[[], int], now: int) -> Ticked:
        """Does one piece of work."""


@dataclass(frozen=True)
class Ticker:
    """A tick and how it wants to be called. `durable` False: after a power cut it simply finds the old state again.
    `wakes`: the signal that it gives when it did something. `due`: an SQL condition over `:now` (ms UTC), found by an
    index, without which there is nothing to do; empty: there may always be something."""

    name: str
    tick: Tick
    every_s: float
    queue: Queue
    durable: bool = False
    crash_at: str = field(default="")
    wakes: str = field(default="outbox")
    due: str = field(default="")


class Scheduler:
    """Runs tickers in this process while it holds the lease."""

    def __init__(
        self, runtime: Runtime, tickers: Sequence[Ticker], *, offer: Callable[[Sequence[Item]], None]
    ) -> None:
        """`offer`: takes queued items to this process's sender, or tells others to look."""
        self._runtime = runtime
        self._offer = offer
        self._tickers = tickers
        self._held = False
        self._told = {ticker.name: asyncio.Event() for ticker in tickers if ticker.due}  # by the last look
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Works until stopped."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hold())
            group.create_task(self._look())
            for ticker in self._tickers:
                group.create_task(self._repeat(ticker))
        with suppress(Unavailable):
            await self._runtime.database.write(lambda c: leases.release(c, [LEASE], self._runtime.owner))

    def stop(self) -> None:
        """Starts no further tick."""
        self._stopping.set()
        for told in self._told.values():
            told.set()

    async def _hold(self) -> None:
        while not self._stopping.is_set():
            try:
                taken = await self._runtime.database.write(
                    lambda c: leases.take(c, [LEASE], self._runtime.owner), queue=Queue.live, durable=False
                )
                self._held = LEASE in taken
            except (Unavailable, Conflict) as error:
                _log.warning("scheduler_waits", problem=str(error))
            await self._pause(leases.RENEW_EVERY_S if self._held else 1.0)

    async def _look(self) -> None:
        while not self._stopping.is_set():
            if self._held:
                try:
                    found = await self._runtime.database.read(
                        lambda c: due(c, self._tickers, now=self._runtime.clock())
                    )
                    for name in found:
                        self._told[name].set()
                except (Unavailable, Conflict) as error:
                    _log.warning("scheduler_waits", problem=str(error))
            await self._pause(until_look(LOOK_EVERY_S))

    async def _repeat(self, ticker: Ticker) -> None:
        more, told = False, self._told.get(ticker.name)
        while not self._stopping.is_set():
            if told is not None and not more:
                await told.wait()
                told.clear()
            more = False
            if self._held and not self._stopping.is_set():
                try:
                    more = await self._tick(ticker)
                except (Unavailable, Conflict) as error:
                    _log.warning("tick_waits", tick=ticker.name, problem=str(error))
                except Exception as error:  # one ticker's fault must not stop the clock of the others
                    _log.error("tick_failed", tick=ticker.name, problem=type(error).__name__, exc_info=error)
                    await self._pause(5.0)
            if not more:
                await self._pause(ticker.every_s if self._held else 0.2)

    async def _tick(self, ticker: Ticker) -> bool:
        runtime = self._runtime
        ticked = await runtime.database.write(
            lambda c: ticker.tick(c, new_id=runtime.new_id, now=runtime.clock()),
            queue=ticker.queue,
            durable=ticker.durable,
        )
        if ticked.more or ticked.channels:
            if ticker.crash_at:
                crash_point(ticker.crash_at)
            if ticked.items:
                self._offer(ticked.items)
            if ticked.more or set(ticked.channels).difference(item.channel_id for item in ticked.items):
                runtime.signals.notify(ticker.wakes)
        return ticked.more

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


def due(connection: Connection, tickers: Sequence[Ticker], *, now: int) -> frozenset[str]:
    """The names of those whose condition holds, by one statement."""
    asked = [ticker for ticker in tickers if ticker.due]
    answers = ", ".join(f"CASE WHEN {ticker.due} THEN 1 ELSE 0 END" for ticker in asked)
    if not asked:
        return frozenset()
    found = connection.execute(prepared(f"SELECT {answers}"), {"now": now}).one()
    return frozenset(ticker.name for ticker, holds in zip(asked, found, strict=True) if holds)


def tickers(runtime: Runtime) -> tuple[Ticker, ...]:
    """Those of the conversation runtime."""

    def fire(connection: Connection, *, new_id: Callable[[], int], now: int) -> Ticked:
        return Ticked(more=timers.fire(connection, runtime) > 0)

    def schedule(connection: Connection, *, new_id: Callable[[], int], now: int) -> Ticked:
        return Ticked(more=schedules.tick(connection, runtime))

    def albums(connection: Connection, *, new_id: Callable[[], int], now: int) -> Ticked:
        return Ticked(more=timers.join_albums(connection, runtime) > 0)

    def held(connection: Connection, *, new_id: Callable[[], int], now: int) -> Ticked:
        return Ticked(more=holding.let_go_late(connection, now) > 0)

    return (
        Ticker(
            "timers",
            fire,
            0.5,
            Queue.live,
            durable=True,
            crash_at="scheduler.after_timers",
            wakes="intake",
            due="EXISTS (SELECT 1 FROM timer WHERE state = 0 AND due_at <= :now)",
        ),
        Ticker(
            "schedules",
            schedule,
            0.25,
            Queue.bulk,
            durable=True,
            crash_at="scheduler.after_schedule",
            wakes="intake",
            due="EXISTS (SELECT 1 FROM flow_schedule WHERE due_at <= :now)",
        ),
        Ticker(
            "albums",
            albums,
            0.25,
            Queue.live,
            durable=True,
            wakes="intake",
            due="EXISTS (SELECT 1 FROM album_part WHERE due_at <= :now)",
        ),
        Ticker(
            "step_counts",
            _step_counts,
            15.0,
            Queue.bulk,
            due="EXISTS (SELECT 1 FROM step_count_delta)",
        ),
        Ticker(
            "held",
            held,
            1.0,
            Queue.live,
            durable=True,
            wakes="intake",
            due=f"EXISTS (SELECT 1 FROM intake WHERE state = {intake.WAITING} AND not_before <= :now)",
        ),
        Ticker("orphans", _orphans, 60.0, Queue.bulk),
        Ticker("sweep", _sweep, 300.0, Queue.bulk),
        Ticker("anchors", _anchors, 3600.0, Queue.people, durable=True),
        Ticker("partitions", _partitions, 600.0, Queue.bulk, durable=True),
    )


def _step_counts(connection: Connection, *, new_id: Callable[[], int], now: int) -> Ticked:
    return Ticked(more=step_counts.fold(connection))


def _orphans(connection: Connection, *, new_id: Callable[[], int], now: int) -> Ticked:
    statuses.forget_orphans(connection, now=now)
    return Ticked()


def _sweep(connection: Connection, *, new_id: Callable[[], int], now: int) -> Ticked:
    """Rows whose time is over: keys of events, handled events, the channels' logs, jobs that are done."""
    gone = 0
    for statement, values in (
        (
            "DELETE FROM seen WHERE (channel_id, key) IN "
            "(SELECT channel_id, key FROM seen WHERE seen_at < :before LIMIT :n)",
            {"before": now - SEEN_LIFE_MS},
        ),
        (
            "DELETE FROM intake WHERE id IN "
            "(SELECT id FROM intake WHERE state = 2 AND id < :before ORDER BY id LIMIT :n)",
            {"before": first_id_at(now - SEEN_LIFE_MS)},
        ),
        (
            "DELETE FROM channel_log WHERE id IN (SELECT id FROM channel_log WHERE id < :before ORDER BY id LIMIT :n)",
            {"before": first_id_at(now - LOG_LIFE_MS)},
        ),
        (
            "DELETE FROM job WHERE id IN (SELECT id FROM job WHERE state = 2 AND updated_at < :before "
            "ORDER BY updated_at LIMIT :n)",
            {"before": now - JOB_LIFE_MS},
        ),
        (
            "DELETE FROM job WHERE id IN (SELECT id FROM job WHERE state = 2 AND kind = 'http_call' "
            "AND updated_at < :before ORDER BY updated_at LIMIT :n)",
            {"before": now - CALL_LIFE_MS},
        ),
    ):
        gone = max(gone, connection.execute(text(statement), {**values, "n": SWEEP}).rowcount)
    return Ticked(more=gone >= SWEEP)


def _anchors(connection: Connection, *, new_id: Callable[[], int], now: int) -> Ticked:
    for (workspace_id,) in connection.execute(text("SELECT id FROM workspace ORDER BY id")).all():
        proof.anchor(connection, workspace_id=workspace_id, new_id=new_id, now=now)
    return Ticked()


def _partitions(connection: Connection, *, new_id: Callable[[], int], now: int) -> Ticked:
    """Months of intake and messages, made ahead on PostgreSQL."""
    return Ticked(more=partitions.advance(connection, now=now))
