"""Sealing: what lies in the database or on disk encrypted, and keyed hashes that stand for external ids.

AES-256-GCM with AAD = table, row, column: a sealed value moved to another place does not open. Keys are derived from
`SECRET_KEY` by HKDF, one per use, and never lie in a backup. A sealed value is base64 text of nonce + ciphertext, so
that bulk statements can carry it inside JSON on both databases.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from domain.errors import RejectedInput

NONCE = (
    12  # bytes; random, at most 2^32 seals under one key (NIST SP 800-38D): far beyond an installation's life
)
NONCES = 64  # drawn at a time
MIN_SECRET = 32  # characters
_NUMBERED = re.compile(r"[a-z]{3}:[1-9][0-9]{0,15}")


class Sealer:
    """Seals and hashes with keys derived from the installation's secret. Thread-safe."""

    def __init__(self, secret: str, *, random: Callable[[int], bytes] = os.urandom) -> None:
        if len(secret) < MIN_SECRET:
            raise RejectedInput(f"must have at least {MIN_SECRET} characters", where="PASSAPAROLA_SECRET_KEY")
        self._aead = AESGCM(_derive(secret, b"passaparola seal 1"))
        self._inner, self._outer = _hmac_states(_derive(secret, b"passaparola keyed hash 1"))
        self._random = random
        self._nonces: list[bytes] = []

    def seal(self, value: bytes, *, table: str, row: int | str, column: str) -> str:
        """Base64 text that only opens at the same table, row and column."""
        nonce = self._nonce()
        sealed = self._aead.encrypt(nonce, value, f"{table}/{row}/{column}".encode())
        return base64.b64encode(nonce + sealed).decode()

    def open(self, sealed: str, *, table: str, row: int | str, column: str) -> bytes:
        """The value. Raises RejectedInput when it was sealed elsewhere or with another secret."""
        try:
            raw = base64.b64decode(sealed, validate=True)
            return self._aead.decrypt(raw[:NONCE], raw[NONCE:], f"{table}/{row}/{column}".encode())
        except (ValueError, InvalidTag) as error:
            raise RejectedInput(
                "cannot be opened: PASSAPAROLA_SECRET_KEY is not the one it was sealed with "
                "(every process needs the same), or it was moved",
                where=f"{table}.{column}",
            ) from error

    def keyed_hash(self, *parts: str) -> str:
        """22 characters (128 bits) that stand for the parts and reveal nothing without the secret."""
        message = "\x1f".join(parts).encode("utf-8", "surrogatepass")
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return base64.urlsafe_b64encode(outer.digest()[:16]).decode().rstrip("=")

    def _nonce(self) -> bytes:
        """One of many drawn at once: asking the system for each would also let another thread in each time."""
        while True:
            try:
                return self._nonces.pop()  # one step of the interpreter: no two threads get the same
            except IndexError:
                drawn = self._random(NONCE * NONCES)
                self._nonces.extend(drawn[at : at + NONCE] for at in range(0, len(drawn), NONCE))


def event_key(kind: str, external: str) -> str:
    """The key of an event in `seen`, at most 22 characters.

    Of a numbered event (`upd:123`) the number itself, in hexadecimal of one length: neighbours in time are neighbours
    in the table, and a commit of thirty writes two pages of it instead of thirty. Of any other one 16 bytes of a hash
    over (kind, external id). A channel has one kind, so the kind need not stand in a number's key.
    """
    if _NUMBERED.fullmatch(external):
        head, _, number = external.partition(":")
        return f"{head}:{int(number):016x}"
    digest = hashlib.blake2b(
        f"{kind}\x1f{external}".encode("utf-8", "surrogatepass"), digest_size=16
    ).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _hmac_states(key: bytes) -> tuple[Any, Any]:
    """HMAC-SHA256 (RFC 2104) with the key taken in. `hmac.digest` would let other threads in at each call, which is
    dearer than the hash."""
    padded = key.ljust(hashlib.sha256().block_size, b"\0")
    return (
        hashlib.sha256(bytes(byte ^ 0x36 for byte in padded)),
        hashlib.sha256(bytes(byte ^ 0x5C for byte in padded)),
    )


def _derive(secret: str, use: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=use).derive(secret.encode())
