"""Places, addresses, files: texts with a form of their own."""

from __future__ import annotations

import re
from typing import Any

from flows.excellent.evaluation import Evaluation
from flows.excellent.functions import function
from flows.excellent.values import Fault, Object

_URN = re.compile(r"([a-z][a-z0-9]{1,31}):([^?#]{1,255})(?:\?[^#]{0,255})?(?:#(.{0,255}))?\Z", re.ASCII)
PHONE = 1_000  # price: the library takes some 200 µs


@function("text")
def format_location(evaluation: Evaluation, place: str) -> str:
    """`format_location("Rwanda > Kigali")` → Kigali."""
    return place.rpartition(">")[2].strip()


@function("text", price=PHONE)
def format_urn(evaluation: Evaluation, urn: str) -> Any:
    """`format_urn("tel:+250781234567")` → as it is written in its country; others by their name."""
    found = _URN.match(urn)
    if found is None:
        return Fault(f"error calling format_urn: {urn[:64]} is not a valid URN")
    if found[1] in ("tel", "whatsapp"):
        return _national(found[2])
    return found[3] or found[2]


def _national(number: str) -> str:
    import phonenumbers  # metadata is large: only flows that show a number pay for it

    try:
        parsed = phonenumbers.parse(number if number.startswith("+") else f"+{number}", None)
    except phonenumbers.NumberParseException:
        return number
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL)


@function("text")
def urn_parts(evaluation: Evaluation, urn: str) -> Any:
    """`urn_parts("tel:+593979012345")` → scheme, path, display."""
    found = _URN.match(urn)
    if found is None:
        return Fault(f"error calling urn_parts: {urn[:64]} is not a valid URN")
    return Object({"scheme": found[1], "path": found[2], "display": found[3] or ""})


@function("text")
def attachment_parts(evaluation: Evaluation, attachment: str) -> Object:
    """`attachment_parts("image/jpeg:https://example.com/test.jpg")` → content_type, url."""
    head, separator, tail = attachment.partition(":")
    kind, address = (head, tail) if separator and not tail.startswith("//") else ("", attachment)
    return Object({"content_type": kind, "url": address})


@function("any*")
def prompt(evaluation: Evaluation, *values: Any) -> str:
    """A ready instruction for a language model. The wordings belong to RapidPro; here it is empty."""
    return ""
