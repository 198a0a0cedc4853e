"""`email`: an e-mail address, checked for form only (nothing is looked up)."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any

from domain.messages import Received, ReceivedContact
from domain.operators import in_words
from flows.answers import AnswerType, Invalid, Reading, Valid, answer, words_of

MAX_EMAIL = 254  # characters: RFC 5321, 4.5.3.1.3

DOMAINS = 2_000  # remembered

_PLAIN_NAME = re.compile(r"[a-z0-9]+(?:[._+-][a-z0-9]+){0,8}")  # the library writes some in lower case
_WRAPPING = " \t<>()[]\"',;:.!?"
_PLAUSIBLE = re.compile(r"[^\s@]{1,64}@[^\s@]{1,189}\Z")


@answer
class Email(AnswerType):
    """`Anna@Example.COM` → `Anna@example.com`; an address inside a short sentence is found."""

    key = "email"
    label = in_words("e-mail", "e-mail")
    reasons = ("email",)

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        text = received.email if isinstance(received, ReceivedContact) else words_of(received)
        if not text or len(text) > 2 * MAX_EMAIL:
            return Invalid("email")
        words = [word.strip(_WRAPPING).removeprefix("mailto:") for word in text.split() if "@" in word]
        if len(words) != 1 or not _PLAUSIBLE.match(words[0]):
            return Invalid("email")
        address = _normal(words[0])
        return Invalid("email") if address is None else Valid(address, text)


def _normal(address: str) -> str | None:
    """The address as the library writes it; None for what it refuses. Most share their domain with others, and have a
    name in which there is nothing to be found out."""
    name, _, domain = address.rpartition("@")
    if len(address) > MAX_EMAIL or not domain.isascii() or not _PLAIN_NAME.fullmatch(name):
        return _validated(address)
    checked = _validated_domain(domain)
    return None if checked is None else f"{name}@{checked}"


@lru_cache(DOMAINS)
def _validated_domain(domain: str) -> str | None:
    whole = _validated(f"a@{domain}")
    return None if whole is None else whole.removeprefix("a@")


def _validated(address: str) -> str | None:
    check, refused = _validator()
    try:
        return str(check(address, check_deliverability=False).normalized)
    except refused:
        return None


@cache
def _validator() -> tuple[Any, type[Exception]]:
    """The library, when the first address has to be read: it costs a fifth of a second to load."""
    from email_validator import EmailNotValidError, validate_email

    return validate_email, EmailNotValidError
