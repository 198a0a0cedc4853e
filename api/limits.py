"""How much one caller may ask: a token bucket per API key, one per workspace, one per address of those without a key.

A request takes one token from its key's bucket and one from its workspace's, or from neither. With Redis the buckets of
keys and workspaces are shared by all processes; they are one number each (the time at which the bucket is full again)
and expire by themselves. Redis that does not answer within `ANSWER_S` costs nobody a request: each process then counts
for itself and asks again after `AWAY_S`. Addresses are counted by each process alone: that only slows down who guesses.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

MAX_CALLERS = (
    10_000  # buckets kept; of more the one that was quiet longest is forgotten, and starts full again
)
ANSWER_S = 0.1  # an answer of Redis takes well under a millisecond; the request itself takes a few
AWAY_S = 1.0
CONNECTIONS = 16  # to Redis; requests beyond wait for one of them within ANSWER_S

_log = structlog.get_logger("api")


@dataclass(frozen=True)
class Rate:
    """Tokens a second, and how many a bucket holds."""

    per_second: float
    burst: int


KEY_RATE = Rate(50.0, 200)  # a request costs a few ms of one core: a key alone leaves room for conversations
WORKSPACE_RATE = Rate(200.0, 800)  # four keys at full speed: more keys do not get more of the machine


class Limits(Protocol):
    """The buckets of keys and workspaces."""

    async def take(self, key_id: int, workspace_id: int) -> float:
        """Takes a token of both; gives 0, or the seconds until there is one in both (and takes none)."""

    async def close(self) -> None:
        """Lets go of connections."""


class Buckets:
    """Buckets by caller in this process. `clock`: monotonic seconds."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> float:
        """Takes one; gives 0, or the seconds until there is one again (and takes nothing)."""
        level = self._level(caller)
        wait = 0.0 if level >= 1 else (1 - level) / self._per_second
        self._put(caller, level if wait else level - 1)
        return wait

    def wait_of(self, caller: str) -> float:
        """The seconds until there is one, without taking it."""
        level = self._level(caller)
        return 0.0 if level >= 1 else (1 - level) / self._per_second

    def _level(self, caller: str) -> float:
        now = self._clock()
        level, at = self._levels.get(caller, (self._burst, now))
        return min(self._burst, level + (now - at) * self._per_second)

    def _put(self, caller: str, level: float) -> None:
        self._levels[caller] = (level, self._clock())
        self._levels.move_to_end(caller)
        while len(self._levels) > MAX_CALLERS:
            self._levels.popitem(last=False)


class LocalLimits:
    """Counted by this process alone."""

    def __init__(self, key: Rate, workspace: Rate, clock: Callable[[], float]) -> None:
        self._keys = Buckets(key.per_second, key.burst, clock)
        self._workspaces = Buckets(workspace.per_second, workspace.burst, clock)

    async def take(self, key_id: int, workspace_id: int) -> float:
        """A token of both, or of neither."""
        key, workspace = str(key_id), str(workspace_id)
        wait = max(self._keys.wait_of(key), self._workspaces.wait_of(workspace))
        if not wait:
            self._keys.take(key)
            self._workspaces.take(workspace)
        return wait

    async def close(self) -> None:
        """Nothing to let go of."""


# A bucket is the time (µs, by the server's clock, so that processes need not agree) at which it will be full again;
# a token moves it on by the time that one token takes. All buckets have one, or none is taken.
_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local wait, full = 0, {}
for i = 1, #KEYS do
  local token, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  full[i] = math.max(tonumber(redis.call('GET', KEYS[i]) or 0), now) + token
  wait = math.max(wait, full[i] - token * burst - now)
end
if wait <= 0 then
  for i = 1, #KEYS do
    local life = math.ceil((full[i] - now) / 1000) + 1
    redis.call('SET', KEYS[i], string.format('%.0f', full[i]), 'PX', string.format('%.0f', life))
  end
  return 0
end
return math.ceil(wait)
"""


class SharedLimits:
    """Counted in Redis for all processes, and by this one alone while Redis is away. `clock`: monotonic seconds."""

    def __init__(self, url: str, key: Rate, workspace: Rate, clock: Callable[[], float]) -> None:
        from redis.asyncio import BlockingConnectionPool, Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        pool: Any = BlockingConnectionPool.from_url(
            url, max_connections=CONNECTIONS, timeout=ANSWER_S, protocol=2, retry=Retry(NoBackoff(), 0)
        )
        self._redis: Any = Redis.from_pool(pool)
        self._script = self._redis.register_script(_TAKE)
        self._arguments = [_token_us(key), key.burst, _token_us(workspace), workspace.burst]
        self._local = LocalLimits(key, workspace, clock)
        self._clock = clock
        self._away_until: float | None = None

    async def take(self, key_id: int, workspace_id: int) -> float:
        """A token of both, or of neither."""
        if self._away_until is not None and self._clock() < self._away_until:
            return await self._local.take(key_id, workspace_id)
        # The braces keep both on one server of a cluster.
        names = [f"passaparola:rate:{{{workspace_id}}}:{key_id}", f"passaparola:rate:{{{workspace_id}}}"]
        try:
            async with asyncio.timeout(ANSWER_S):
                wait = int(await self._script(keys=names, args=self._arguments))
        except Exception as error:  # whatever Redis does, the API answers
            if self._away_until is None:  # once, not for every request
                _log.warning("rate_limits_not_shared", error=type(error).__name__)
            self._away_until = self._clock() + AWAY_S
            return await self._local.take(key_id, workspace_id)
        self._away_until = None
        return wait / 1_000_000

    async def close(self) -> None:
        """Lets go of the connections."""
        await self._redis.aclose()


def _token_us(rate: Rate) -> int:
    return round(1_000_000 / rate.per_second)
