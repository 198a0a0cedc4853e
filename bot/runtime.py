"""What every part of the conversation runtime is handed: the store, the clock, ids, keys, signals."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

from storage.database import Database
from storage.sealing import Sealer
from storage.signals import Signals

SLOTS = 4096
LANES = 64
SLOTS_PER_LANE = SLOTS // LANES


@dataclass(frozen=True)
class Runtime:
    """One process's handles. `clock` gives ms since 1970 UTC, `monotonic` seconds for waits and pacing."""

    database: Database
    sealer: Sealer
    new_id: Callable[[], int]
    clock: Callable[[], int]
    monotonic: Callable[[], float]
    signals: Signals
    owner: str  # this process, in leases
    random: Callable[[], float]


def slot_of(channel_id: int, key: str) -> int:
    """The slot of a conversation: which lane, and so which worker, handles its events."""
    return zlib.crc32(f"{channel_id}:{key}".encode()) % SLOTS


def lane_of(slot: int) -> str:
    """The lease that covers a slot."""
    return f"lane:{slot // SLOTS_PER_LANE:02d}"


LANE_NAMES = tuple(f"lane:{n:02d}" for n in range(LANES))
