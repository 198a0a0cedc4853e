"""`phone`: a phone number, given in E.164. A number without a country code belongs to the business's region."""

from __future__ import annotations

from functools import cache
from typing import Any

from domain.messages import Received, ReceivedContact
from domain.operators import in_words
from flows.answers import AnswerType, Invalid, Reading, Valid, answer, words_of

MAX_INPUT = 60  # characters


@answer
class Phone(AnswerType):
    """Category `verified` when the platform vouches that the number is the sender's own, else `valid`."""

    key = "phone"
    label = in_words("telefono", "phone number")
    reasons = ("phone",)
    asks_for = "contact"
    takes = frozenset(("country",))

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        card = isinstance(received, ReceivedContact)
        text = received.phone if isinstance(received, ReceivedContact) else words_of(received)
        if not text or len(text) > MAX_INPUT:
            return Invalid("phone")
        if card and not text.startswith(("+", "00")):
            text = f"+{text}"  # platforms give the international form, some without the plus
        number = _e164(text, reading.region)
        if number is None:
            return Invalid("phone")
        return Valid(number, text, "verified" if card and received.own else "valid")  # type: ignore[union-attr]


@cache
def _library() -> Any:
    import phonenumbers  # its metadata is read when the first number comes

    return phonenumbers


def _e164(text: str, region: str) -> str | None:
    library = _library()
    if text.startswith("00"):
        text = f"+{text[2:]}"
    try:
        number = library.parse(text, region)
    except library.NumberParseException:
        return None
    # With its country code a number may belong to a range that is newer than our tables; without, it must be known.
    known = library.is_possible_number if text.startswith("+") else library.is_valid_number
    if not known(number):
        return None
    return str(library.format_number(number, library.PhoneNumberFormat.E164))
