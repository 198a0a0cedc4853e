"""What the business file says about marketing messages: quiet hours, how many a day, from what age.

In the workspace's `business` JSON, all optional (what is not set does not restrict):

    {"quiet_hours": {"from": "21:00", "to": "09:00"}, "marketing": {"per_day": 2, "minimum_age": 14}}
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from domain.errors import RejectedInput

MAX_PER_DAY = 100
MAX_AGE = 25  # years; a higher gate is a slip of the pen

_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


@dataclass(frozen=True, slots=True)
class Policy:
    """`quiet`: (from, to) in minutes of the day, over midnight when from > to; None: no quiet hours."""

    quiet: tuple[int, int] | None = None
    per_day: int | None = None
    minimum_age: int | None = None


OPEN = Policy()


@lru_cache(maxsize=256)
def policy_of(business: str) -> Policy:
    """The policy in a workspace's `business` JSON. Raises RejectedInput naming what does not fit."""
    return parse(msgspec.json.decode(business or "{}"))


def parse(business: Any, *, where: str = "business") -> Policy:
    """The policy of a business file's data. Raises RejectedInput naming the key."""
    if not isinstance(business, dict):
        raise RejectedInput("must be an object", where=where)
    marketing = business.get("marketing") or {}
    if not isinstance(marketing, dict):
        raise RejectedInput("must be an object", where=f"{where}.marketing")
    return Policy(
        _quiet(business.get("quiet_hours"), f"{where}.quiet_hours"),
        _limit(marketing.get("per_day"), MAX_PER_DAY, f"{where}.marketing.per_day"),
        _limit(marketing.get("minimum_age"), MAX_AGE, f"{where}.marketing.minimum_age"),
    )


def _quiet(value: Any, where: str) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != {"from", "to"}:
        raise RejectedInput("must have from and to, such as 21:00 and 09:00", where=where)
    start, end = (_minutes(value[key], f"{where}.{key}") for key in ("from", "to"))
    return None if start == end else (start, end)


def _minutes(value: Any, where: str) -> int:
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise RejectedInput("must be a time such as 21:00", where=where)
    return int(match[1]) * 60 + int(match[2])


def _limit(value: Any, most: int, where: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise RejectedInput(f"must be a number from 1 to {most}", where=where)
    return value
