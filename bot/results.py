"""The results of attempts on their way into the store: settled in groups, like intake's commits.

A result is only here until its transaction is committed; when the store is away it waits, and the rows say `sending`
meanwhile. What one settling transaction does to the rows is `bot.settling.settle`; what a refusal means beyond its
message is `bot.consequences`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy import Connection

from bot import consequences, settling, statuses
from bot.outbox import Item
from bot.runtime import Runtime
from bot.settling import Result
from domain.crash import crash_point
from domain.errors import Conflict, Unavailable
from storage.database import Queue

GATHER_S = 0.005  # bulk results settle in groups: at 1,000/s five in a transaction instead of one or two

_log = structlog.get_logger("sender")


class Results:
    """Gathers the results of one process and settles them."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        settled: Callable[[Sequence[Result]], None],
        released: Callable[[Sequence[Item]], None],
    ) -> None:
        """`settled` hears of results whose transaction is committed, `released` of the items that may go now."""
        self._runtime = runtime
        self._tell_settled = settled
        self._tell_released = released
        self._waiting: list[Result] = []
        self._settling: asyncio.Task[None] | None = None
        self._pressing = False  # among the results is one that the next of its turn waits for
        self._closing = False
        self.settled = 0
        self.outcomes: dict[str, int] = {}
        self.refusals: dict[str, int] = {}  # attempts that did not succeed, by reason (rate_limited: a 429)

    def record(self, result: Result, *, bulk: bool = False) -> None:
        """Hands a result to the next settling transaction; one of a bulk message waits a moment for others."""
        self._waiting.append(result)
        self._pressing = self._pressing or not bulk
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle())

    def hurry(self) -> None:
        """No result waits for others any more: the process is about to end."""
        self._closing = True

    async def drain(self) -> None:
        """Returns when every result is settled."""
        while self._settling is not None and not self._settling.done():
            await self._settling

    async def _settle(self) -> None:
        pause = 0.05
        while self._waiting:
            if not self._pressing and not self._closing:
                await asyncio.sleep(GATHER_S)
            batch, self._waiting, self._pressing = self._waiting, [], False
            crash_point("sender.before_settle")
            try:
                settled = await self._runtime.database.write(
                    lambda connection, batch=batch: self._settle_rows(connection, batch),  # type: ignore[misc]
                    queue=Queue.live,
                    durable=False,
                )
            except (Unavailable, Conflict) as error:
                # The results are only here: keep them and try again; the rows say `sending` meanwhile.
                self._waiting = batch + self._waiting
                _log.warning("settle_waits", problem=str(error), results=len(self._waiting))
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)
                continue
            pause = 0.05
            crash_point("sender.after_settle")
            self._count(batch, settled)
            self._tell_settled(batch)
            self._tell_released(settled.released)

    def _count(self, batch: Sequence[Result], settled: settling.Settled) -> None:
        self.settled += len(batch)
        for outcome in settled.outcomes:
            self.outcomes[outcome.state] = self.outcomes.get(outcome.state, 0) + 1
        for result in batch:
            if result.reason:
                self.refusals[result.reason] = self.refusals.get(result.reason, 0) + 1

    def _settle_rows(self, connection: Connection, batch: Sequence[Result]) -> settling.Settled:
        runtime = self._runtime
        now = runtime.clock()
        consequences.apply(connection, batch, sealer=runtime.sealer, new_id=runtime.new_id, now=now)
        settled = settling.settle(connection, batch, new_id=runtime.new_id, now=now)
        named = [
            (r.channel_id, r.external_id)
            for r in batch
            if r.state == "sent" and r.channel_id and r.external_id
        ]
        if named:  # a platform that tells of deliveries may have told before its own answer came
            statuses.adopt(connection, named, new_id=runtime.new_id, now=now)
        return settled
