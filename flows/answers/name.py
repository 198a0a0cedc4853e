"""`name`: a person's name. Letters of any script; introductions ("mi chiamo …") and spaces are tidied away."""

from __future__ import annotations

from domain.comparisons import fold
from domain.messages import Received
from domain.operators import in_words
from flows.answers import AnswerType, Invalid, Reading, Valid, answer, words_of

MAX_NAME = 100  # characters
_OPENINGS = ("mi chiamo ", "io sono ", "sono ", "il mio nome è ", "my name is ", "i am ", "i'm ", "it's ")
_ALLOWED = set(" .'’-")


@answer
class Name(AnswerType):
    """`mi chiamo anna rossi` → `Anna Rossi`; a name that has capitals is left as it was written."""

    key = "name"
    label = in_words("nome", "name")
    reasons = ("name",)

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        text = words_of(received)
        if not text or len(text) > 2 * MAX_NAME:
            return Invalid("name")
        name = " ".join(text.split())
        for opening in _OPENINGS:
            if fold(name).startswith(opening):
                name = name[len(opening) :]
                break
        name = name.strip(" .,!;:")
        if not name or len(name) > MAX_NAME or not any(c.isalpha() for c in name):
            return Invalid("name")
        if not all(c.isalpha() or c in _ALLOWED or not c.isascii() for c in name):
            return Invalid("name")
        return Valid(name.title() if name.islower() else name, text)
