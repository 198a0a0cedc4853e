"""`email`: an e-mail address, checked for form only (nothing is looked up)."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from domain.messages import Received, ReceivedContact
from domain.operators import in_words
from flows.answers import Invalid, Reading, Valid, answer, words_of

MAX_EMAIL = 254  # characters: RFC 5321, 4.5.3.1.3

_WRAPPING = " \t<>()[]\"',;:.!?"
_PLAUSIBLE = re.compile(r"[^\s@]{1,64}@[^\s@]{1,189}\Z")


@answer
class Email:
    """`Anna@Example.COM` → `Anna@example.com`; an address inside a short sentence is found."""

    key = "email"
    label = in_words("e-mail", "e-mail")
    asks_for = ""

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        text = received.email if isinstance(received, ReceivedContact) else words_of(received)
        if not text or len(text) > 2 * MAX_EMAIL:
            return Invalid("email")
        words = [word.strip(_WRAPPING).removeprefix("mailto:") for word in text.split() if "@" in word]
        if len(words) != 1 or not _PLAUSIBLE.match(words[0]):
            return Invalid("email")
        check, refused = _validator()
        try:
            return Valid(check(words[0], check_deliverability=False).normalized, text)
        except refused:
            return Invalid("email")


@cache
def _validator() -> tuple[Any, type[Exception]]:
    """The library, when the first address has to be read: it costs a fifth of a second to load."""
    from email_validator import EmailNotValidError, validate_email

    return validate_email, EmailNotValidError
