"""The two machines: what a campaign may become, and what an outcome does to a recipient."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.states import OUTCOMES, CampaignState, RecipientState, after, next_state, outcome_name
from domain.errors import Conflict

R = RecipientState
TOLD = ("sent", "failed", "skipped", "expired", "unknown", "delivered", "read")


@pytest.mark.parametrize(
    ("state", "action", "following"),
    [
        ("draft", "start", "running"),
        ("scheduled", "start", "running"),
        ("running", "start", "running"),
        ("running", "pause", "paused"),
        ("paused", "resume", "running"),
        ("paused", "cancel", "cancelled"),
        ("cancelled", "cancel", "cancelled"),
        ("running", "finish", "finished"),
    ],
)
def test_what_is_possible(state: str, action: str, following: str) -> None:
    """And doing again what is done changes nothing."""
    assert next_state(state, action) is CampaignState(following)


@pytest.mark.parametrize(
    ("state", "action"),
    [
        ("paused", "start"),
        ("finished", "resume"),
        ("cancelled", "start"),
        ("draft", "pause"),
        ("finished", "cancel"),
    ],
)
def test_what_is_not_possible_says_what_the_campaign_is(state: str, action: str) -> None:
    """A Conflict with both words in it."""
    with pytest.raises(Conflict, match=f"(?s){state}.*{action}"):
        next_state(state, action)


def test_a_true_outcome_replaces_unknown_and_nothing_leads_back() -> None:
    """Also when it comes late, twice, or in the wrong order."""
    assert after(R.unknown, 0, "sent") == (R.sent, 0)
    assert after(R.sent, 0, "unknown") == (R.sent, 0)
    assert after(R.sent, 0, "failed") == (R.failed, 0)  # a platform that accepts first and refuses later
    assert after(R.sent, 1, "failed") == (R.sent, 1)
    assert after(R.failed, 0, "delivered") == (R.sent, 1)
    assert after(R.queued, 0, "read") == (R.sent, 2)
    assert after(R.sent, 2, "delivered") == (R.sent, 2)
    assert after(R.queued, 0, "expired") == (R.skipped, 0)
    assert after(R.unknown, 0, "skipped") == (R.unknown, 0)


@given(st.sampled_from(list(R)), st.integers(0, 2), st.lists(st.sampled_from(TOLD), max_size=8))
def test_outcomes_are_idempotent_and_never_pending_again(state: int, receipt: int, told: list[str]) -> None:
    """Whatever is told in whatever order."""
    for word in told:
        before = (state, receipt)
        state, receipt = after(state, receipt, word)
        assert after(state, receipt, word) == (state, receipt)
        assert receipt >= before[1]
        assert before == (state, receipt) or state not in (R.pending, R.queued)
        assert outcome_name(state) in OUTCOMES
