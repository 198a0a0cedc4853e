"""Codes of referrals: who invited somebody, in a form that fits into a link and that nobody can make up.

A link's payload is `ref-<program>-<code>`, at most 56 of the 64 characters that platforms allow. The code is the
contact's id and a keyed check of 30 bits: a guess is right once in a billion, and each costs a message.
"""

from __future__ import annotations

import hashlib

from domain import ids
from domain.errors import RejectedInput

PREFIX = "ref"
PROGRAM = r"^[a-z][a-z0-9_]{0,31}$"
_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
_CHECK = 6  # letters of 5 bits


def payload(key: str, program: str, contact_id: int) -> str:
    """The deep link's payload by which a contact invites others to a program."""
    letters = ids.to_text("contact", contact_id).partition("_")[2]
    return f"{PREFIX}-{program}-{letters}{_check(key, program, contact_id)}"


def referrer(key: str, program: str, text: str) -> int | None:
    """The contact who invited by this payload; None when it is of another program, of no referral, or made up."""
    head = f"{PREFIX}-{program}-"
    code = text.lower().removeprefix(head)
    if not text.lower().startswith(head) or len(code) != ids.TEXT_LENGTH + _CHECK:
        return None
    try:
        contact_id = ids.from_text("contact", f"{ids.PREFIXES['contact']}_{code[:-_CHECK]}")
    except RejectedInput:
        return None
    return contact_id if code[-_CHECK:] == _check(key, program, contact_id) else None


def _check(key: str, program: str, contact_id: int) -> str:
    digest = hashlib.blake2b(f"{program}:{contact_id}".encode(), key=key.encode()[:64], digest_size=4)
    number = int.from_bytes(digest.digest())
    return "".join(_LETTERS[(number >> shift) & 31] for shift in range(0, 5 * _CHECK, 5))
