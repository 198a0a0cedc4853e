"""The clock of the simulated world: real by default, virtual when a test wants to own time.

Every timer of both networks (retries, expiry, rate limits, delayed statuses) runs on it. In virtual mode time stands
still until `advance` moves it; `advance` stops at each timer on the way, lets the work it starts settle, and goes on,
so that a retry chain of 2, 4, 8 … seconds plays out in order within one call.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Real seconds that `advance` waits for work in flight (an HTTP delivery) before it moves on. Local receivers answer in
# milliseconds; one that hangs on purpose must not stop the clock, because its timeout is a timer of this clock.
SETTLE_S = 0.5


class Timer:
    """A callback due at a moment of the clock; `cancel` may be called at any time, also twice."""

    __slots__ = ("_clock", "_run", "when")

    def __init__(self, clock: Clock, when: float, run: Callable[[], Any]) -> None:
        self._clock = clock
        self._run: Callable[[], Any] | None = run
        self.when = when

    def cancel(self) -> None:
        if self._run is not None:
            self._run = None
            self._clock._forget_one()

    @property
    def live(self) -> bool:
        return self._run is not None

    def fire(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            run()


class Clock:
    """Seconds since 1970 (`now`), timers and sleeps. `at` given: virtual from the start."""

    def __init__(self, at: float | None = None) -> None:
        self._at = at
        self._offset = 0.0
        self._heap: list[tuple[float, int, Timer]] = []
        self._sequence = 0
        self._cancelled = 0
        self._handle: asyncio.TimerHandle | None = None
        self._busy = 0

    @property
    def virtual(self) -> bool:
        return self._at is not None

    def now(self) -> float:
        return time.time() + self._offset if self._at is None else self._at

    def now_s(self) -> int:
        return int(self.now())

    def now_ms(self) -> int:
        return int(self.now() * 1000)

    # --- timers -----------------------------------------------------------------------------------------------------

    def call_later(self, delay_s: float, run: Callable[[], Any]) -> Timer:
        """Call `run` once, `delay_s` seconds from now."""
        timer = Timer(self, self.now() + max(0.0, delay_s), run)
        self._sequence += 1
        heapq.heappush(self._heap, (timer.when, self._sequence, timer))
        if self._heap[0][2] is timer:
            self._arm()
        return timer

    async def sleep(self, delay_s: float) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not done.done():
                done.set_result(None)

        timer = self.call_later(delay_s, wake)
        try:
            await done
        finally:
            timer.cancel()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._at is None and self._heap:
            loop = asyncio.get_running_loop()
            self._handle = loop.call_later(max(0.0, self._heap[0][0] - self.now()), self._ring)

    def _ring(self) -> None:
        self._handle = None
        self._fire_due()
        self._arm()

    def _fire_due(self) -> None:
        # Timers set by those fired now wait for the next round, or a timer that re-sets itself would never let go.
        limit, now = self._sequence, self.now()
        while self._heap and self._heap[0][0] <= now and self._heap[0][1] <= limit:
            timer = heapq.heappop(self._heap)[2]
            if timer.live:
                timer.fire()
            else:
                self._cancelled -= 1

    def _forget_one(self) -> None:
        self._cancelled += 1
        if self._cancelled > 1000 and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].live]
            heapq.heapify(self._heap)
            self._cancelled = 0

    # --- moving time ------------------------------------------------------------------------------------------------

    def go_virtual(self, at: float | None = None) -> None:
        """Stop time, here or at `at` (seconds). Timers already past due fire at the next `advance`."""
        self._at = self.now() if at is None else at
        self._arm()

    def go_real(self) -> None:
        """Back to the wall clock, without any offset of earlier jumps."""
        self._at, self._offset = None, 0.0
        self._arm()

    async def advance(self, seconds: float) -> None:
        """Move time forward, through every timer on the way (in real mode: jump ahead and let time flow on)."""
        target = self.now() + seconds
        while True:
            await self.settle()
            while self._heap and not self._heap[0][2].live:
                heapq.heappop(self._heap)
                self._cancelled -= 1
            if not self._heap or self._heap[0][0] > target:
                break
            self._set(max(self.now(), self._heap[0][0]))
            self._fire_due()
        self._set(max(self.now(), target))
        self._arm()
        await self.settle()

    def _set(self, at: float) -> None:
        if self._at is None:
            self._offset += at - self.now()
        else:
            self._at = at

    async def settle(self) -> None:
        """Let tasks run until no work in flight is left, at most `SETTLE_S` of real time."""
        for _ in range(5):
            await asyncio.sleep(0)
        deadline = time.monotonic() + SETTLE_S
        while self._busy and time.monotonic() < deadline:  # noqa: ASYNC110 - polls once in a test, not worth an Event
            await asyncio.sleep(0.002)

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Mark work that `advance` shall wait for, such as one webhook delivery."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
