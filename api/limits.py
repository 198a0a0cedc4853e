"""How much one caller may ask: token buckets in this process, per API key and per address of those without one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

MAX_CALLERS = (
    10_000  # buckets kept; of more the one that was quiet longest is forgotten, and starts full again
)


class Buckets:
    """Buckets by caller. `clock`: monotonic seconds."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> float:
        """Takes one; gives 0, or the seconds until there is one again (and takes nothing)."""
        level = self._level(caller)
        wait = 0.0 if level >= 1 else (1 - level) / self._per_second
        self._put(caller, level if wait else level - 1)
        return wait

    def wait_of(self, caller: str) -> float:
        """The seconds until there is one, without taking it."""
        level = self._level(caller)
        return 0.0 if level >= 1 else (1 - level) / self._per_second

    def _level(self, caller: str) -> float:
        now = self._clock()
        level, at = self._levels.get(caller, (self._burst, now))
        return min(self._burst, level + (now - at) * self._per_second)

    def _put(self, caller: str, level: float) -> None:
        self._levels[caller] = (level, self._clock())
        self._levels.move_to_end(caller)
        while len(self._levels) > MAX_CALLERS:
            self._levels.popitem(last=False)
