"""Sealed values open where they were sealed, with the secret they were sealed with, and nowhere else."""

from __future__ import annotations

import base64
import hmac
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import RejectedInput
from storage.sealing import MIN_SECRET, NONCE, NONCES, Sealer, event_key

SECRET = "test secret that is long enough to be one"
SEALER = Sealer(SECRET)
HOME: dict[str, Any] = {"table": "intake", "row": 7, "column": "payload"}


@settings(max_examples=50, deadline=None)
@given(value=st.binary(max_size=200))
def test_what_was_sealed_opens_at_its_place(value: bytes) -> None:
    sealed = SEALER.seal(value, **HOME)
    assert SEALER.open(sealed, **HOME) == value
    assert Sealer(SECRET).open(sealed, **HOME) == value, "after a restart too"
    assert sealed.isascii()
    assert len(value) < 4 or value not in base64.b64decode(sealed)


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"table": "turn"},
        {"row": 8},
        {"row": "70"},
        {"column": "problem"},
        {"table": "intake/7", "row": "payload"},
    ],
)
def test_moved_to_another_place_it_does_not_open(elsewhere: dict[str, Any]) -> None:
    sealed = SEALER.seal(b"anna@example.com", **HOME)
    with pytest.raises(RejectedInput, match="or it was moved"):
        SEALER.open(sealed, **{**HOME, **elsewhere})


def test_another_secret_says_what_to_look_at_and_not_what_is_inside() -> None:
    sealed = SEALER.seal(b"anna@example.com", **HOME)
    with pytest.raises(RejectedInput, match="PASSAPAROLA_SECRET_KEY is not the one") as refused:
        Sealer(SECRET + "!").open(sealed, **HOME)
    assert refused.value.where == "intake.payload"
    assert "anna" not in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("damage", ["", "no base64!", "QUFB", "x" * 40, "ciò"])
def test_a_damaged_value_is_refused(damage: str) -> None:
    with pytest.raises(RejectedInput):
        SEALER.open(damage, **HOME)


@settings(max_examples=30, deadline=None)
@given(position=st.integers(0, 39), bit=st.integers(0, 7))
def test_one_changed_bit_is_noticed(position: int, bit: int) -> None:
    raw = bytearray(base64.b64decode(SEALER.seal(b"abcdefghijkl", **HOME)))
    raw[position] ^= 1 << bit
    with pytest.raises(RejectedInput):
        SEALER.open(base64.b64encode(raw).decode(), **HOME)


def test_the_same_value_sealed_twice_looks_different() -> None:
    assert SEALER.seal(b"same", **HOME) != SEALER.seal(b"same", **HOME)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(RejectedInput, match=f"at least {MIN_SECRET}") as refused:
        Sealer("x" * (MIN_SECRET - 1))
    assert refused.value.where == "PASSAPAROLA_SECRET_KEY"


@settings(max_examples=100, deadline=None)
@given(one=st.lists(st.text(max_size=5), max_size=3), other=st.lists(st.text(max_size=5), max_size=3))
def test_a_keyed_hash_stands_for_its_parts(one: list[str], other: list[str]) -> None:
    """The same for the same, another for others, whatever the text (lone surrogates too); 22 characters."""
    same = "\x1f".join(one) == "\x1f".join(other)
    assert (SEALER.keyed_hash(*one) == SEALER.keyed_hash(*other)) == same
    assert len(SEALER.keyed_hash(*one, "\ud83d")) == 22
    assert SEALER.keyed_hash(*one) != Sealer(SECRET + "!").keyed_hash(*one)


@settings(max_examples=30, deadline=None)
@given(text=st.text(max_size=200))
def test_a_keyed_hash_is_the_standards_hmac(text: str) -> None:
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"passaparola keyed hash 1").derive(
        SECRET.encode()
    )
    digest = hmac.digest(key, text.encode(), "sha256")[:16]
    assert SEALER.keyed_hash(text) == base64.urlsafe_b64encode(digest).decode().rstrip("=")


def test_no_two_values_are_sealed_with_one_nonce_whichever_thread_seals() -> None:
    sealer = Sealer(SECRET)
    with ThreadPoolExecutor(4) as threads:
        sealed = list(threads.map(lambda _: sealer.seal(b"same", **HOME), range(4 * NONCES)))
    assert len({base64.b64decode(one)[:NONCE] for one in sealed}) == len(sealed)


def test_an_events_key_depends_on_kind_and_id() -> None:
    ids = ("raw:1f", "upd:007", "upd:-7", "upd:", "upd:\u0663", "upd:99999999999999999", "\ud83d")
    keys = {event_key(kind, external) for kind in ("telegram", "whatsapp") for external in ids}
    assert len(keys) == 2 * len(ids)
    assert {len(key) for key in keys} == {22}


def test_numbered_events_are_neighbours_in_the_order_of_their_numbers() -> None:
    numbers = (1, 7, 9, 10, 2_147_483_647, 2_147_483_648, 9_007_199_254_740_991)
    keys = [event_key("telegram", f"upd:{number}") for number in numbers]
    assert keys == sorted(set(keys))
    assert max(map(len, keys)) <= 22
