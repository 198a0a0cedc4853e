"""The append-only event log that tests read, and the counters beside it.

Entries are dicts `{n, at, network, kind, …}`; `n` rises by one from 1 and is never used twice, also across the drop of
old entries. Kinds that exist: `call` (an API request), `delivery` (a webhook attempt), `message` (something that
reached a person), `action` (something a person did). Fields by kind stand where they are written.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from simulators.clock import Clock

# A sent message makes two entries, about 2 KB together with what they refer to (3 KB with buttons): the full log
# holds 200,000 messages in 400 to 700 MB. The counters beside it have no limit; `--log-limit` changes this one.
DEFAULT_LIMIT = 400_000
# Old entries are dropped in blocks of this share, so that dropping costs nothing per entry.
DROP_SHARE = 10

Entry = dict[str, Any]


class EventLog:
    """What happened, in order. At `limit` the oldest tenth is dropped and counted in `dropped`."""

    def __init__(self, clock: Clock, limit: int = DEFAULT_LIMIT) -> None:
        self._clock = clock
        self._limit = limit
        self._entries: list[Entry] = []
        self._next = 1
        self._waiters: set[asyncio.Future[None]] = set()
        self.dropped = 0
        self.counters: Counter[str] = Counter()

    @property
    def next(self) -> int:
        """The number that the next entry will get; pass it as `since` to see only what comes."""
        return self._next

    def add(self, network: str, kind: str, fields: Mapping[str, Any]) -> Entry:
        """Append one entry and wake those who wait. `fields` must not be changed afterwards."""
        entry: Entry = {
            "n": self._next,
            "at": self._clock.now_ms(),
            "network": network,
            "kind": kind,
            **fields,
        }
        self._next += 1
        self._entries.append(entry)
        if len(self._entries) > self._limit:
            drop = max(1, self._limit // DROP_SHARE)
            del self._entries[:drop]
            self.dropped += drop
        if self._waiters:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()
        return entry

    def read(
        self, since: int = 0, limit: int = 1000, network: str | None = None, kind: str | None = None
    ) -> tuple[int, list[Entry]]:
        """Entries with n >= `since` that match, at most `limit`, and the `since` to go on from."""
        first = self._next - len(self._entries)
        found: list[Entry] = []
        for index in range(max(0, since - first), len(self._entries)):
            entry = self._entries[index]
            if (network is None or entry["network"] == network) and (kind is None or entry["kind"] == kind):
                found.append(_opened(entry))
                if len(found) == limit:
                    return int(entry["n"]) + 1, found
        return self._next, found

    async def changed(self, timeout_s: float) -> None:
        """Return at the next entry, or after `timeout_s` real seconds."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        await asyncio.wait([waiter], timeout=timeout_s)
        self._waiters.discard(waiter)

    def clear(self) -> None:
        """Forget entries and counters; numbering goes on."""
        self._entries.clear()
        self.counters.clear()
        self.dropped = 0


def _opened(entry: Entry) -> Entry:
    """`params` may have been handed over as JSON bytes: a fifth of the memory, and read far less often than written."""
    params = entry.get("params")
    return {**entry, "params": json.loads(params)} if isinstance(params, bytes) else entry
