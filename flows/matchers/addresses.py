"""E-mail addresses and phone numbers in a text."""

from __future__ import annotations

import re
from typing import Any

from flows.excellent.environment import Environment
from flows.matchers import Match, register

MAX_LOOKED_AT = 1_000  # characters
MAX_CANDIDATES = 3  # that the library is asked about, some 100 µs each

_EMAIL = re.compile(
    r"[A-Za-z0-9_+'~$&!#%*^-][A-Za-z0-9._+'~$&!#%*^-]{0,63}@"
    r"(?:[^\W_][\w-]{0,62}\.){1,8}[^\W\d_]{2,24}(?![\w@])"
)
_DIGITS = re.compile(r"\+?[0-9][0-9 ().\-/]{4,24}[0-9]", re.ASCII)


@register("has_email", "text", it="contiene un'e-mail", en="has an e-mail address", price=50)
def has_email(environment: Environment, text: str) -> Match | None:
    """The first address in the text."""
    found = _EMAIL.search(text[:MAX_LOOKED_AT])
    return Match(found[0]) if found else None


@register("has_phone", "text, [text]", it="contiene un telefono", en="has a phone number", price=1_000)
def has_phone(environment: Environment, text: str, country: str | None = None) -> Match | None:
    """The first number that can be one, in E.164. Without a country code it belongs to `country`, else to that of the
    contact's own number, else to the business's."""
    import phonenumbers  # metadata is large: only flows that look for numbers pay for it

    region = (country or _region_of(environment.phone) or environment.region).upper()
    for found in _candidates(text):
        try:
            number: Any = phonenumbers.parse(found, region if len(region) == 2 else None)
        except phonenumbers.NumberParseException:
            continue
        known = phonenumbers.is_possible_number if found.startswith("+") else phonenumbers.is_valid_number
        if known(number):
            return Match(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    return None


def _region_of(phone: str) -> str:
    """The country of a number with a country code; empty for what is none, and for numbers of no country."""
    import phonenumbers

    try:
        found = phonenumbers.region_code_for_number(phonenumbers.parse(phone, None))
    except phonenumbers.NumberParseException:
        return ""
    return found if found is not None and len(found) == 2 else ""


def _candidates(text: str) -> list[str]:
    found = [match[0] for match in _DIGITS.finditer(text[:MAX_LOOKED_AT])]
    return [f"+{one[2:]}" if one.startswith("00") else one for one in found[:MAX_CANDIDATES]]
