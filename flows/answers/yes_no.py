"""`yes_no`: yes or no, by button or in words.

`sì`, `certo`, `come no`, `ok`, `👍`, `yes please` → `true`; `no grazie`, `nope`, `👎` → `false`. "sì e no", "forse"
and "no problem" are neither. The words are those of `flows/words.py`.
"""

from __future__ import annotations

from domain.messages import Received, ReceivedText, Tap
from domain.operators import in_words
from flows.answers import AnswerType, Invalid, Reading, Valid, answer
from flows.options import plain
from flows.words import agrees


@answer
class YesNo(AnswerType):
    """Gives true or false; category `yes` or `no`. The buttons' ids are the categories."""

    key = "yes_no"
    label = in_words("sì o no", "yes or no")
    reasons = ("yes_no",)

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        match received:
            case Tap(option_id=("yes" | "no") as option, title=title):
                return Valid(option == "yes", title or option, option)
            case ReceivedText(text=text) | Tap(title=text):
                words = plain(text) or text[:200].strip()
                meant = agrees(words)
                if meant or words == "1":
                    return Valid(True, text, "yes")
                if meant is False or words == "2":
                    return Valid(False, text, "no")
        return Invalid("yes_no")
