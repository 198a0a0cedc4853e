"""Ids stay unique when the event loop and the writer thread make them at once."""

from __future__ import annotations

import sys
from threading import Thread

from domain.ids import EPOCH_MS, IdMaker


def test_two_threads_never_get_the_same_id() -> None:
    """A hundred thousand ids from two threads that are switched as often as Python can."""
    maker = IdMaker(1, lambda: EPOCH_MS + 1)
    made: list[list[int]] = [[], []]

    def work(mine: list[int]) -> None:
        mine.extend(maker.next() for _ in range(50_000))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [Thread(target=work, args=(mine,)) for mine in made]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len({*made[0], *made[1]}) == 100_000
