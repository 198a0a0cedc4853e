"""`choices`: several of the options that the step lists; `min` and `max` say how many.

Tapped one after the other and ended with "Done", or written at once: `1, 3`, `rosso e blu`, `tutti` → `["red",
"blue"]`, in the order of the options. With `min: 0` "nessuno" → `[]`. Without `min` one is needed.
`flows/several.py` does it.
"""

from __future__ import annotations

from domain.messages import Received
from domain.operators import in_words
from flows.answers import AnswerType, Invalid, Reading, Valid, answer


@answer
class Choices(AnswerType):
    """The step resolves the options before it asks here: what arrives did not name any."""

    key = "choices"
    label = in_words("più scelte", "several choices")
    reasons = ("choices", "too_few", "too_many")
    takes = frozenset(("options", "min", "max"))
    bounds = "number"

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        return Invalid("choices")
