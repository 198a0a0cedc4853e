"""When a run pauses by itself."""

from __future__ import annotations

import pytest

from campaigns.brakes import CANARIES, ahead, verdict


@pytest.mark.parametrize(
    ("totals", "reason"),
    [
        ({}, ""),
        ({"sent": 1_000, "failed": 5, "failed:blocked_by_contact": 5}, ""),
        ({"failed:template_invalid": 1, "failed": 1, "sent": 900}, "template_invalid"),
        ({"failed:rejected": 2, "failed": 2}, ""),
        ({"failed:rejected": 2, "failed:media_invalid": 1, "failed": 3}, "content_refused"),
        ({"failed:rejected": 19, "failed": 19, "sent": 100}, ""),
        ({"failed:rejected": 20, "failed": 20, "sent": 100}, "content_refused"),
        ({"failed:rejected": 20, "failed": 20, "sent": 1_000}, ""),
        (
            {"failed:unreachable": 30, "failed:blocked_by_contact": 20, "failed": 50, "sent": 200},
            "too_many_unreachable",
        ),
        ({"failed:unreachable": 49, "failed": 49}, ""),
        ({"unknown": 20, "sent": 100}, "too_many_unknown"),
    ],
)
def test_the_limits(totals: dict[str, int], reason: str) -> None:
    """Each with the smallest number that counts."""
    assert verdict(totals, {}) == reason


def test_a_person_who_resumes_is_believed() -> None:
    """Only what came after the baseline counts."""
    totals = {"failed:rejected": 3, "failed": 3}
    assert verdict(totals, totals) == ""
    assert verdict({**totals, "failed:rejected": 6, "failed": 6}, totals) == "content_refused"


def test_canaries_first() -> None:
    """Few until their outcomes are known, then as many as the channel allows."""
    assert ahead({"pending": 1_000}, {}, 500) == CANARIES
    assert ahead({"sent": CANARIES - 1}, {}, 500) == CANARIES
    assert ahead({"sent": CANARIES - 1, "failed": 1}, {}, 500) == 500
    assert ahead({"sent": 900}, {"sent": 900}, 500) == CANARIES
