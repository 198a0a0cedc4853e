"""How many calls a workspace may make: a bucket for the rate and a count of those under way, in this process.

A workspace that asks for more waits (its calls, not others'), as long as somebody still waits for the answer.
"""

from __future__ import annotations

from collections.abc import Callable

RATE = 10.0  # calls a second of a workspace in the long run: a service that minds more asks for less
BURST = 60  # at once after a quiet time: a campaign's answers come together
UNDER_WAY = (
    16  # of a workspace at a time: a quarter of the process, so that one slow service leaves room for others
)
WORKSPACES = 10_000  # remembered; the longest quiet one goes first and begins again with a full bucket


class Limits:
    """`monotonic` gives seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._full_at: dict[int, float] = {}  # by workspace: when its bucket will be full again
        self._under_way: dict[int, int] = {}

    def wait(self, workspace_id: int) -> float:
        """Takes one call out of the bucket; gives the seconds until it may be made (0.0: now)."""
        now = self._monotonic()
        full_at = max(self._full_at.pop(workspace_id, now), now) + 1 / RATE
        self._full_at[workspace_id] = full_at
        if len(self._full_at) > WORKSPACES:
            del self._full_at[next(iter(self._full_at))]
        return max(0.0, full_at - now - BURST / RATE)

    def give_back(self, workspace_id: int) -> None:
        """A call that was taken out is not made after all."""
        if workspace_id in self._full_at:
            self._full_at[workspace_id] -= 1 / RATE

    def enter(self, workspace_id: int) -> bool:
        """Counts a call as under way; false when there is no room."""
        count = self._under_way.get(workspace_id, 0)
        if count >= UNDER_WAY:
            return False
        self._under_way[workspace_id] = count + 1
        return True

    def leave(self, workspace_id: int) -> None:
        """A call under way has ended."""
        count = self._under_way.get(workspace_id, 0) - 1
        if count > 0:
            self._under_way[workspace_id] = count
        else:
            self._under_way.pop(workspace_id, None)
