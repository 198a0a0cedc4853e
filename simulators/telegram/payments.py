"""A payment between the tap on Pay and the bot's word: answered within 10 s, or it fails."""

from __future__ import annotations

from collections.abc import Callable

from simulators.clock import Clock

ANSWER_WITHIN_S = 10.0


class Checkout:
    """One pre_checkout_query that waits. `paid` and `failed` are called once, one of them."""

    def __init__(self, clock: Clock, paid: Callable[[], None], failed: Callable[[str], None]) -> None:
        self._paid = paid
        self._failed = failed
        self._timer = clock.call_later(ANSWER_WITHIN_S, lambda: failed("the bot did not answer in time"))

    def settle(self, ok: bool, reason: str) -> None:
        self._timer.cancel()
        if ok:
            self._paid()
        else:
            self._failed(reason)
