"""Signals within one process: the embedded default."""

from __future__ import annotations

import asyncio
from collections import defaultdict


class LocalSignals:
    """One event per topic. A single waiter per topic and process, as everywhere here."""

    def __init__(self) -> None:
        self._events: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def notify(self, topic: str) -> None:
        """Wakes the waiter of the topic, now or at its next wait."""
        self._events[topic].set()

    async def wait(self, topic: str, timeout_s: float) -> bool:
        """True when notified since the last wait."""
        event = self._events[topic]
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            return False
        event.clear()
        return True

    def trouble(self) -> str:
        """There are no other processes."""
        return ""

    async def close(self) -> None:
        """Nothing to let go of."""
