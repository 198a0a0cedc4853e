"""Which lanes this process owns: its fair share, renewed in its own time, and held by fence while a round writes.

A lane is a range of slots, and so of conversations. Whoever holds its lease handles their events, nobody else: that
is what keeps the events of a conversation in order over many processes. The lease alone is only a promise by time; a
round makes it certain: it claims and handles with the fences that it began with (`in_use`), and its transaction locks
the lease rows by them (`hold`). A lane that is handed over waits for the rounds that have begun with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

import structlog
from sqlalchemy import Connection

from bot.runtime import LANE_NAMES, Runtime
from domain.errors import Conflict, Unavailable
from storage import leases
from storage.sharing import Holding

_log = structlog.get_logger("worker")


class Lanes:
    """The lanes of one process."""

    def __init__(self, runtime: Runtime) -> None:
        self._signals = runtime.signals
        self._alone = runtime.database.alone
        self._rounds: set[asyncio.Future[None]] = set()
        self._holding = Holding(
            runtime.database,
            runtime.signals,
            runtime.owner,
            "lane",
            names=lambda: LANE_NAMES,
            let_go=self._rounds_end,
            monotonic=runtime.monotonic,
        )

    def __len__(self) -> int:
        return len(self._holding.held)

    async def run(self) -> None:
        """Keeps this process's share until cancelled; rounds do not hold it up, nor it them."""
        while True:
            try:
                await self.own()
            except (Unavailable, Conflict) as error:
                _log.warning("lanes_wait", problem=str(error))
            await self._holding.pause()

    async def own(self) -> None:
        """Renews, takes and hands over, as is due. Raises Unavailable or Conflict."""
        before = self._holding.held
        await self._holding.tick()
        if self._holding.held.keys() - before.keys():
            self._signals.notify("intake")  # events may be waiting in them

    async def handed_over(self) -> None:
        """Returns when what is being handed over at this moment has been."""
        await self._holding.given()

    @contextmanager
    def in_use(self) -> Iterator[Mapping[str, int]]:
        """The lanes and fences of one round; what is handed over meanwhile waits for its end."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._rounds.add(ended)
        try:
            yield self._holding.held
        finally:
            self._rounds.discard(ended)
            ended.set_result(None)

    def hold(self, connection: Connection, lanes: Iterable[str], fences: Mapping[str, int]) -> set[str]:
        """Locks these lanes until the transaction ends; gives those that are no longer ours by these fences. Where no
        other server may have the store, those that the round began with are ours without a look."""
        if self._alone:
            return set(lanes) - fences.keys()
        lost = leases.hold(connection, {lane: fences.get(lane, -1) for lane in lanes})
        if lost:
            self._holding.lost(lost, fences)
        return lost

    async def release(self) -> None:
        """Gives all back, when no round runs any more: others may have them at once."""
        await self._holding.leave()

    async def _rounds_end(self, lanes: Collection[str]) -> None:
        if self._rounds:
            await asyncio.wait(set(self._rounds))


def numbers(lanes: Collection[str]) -> list[int] | None:
    """Lanes as `slot // SLOTS_PER_LANE`; None for all of them, which no query needs to ask for."""
    if len(lanes) == len(LANE_NAMES):
        return None
    return [int(name.rpartition(":")[2]) for name in lanes]
