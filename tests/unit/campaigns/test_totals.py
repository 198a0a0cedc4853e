"""Sums, speed and the time to the end."""

from __future__ import annotations

from campaigns.reports import per_second
from campaigns.totals import SAMPLES_MS, done, plus, sampled


def test_totals_add_up_and_zeros_go() -> None:
    """A person who moved on leaves nothing behind."""
    totals = plus({"total": 3, "pending": 3}, {"pending": -3, "sent": 2, "failed": 1, "failed:rejected": 1})
    assert totals == {"total": 3, "sent": 2, "failed": 1, "failed:rejected": 1}
    assert done(totals) == 3


def test_speed_is_that_of_the_last_minute() -> None:
    """Samples come at most every two seconds and go after a minute."""
    samples: list[list[int]] = []
    for second in range(200):
        samples = sampled(samples, second * 25, second * 1_000)
    assert samples[-1][0] - samples[0][0] <= SAMPLES_MS
    assert len(samples) <= 32
    assert per_second(samples, 200 * 25, 200_000) == 25.0
    assert per_second([], 5, 1_000) is None
    assert per_second([[1_000, 5]], 5, 1_500) is None
