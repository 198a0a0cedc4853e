"""Signals: "look again" between tasks and processes. They carry no truth: losing one costs at most a second, because
everyone who waits for one also looks by itself (`POLL_S`).

Topics: `intake` (open events), `outbox` (queued messages), `config` (channels, flows, stops), `live` (console).
"""

from __future__ import annotations

import asyncio
from typing import Protocol

POLL_S = 1.0  # the longest that anything waits for a signal that got lost
LISTEN_S = 60.0  # who only listens, and looks for nothing when the time is up


def until_look(period_s: float = POLL_S) -> float:
    """Seconds until the next moment at which everybody who looks so often looks: at most the period. A process that
    wakes to look once finds in its caches what the second look needs; spread over the second each starts cold."""
    left = period_s - asyncio.get_running_loop().time() % period_s
    return left if left > period_s / 50 else period_s


class Signals(Protocol):
    """Wakes those who wait for a topic."""

    def notify(self, topic: str) -> None:
        """Wakes everyone who waits for the topic, here and in other processes. Never blocks, never fails."""

    async def wait(self, topic: str, timeout_s: float) -> bool:
        """Waits for the topic; false when the time was up. A notification between two waits is not lost."""

    def trouble(self) -> str:
        """What keeps notifications from other processes at the moment, as the name of an error; empty: nothing."""

    async def close(self) -> None:
        """Lets go of connections."""
