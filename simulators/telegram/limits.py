"""Rate limits with the figures that Telegram publishes: about 30 messages a second for a bot, one a second in a chat
with short bursts, 20 a minute in a group. Each is a token bucket on the world's clock, kept as one number per key.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from simulators.clock import Clock
from simulators.telegram.errors import too_many
from simulators.telegram.state import Bot
from simulators.world import ControlError

# Buckets that are full again are forgotten when there are more than this many.
KEYS_LIMIT = 200_000
# The server's own brake on sending one file anew instead of by its file_id.
UPLOAD_FREE, UPLOAD_BACKLOG_S, UPLOAD_RETRY_S = 100_000, 5.0, 60
# A paid message costs 0.1 Star; Stars are counted in tenths here.
PAID_TENTHS = 1


class Limits:
    """What a bot may send when. Off: everything passes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: dict[tuple[int, int | str], float] = {}
        self.enabled = True
        self.bot_per_s = 30.0
        self.paid_per_s = 1000.0
        self.chat_per_s = 1.0
        self.chat_burst = 5.0
        self.group_per_minute = 20.0

    def spend(self, bot: Bot, chat_id: int, count: int = 1, *, paid: bool = False) -> None:
        """Count `count` messages of `bot` to a chat, or raise 429 with the seconds until they would pass."""
        if not self.enabled:
            return
        now = self._clock.now()
        if chat_id > 0:
            chat = ((bot.id, chat_id), 1 / self.chat_per_s, self.chat_burst)
        else:
            chat = ((bot.id, chat_id), 60 / self.group_per_minute, self.group_per_minute)
        whole = ((bot.id, "all"), 1 / self.bot_per_s, self.bot_per_s)
        waits = [self._wait(now, *chat), self._wait(now, *whole)]
        if paid and bot.paid_broadcast and waits[1] > 0 and bot.stars >= PAID_TENTHS * count:
            whole = ((bot.id, "paid"), 1 / self.paid_per_s, self.paid_per_s)
            waits[1] = self._wait(now, *whole)
            if max(waits) <= 0:
                bot.stars -= PAID_TENTHS * count
        if max(waits) > 0:
            raise too_many(max(1, math.ceil(max(waits))))
        for key, interval, _ in (chat, whole):
            self._due[key] = max(now, self._due.get(key, 0.0)) + interval * count
        if len(self._due) > KEYS_LIMIT:
            self._due = {key: due for key, due in self._due.items() if due > now}

    def upload(self, bot: Bot, size: int) -> None:
        """Files of one size over 100 kB, uploaded again and again, are refused once 5 s of them have piled up."""
        if not self.enabled or size <= UPLOAD_FREE:
            return
        now = self._clock.now()
        key = (bot.id, f"upload {size}")
        due = max(now, self._due.get(key, 0.0))
        if due - now > UPLOAD_BACKLOG_S:
            raise too_many(UPLOAD_RETRY_S)
        self._due[key] = due + min(0.9, max(0.2, size * 1e-7))

    def _wait(self, now: float, key: tuple[int, int | str], interval: float, burst: float) -> float:
        """Seconds until one more message fits; 0 or less: it fits now."""
        # A billionth of tolerance, or sums of thirds would turn away the last message of an exact burst.
        return self._due.get(key, 0.0) - now - (burst - 1) * interval - 1e-9

    def change(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """Set `enabled` or a figure by its name; gives all of them."""
        names = ("enabled", "bot_per_s", "paid_per_s", "chat_per_s", "chat_burst", "group_per_minute")
        for name, value in spec.items():
            if name not in names:
                raise ControlError(f"{name}: one of {', '.join(names)} expected")
            if name == "enabled":
                self.enabled = bool(value)
            elif isinstance(value, (int, float)) and value > 0:
                setattr(self, name, float(value))
            else:
                raise ControlError(f"{name}: a number above 0 expected, got {value!r}")
        self._due.clear()
        return {name: getattr(self, name) for name in names}
