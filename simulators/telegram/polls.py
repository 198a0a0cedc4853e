"""Polls that bots sent: their state on the wire, and votes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from simulators.clock import Timer
from simulators.telegram.state import Wire

# Old polls beyond this are forgotten; a vote on them is refused.
POLLS_LIMIT = 10_000


@dataclass(slots=True)
class Poll:
    """One poll. `votes`: voter id → indexes of the options."""

    id: str
    bot_token: str
    question: str
    options: list[str]
    is_anonymous: bool = True
    allows_multiple_answers: bool = False
    type: str = "regular"
    correct_option_id: int | None = None
    explanation: str | None = None
    open_period: int | None = None
    close_date: int | None = None
    is_closed: bool = False
    votes: dict[int, list[int]] = field(default_factory=dict)
    closing: Timer | None = None

    def wire(self) -> Wire:
        """The Poll object as it is now."""
        counts = [0] * len(self.options)
        for chosen in self.votes.values():
            for index in chosen:
                counts[index] += 1
        wire: Wire = {
            "id": self.id,
            "question": self.question,
            "options": [
                {"persistent_id": str(index), "text": text, "voter_count": counts[index]}
                for index, text in enumerate(self.options)
            ],
            "total_voter_count": len(self.votes),
        }
        if self.open_period:
            wire["open_period"] = self.open_period
        if self.close_date:
            wire["close_date"] = self.close_date
        wire |= {
            "is_closed": self.is_closed,
            "is_anonymous": self.is_anonymous,
            "allows_multiple_answers": self.allows_multiple_answers,
            "allows_revoting": self.type == "regular",
            "members_only": False,
            "type": self.type,
        }
        if self.correct_option_id is not None:
            wire["correct_option_ids"] = [self.correct_option_id]
            wire["correct_option_id"] = self.correct_option_id
        if self.explanation:
            wire["explanation"] = self.explanation
        return wire


class Polls:
    """All polls by id."""

    def __init__(self) -> None:
        self._polls: dict[str, Poll] = {}

    def add(self, poll: Poll) -> None:
        self._polls[poll.id] = poll
        if len(self._polls) > POLLS_LIMIT:
            self._polls.pop(next(iter(self._polls)))

    def get(self, poll_id: Any) -> Poll | None:
        return self._polls.get(str(poll_id))
