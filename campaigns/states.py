"""What may become of a campaign and of one recipient: two small machines, pure.

A campaign   draft → scheduled → running ⇄ paused → finished, and cancelled from anywhere before the end. Its run has
             the same words from `running` on. Doing again what is already done changes nothing; anything else that the
             table does not hold is a Conflict.
A recipient  pending → queued → sent | failed | skipped | unknown. The platform's later word may correct an outcome
             (`after`); none leads back to pending, and only withdrawing an unsent outbox row leads from queued to
             pending. A receipt (delivered, read) proves that a message was sent, whatever was believed before.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from domain.errors import Conflict


class CampaignState(StrEnum):
    """Where a campaign stands."""

    draft = "draft"
    scheduled = "scheduled"
    running = "running"
    paused = "paused"
    finished = "finished"
    cancelled = "cancelled"


_S = CampaignState
_TRANSITIONS: dict[str, dict[CampaignState, CampaignState]] = {
    "schedule": {_S.draft: _S.scheduled, _S.scheduled: _S.scheduled},
    "unschedule": {_S.scheduled: _S.draft, _S.draft: _S.draft},
    "start": {_S.draft: _S.running, _S.scheduled: _S.running, _S.running: _S.running},
    "pause": {_S.running: _S.paused, _S.paused: _S.paused},
    "resume": {_S.paused: _S.running, _S.running: _S.running},
    "finish": {_S.running: _S.finished, _S.finished: _S.finished},
    "cancel": {
        _S.draft: _S.cancelled,
        _S.scheduled: _S.cancelled,
        _S.running: _S.cancelled,
        _S.paused: _S.cancelled,
        _S.cancelled: _S.cancelled,
    },
}


def next_state(state: str, action: str) -> CampaignState:
    """The state after an action; the same state when there is nothing to do. Raises Conflict saying what it is now."""
    current = CampaignState(state)
    following = _TRANSITIONS[action].get(current)
    if following is None:
        able = " or ".join(before for before, after in _TRANSITIONS[action].items() if before is not after)
        raise Conflict(f"this campaign is {current}: only one that is {able} can be told to {action}")
    return following


class RecipientState(IntEnum):
    """Where one person of a run stands; pending and queued count together as pending."""

    pending = 0
    queued = 1
    sent = 2
    failed = 3
    skipped = 4
    unknown = 5


OUTCOMES = ("pending", "sent", "failed", "skipped", "unknown")  # what the total is the sum of
RECEIPTS = {"delivered": 1, "read": 2}
_R = RecipientState


def outcome_name(state: int) -> str:
    """The name under which a recipient's state is counted."""
    return "pending" if state == _R.queued else RecipientState(state).name


def after(state: int, receipt: int, told: str) -> tuple[int, int]:
    """A recipient's (state, receipt) after an outcome was told: sent, failed, skipped, expired, unknown, delivered,
    read. Pure and idempotent; outcomes may come doubled and out of order."""
    if told in RECEIPTS:
        return _R.sent, max(receipt, RECEIPTS[told])
    match told:
        case "sent" if state in (_R.queued, _R.unknown):
            return _R.sent, receipt
        case "failed" if state in (_R.queued, _R.unknown) or (state == _R.sent and not receipt):
            return _R.failed, receipt
        case "skipped" | "expired" if state == _R.queued:
            return _R.skipped, receipt
        case "unknown" if state == _R.queued:
            return _R.unknown, receipt
    return state, receipt
