"""Signals: "look again" between tasks and processes. They carry no truth: losing one costs at most a second, because
everyone who waits for one also looks by itself (`POLL_S`).

Topics: `intake` (open events), `outbox` (queued messages), `config` (channels, flows, stops), `live` (console).
"""

from __future__ import annotations

from typing import Protocol

POLL_S = 1.0  # the longest that anything waits for a signal that got lost


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
