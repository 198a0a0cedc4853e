"""The results of attempts on their way into the store: settled in groups, like intake's commits.

They settle with the next slice that is marked, in the same transaction, or, when none comes or an answer's turn waits
for it, in one of their own. A result is only here until that is committed; when the store is away it waits, and the
rows say `sending` meanwhile. What a settling transaction does to the rows is `bot.settling`; what a refusal means
beyond its message is `bot.consequences`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog
from sqlalchemy import Connection

from bot import consequences, settling, statuses
from bot.outbox import Item
from bot.runtime import Runtime
from bot.settling import Result
from domain.crash import crash_point
from domain.errors import Conflict, Unavailable
from storage.database import Queue

GATHER_S = 0.025  # bulk results wait for the next slice's commit, and no longer than this

# Results that are remembered: more than a second of the fastest sending. A server that crashes forgets less than its
# last second, and while it is away nothing is written that could push them out.
RECENT = 5_000

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
        self._pressing = asyncio.Event()  # among the results is one that the next of its turn waits for
        self._closing = False
        self._recent: OrderedDict[int, Result] = OrderedDict()  # by message, oldest first
        self._one_by_one = 0  # so many results are tried alone: one of them has made a transaction fail
        self.settled = 0
        self.outcomes: dict[str, int] = {}
        self.refusals: dict[str, int] = {}  # attempts that did not succeed, by reason (rate_limited: a 429)

    def record(self, result: Result, *, bulk: bool = False) -> None:
        """Hands a result to the next settling transaction; one of a bulk message waits a moment for others."""
        self._waiting.append(result)
        if not bulk:
            self._pressing.set()
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle())

    def hurry(self) -> None:
        """No result waits for others any more: the process is about to end."""
        self._closing = True
        self._pressing.set()

    def take(self, most: int | None = None) -> list[Result]:
        """What waits, for a transaction of the caller's that calls `write`; then `written`, or `put_back`."""
        if self._one_by_one:
            most = 0
        return self._take(most)

    def _take(self, most: int | None) -> list[Result]:
        taken = self._waiting[:most]
        self._waiting = self._waiting[len(taken) :]
        if not self._closing and not self._waiting:
            self._pressing.clear()
        if taken:
            crash_point("sender.before_settle")
        return taken

    def put_back(self, taken: list[Result]) -> None:
        """Their transaction failed: they settle in one of their own."""
        if taken:
            self._waiting = taken + self._waiting
            self._pressing.set()
            if self._settling is None or self._settling.done():
                self._settling = asyncio.create_task(self._settle())

    def written(self, taken: Sequence[Result], settled: settling.Settled) -> None:
        """Their transaction is committed."""
        if taken:
            crash_point("sender.after_settle")
            self._remember(taken)
            self._count(taken, settled)
            self._tell_settled(taken)
            self._runtime.signals.notify("live")
            self._tell_released(settled.released)

    def known(self, item_id: int, attempt: int) -> Result | None:
        """The result of an attempt that was written a moment ago, for a row that does not know of it any more."""
        found = self._recent.get(item_id)
        return found if found is not None and found.attempt == attempt else None

    def _remember(self, taken: Sequence[Result]) -> None:
        for result in taken:
            result.item = None  # what it said is not remembered
            if self._recent.setdefault(result.id, result) is not result:  # an earlier attempt's
                self._recent[result.id] = result
                self._recent.move_to_end(result.id)
        while len(self._recent) > RECENT:
            self._recent.popitem(last=False)

    async def drain(self) -> None:
        """Returns when every result is settled."""
        while self._settling is not None and not self._settling.done():
            await self._settling

    async def _settle(self) -> None:
        pause = 0.05
        while self._waiting:
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHER_S):
                    await self._pressing.wait()
            batch = self._take(1 if self._one_by_one else None)
            if not batch:
                return
            self._one_by_one = max(0, self._one_by_one - 1)
            try:
                settled = await self._runtime.database.write(
                    lambda connection, batch=batch: self.write(connection, batch),  # type: ignore[misc]
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
            except Exception as error:
                self._failed(batch, error)
                continue
            pause = 0.05
            self.written(batch, settled)

    def _failed(self, batch: list[Result], error: Exception) -> None:
        """A fault of ours. One result must not take the others with it: they are tried alone, and the one is given up;
        its row says `sending`, so that the channel's next owner settles it as unknown."""
        numbers = [result.id for result in batch[:10]]
        _log.error("settle_failed", messages=numbers, problem=type(error).__name__, exc_info=error)
        if len(batch) > 1:
            self._waiting = batch + self._waiting
            self._one_by_one = len(batch)
            self._pressing.set()
        else:
            self._tell_settled(batch)

    def _count(self, batch: Sequence[Result], settled: settling.Settled) -> None:
        self.settled += len(batch)
        for outcome in settled.outcomes:
            self.outcomes[outcome.state] = self.outcomes.get(outcome.state, 0) + 1
        for result in batch:
            if result.reason:
                self.refusals[result.reason] = self.refusals.get(result.reason, 0) + 1

    def write(self, connection: Connection, batch: Sequence[Result]) -> settling.Settled:
        """Within a transaction: what these results mean for rows, people and channels."""
        if not batch:
            return settling.Settled([], [])
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
