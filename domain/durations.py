"""Spans of time as people write them, `2 days`, `30 minuti`: one grammar for flows, conditions, settings."""

from __future__ import annotations

from typing import Any

from domain.errors import RejectedInput

SECOND, MINUTE, HOUR, DAY, WEEK = 1_000, 60_000, 3_600_000, 86_400_000, 604_800_000  # ms
MAX_MS = 3_660 * DAY  # ten years: longer is a slip of the pen

_UNITS = {
    **dict.fromkeys(("s", "sec", "second", "seconds", "secondo", "secondi"), SECOND),
    **dict.fromkeys(("m", "min", "minute", "minutes", "minuto", "minuti"), MINUTE),
    **dict.fromkeys(("h", "hour", "hours", "ora", "ore"), HOUR),
    **dict.fromkeys(("d", "day", "days", "giorno", "giorni"), DAY),
    **dict.fromkeys(("w", "week", "weeks", "settimana", "settimane"), WEEK),
}


def parse(text: Any, *, where: str = "duration") -> int:
    """Milliseconds of `2 days`. Raises RejectedInput but for a whole number and a unit, 1 s to 10 years."""
    words = str(text).lower().split() if isinstance(text, str) and len(text) <= 40 else []
    number, unit = (words[0], words[1]) if len(words) == 2 else ("", "")
    if not (number.isascii() and number.isdigit()) or unit not in _UNITS:
        raise RejectedInput("must be a number and a unit, such as 30 minutes or 2 days", where=where)
    span = int(number) * _UNITS[unit]
    if not SECOND <= span <= MAX_MS:
        raise RejectedInput("must be between 1 second and 10 years", where=where)
    return span
