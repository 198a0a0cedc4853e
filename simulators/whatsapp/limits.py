"""WhatsApp's limits: messages per second and number, per pair, new people per portfolio and day, set-up calls per hour.

https://developers.facebook.com/docs/whatsapp/messaging-limits and …/cloud-api/overview#throughput. All can be switched
off for load runs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

TIERS = {"TIER_250": 250, "TIER_1K": 1000, "TIER_2K": 2000, "TIER_10K": 10_000, "TIER_100K": 100_000}
UNLIMITED = "TIER_UNLIMITED"
DAY_S = 24 * 3600


@dataclass(slots=True)
class LimitSettings:
    """`enabled` switches everything; `mps` is for new numbers and those without their own."""

    enabled: bool = True
    mps: float = 80.0
    pair_burst: float = 45.0
    pair_refill_s: float = 6.0
    portfolio: bool = True
    management_per_h: float = 5000.0

    def change(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Take over the fields given; ValueError names one that is unknown or of a wrong type."""
        for key, value in spec.items():
            if key not in self.__dataclass_fields__:
                raise ValueError(f"unknown limit: {key}")
            wants_flag = isinstance(getattr(self, key), bool)
            if wants_flag != isinstance(value, bool) or not isinstance(value, (bool, int, float)):
                raise ValueError(
                    f"{key}: {'true or false' if wants_flag else 'a number'} expected, got {value!r}"
                )
            if not wants_flag and value <= 0:
                raise ValueError(f"{key}: a number above 0 expected, got {value!r}")
            setattr(self, key, value if wants_flag else float(value))
        return asdict(self)


class Bucket:
    """A token bucket that is full at first; `settings` are read at each use so that they can change."""

    __slots__ = ("at", "tokens")

    def __init__(self) -> None:
        self.tokens: float | None = None
        self.at = 0.0

    def take(self, now: float, capacity: float, per_s: float) -> bool:
        if self.tokens is None:
            self.tokens = capacity
        else:
            self.tokens = min(capacity, self.tokens + max(0.0, now - self.at) * per_s)
        self.at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True

    def spend(self, now: float, capacity: float, per_s: float) -> None:
        """Take one even when there is none: received messages count, but are never refused."""
        if not self.take(now, capacity, per_s) and self.tokens is not None:
            self.tokens -= 1.0


class NumberLimits:
    """The throughput bucket of one number. `mps` None: the common setting."""

    def __init__(self, settings: LimitSettings, mps: float | None = None) -> None:
        self.settings = settings
        self.mps = mps
        self._bucket = Bucket()

    @property
    def rate(self) -> float:
        return self.mps or self.settings.mps

    def new_pair(self) -> Bucket:
        return Bucket()

    def take(self, now: float) -> bool:
        return not self.settings.enabled or self._bucket.take(now, self.rate, self.rate)

    def received(self, now: float) -> None:
        if self.settings.enabled:
            self._bucket.spend(now, self.rate, self.rate)

    def take_pair(self, pair: Bucket, now: float) -> bool:
        settings = self.settings
        return not settings.enabled or pair.take(now, settings.pair_burst, 1.0 / settings.pair_refill_s)


class ManagementLimit:
    """Calls per hour and account that are not sends: templates, fields, subscriptions (80007 past it)."""

    def __init__(self, settings: LimitSettings) -> None:
        self.settings = settings
        self._bucket = Bucket()

    def take(self, now: float) -> bool:
        settings = self.settings
        per_h = settings.management_per_h
        return not settings.enabled or self._bucket.take(now, per_h, per_h / 3600)

    @property
    def used_percent(self) -> int:
        left = self._bucket.tokens
        return 0 if left is None else round(100 - 100 * left / self.settings.management_per_h)


class Portfolio:
    """People written to outside their window in the last 24 hours, over all numbers of one business."""

    def __init__(self, tier: str = "TIER_2K") -> None:
        self.tier = tier
        self._people: OrderedDict[str, float] = OrderedDict()

    def take(self, person_id: str, now: float) -> bool:
        """True when the person is already counted today or there is room for one more."""
        while self._people:
            oldest = next(iter(self._people))
            if self._people[oldest] > now - DAY_S:
                break
            del self._people[oldest]
        if person_id in self._people:
            return True
        limit = TIERS.get(self.tier)
        if limit is not None and len(self._people) >= limit:
            return False
        self._people[person_id] = now
        return True

    @property
    def used(self) -> int:
        return len(self._people)
