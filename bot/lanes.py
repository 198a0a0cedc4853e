"""Which lanes this process owns: taken, renewed, given back, and held by fence while a transaction writes.

A lane is a range of slots, and so of conversations. Whoever holds its lease handles their events, nobody else: that
is what keeps the events of a conversation in order over many processes. The lease alone is only a promise by time; a
transaction makes it certain by locking the lease rows with the fence that it knows (`hold`).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from sqlalchemy import Connection

from bot.runtime import LANE_NAMES, Runtime
from domain.errors import Unavailable
from storage import leases
from storage.database import Queue


class Lanes:
    """The lanes of one process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._fences: dict[str, int] = {}
        self._renew_at = 0.0

    def __len__(self) -> int:
        return len(self._fences)

    @property
    def numbers(self) -> list[int] | None:
        """The owned lanes as `slot // SLOTS_PER_LANE`; None for all of them, which no query needs to ask for."""
        if len(self._fences) == len(LANE_NAMES):
            return None
        return [int(name.rpartition(":")[2]) for name in self._fences]

    async def own(self) -> None:
        """Takes what is free and renews what is ours, when it is time to. Raises Unavailable."""
        now = self._runtime.monotonic()
        if now < self._renew_at and self._fences:
            return
        self._renew_at = now + leases.RENEW_EVERY_S
        owner = self._runtime.owner
        self._fences = await self._runtime.database.write(
            lambda c: leases.take(c, LANE_NAMES, owner), queue=Queue.live, durable=False
        )

    def hold(self, connection: Connection, lanes: Iterable[str]) -> set[str]:
        """Locks these lanes until the transaction ends; gives those that are no longer ours and lets go of them."""
        lost = leases.hold(connection, {lane: self._fences.get(lane, -1) for lane in lanes})
        for name in lost:
            self._fences.pop(name, None)
        return lost

    async def release(self) -> None:
        """Gives all back: others may have them at once."""
        names = list(self._fences)
        self._fences.clear()
        with suppress(Unavailable):
            await self._runtime.database.write(lambda c: leases.release(c, names, self._runtime.owner))
