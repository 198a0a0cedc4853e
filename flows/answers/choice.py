"""`choice`: one of the options that the step lists. Which one was meant is decided by `flows/options.py`."""

from __future__ import annotations

from domain.messages import Received
from domain.operators import in_words
from flows.answers import Invalid, Reading, Valid, answer


@answer
class Choice:
    """The step resolves the option before it asks here: what arrives did not name one."""

    key = "choice"
    label = in_words("scelta", "choice")
    asks_for = ""

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        return Invalid("choice")
