"""Ids: 63-bit, time-ordered, made in the process, so that one bulk write can reference its own rows.

Layout, high to low: 41 bits of milliseconds since 2024-01-01 UTC (69 years), 10 bits of node (from the process's
lease), 12 bits of counter. Outside they are text with a type prefix: `con_` + 13 characters of Crockford's base32.
A maker never gives an id twice and never goes back: when the clock steps back it keeps counting from its last time.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from domain.errors import RejectedInput

EPOCH_MS = 1_704_067_200_000  # 2024-01-01T00:00:00Z
NODE_BITS, COUNTER_BITS = 10, 12
MAX_NODE = (1 << NODE_BITS) - 1
_COUNTER_MASK = (1 << COUNTER_BITS) - 1
_TIME_SHIFT = NODE_BITS + COUNTER_BITS
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
TEXT_LENGTH = 13  # 63 bits in 5-bit letters

PREFIXES = {
    "workspace": "wsp",
    "user": "usr",
    "api_key": "key",
    "channel": "cha",
    "outlet": "out",
    "contact": "con",
    "identity": "idn",
    "conversation": "cnv",
    "session": "ses",
    "message": "msg",
    "event": "evt",
    "turn": "trn",
    "flow": "flo",
    "flow_version": "ver",
    "campaign": "cam",
    "run": "run",
    "post": "pos",
    "segment": "seg",
    "consent": "cst",
    "timer": "tim",
    "job": "job",
    "media": "med",
    "conversion": "cvn",
    "feedback": "fdb",
    "referral": "ref",
    "notification": "ntf",
}


class IdMaker:
    """Makes ids for one process; safe to call from its event loop and its writer thread at once. `clock` gives
    milliseconds since 1970 UTC."""

    def __init__(self, node: int, clock: Callable[[], int]) -> None:
        if not 0 <= node <= MAX_NODE:
            raise ValueError(f"node {node} is outside 0..{MAX_NODE}")
        self._node = node << COUNTER_BITS
        self._clock = clock
        self._time = 0
        self._counter = 0
        self._lock = Lock()

    def next(self) -> int:
        """One new id, greater than every id this maker gave before."""
        now = self._clock() - EPOCH_MS
        with self._lock:
            if now > self._time:
                self._time, self._counter = now, 0
            else:
                self._counter += 1
                if self._counter > _COUNTER_MASK:  # 4,096 ids in a millisecond: borrow from the next one
                    self._time, self._counter = self._time + 1, 0
            return (self._time << _TIME_SHIFT) | self._node | self._counter


def first_id_at(ms: int) -> int:
    """The smallest id that can have been made at `ms` (epoch milliseconds): a bound for range queries by time."""
    return max(0, ms - EPOCH_MS) << _TIME_SHIFT


def made_at(number: int) -> int:
    """Epoch milliseconds at which an id was made."""
    return (number >> _TIME_SHIFT) + EPOCH_MS


def to_text(kind: str, number: int) -> str:
    """`to_text("contact", 7)` -> `con_0000000000007`."""
    letters = []
    for shift in range(60, -1, -5):
        letters.append(_ALPHABET[(number >> shift) & 31])
    return f"{PREFIXES[kind]}_{''.join(letters)}"


def from_text(kind: str, text: str, *, where: str = "id") -> int:
    """The number in a public id. Raises RejectedInput for another kind's prefix or a malformed text."""
    prefix = PREFIXES[kind] + "_"
    body = text.removeprefix(prefix)
    if not text.startswith(prefix) or len(body) != TEXT_LENGTH or not set(body) <= _VALUES.keys():
        article = "an" if kind[0] in "aeiou" else "a"
        raise RejectedInput(
            f"not {article} {kind} id (they look like {prefix}{'0' * TEXT_LENGTH})", where=where
        )
    number = 0
    for letter in body:
        number = (number << 5) | _VALUES[letter]
    if number >= 1 << 63:
        raise RejectedInput(f"not a {kind} id", where=where)
    return number
