"""What reading and showing values depends on: the time, the zone, the country, the order of day and month.

One is made for each turn. A business in the United States writes the month first; everybody else the day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MONTH_FIRST = frozenset(("US", "PW", "FM", "MH"))  # countries that write 12/31/2026


@dataclass(frozen=True, slots=True)
class Environment:
    """`now` is aware, in `zone`. `region` (ISO 3166) completes phone numbers, where the
    contact's own number, `phone`, does not say whose. `places` holds known names of places as
    paths (`Italia > Lazio > Roma`), by which has_state and its like decide; none: they never match."""

    now: datetime
    zone: tzinfo = UTC
    region: str = "IT"
    phone: str = ""
    language: str = "en"
    month_first: bool = False
    places: tuple[str, ...] = ()

    @property
    def date_format(self) -> str:
        """How dates are written here."""
        return "MM-DD-YYYY" if self.month_first else "DD-MM-YYYY"


def zone_of(name: str | None) -> ZoneInfo | None:
    """The zone of an IANA name, or None when there is no such zone."""
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
