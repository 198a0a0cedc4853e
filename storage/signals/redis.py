"""Signals between processes over Redis: one pub/sub channel carries the names of topics, nothing else.

`notify` wakes this process at once and hands the topic to a task that publishes it; topics that come while one is on
its way go together, and `live`, which every step gives twice and only open pages hear, goes a few times a second.
Losing Redis costs nothing but time: everyone who waits also looks by itself (`POLL_S`), and both tasks go on trying to
connect. A listener that hears nothing asks for a sign of life: a server that went away without a word (a cut cable, a
frozen machine) would otherwise leave it deaf for ever.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from storage.signals.local import LocalSignals

CHANNEL = "passaparola:signals"
RETRY_S = 1.0  # between attempts to connect
TIMEOUT_S = 2.0  # a server that neither answers nor refuses counts as away
SILENCE_S = 5.0  # heard nothing for so long: ask whether anybody is there
LIVE_S = 0.25  # between two times that others are told of something to show
MAX_TOPIC = 64  # bytes of a topic; what is longer did not come from us

_log = structlog.get_logger("signals")


class RedisSignals:
    """Wakes those who wait for a topic, here and in every process at the same Redis."""

    def __init__(self, url: str) -> None:
        # Its own retries would only hide from us that it is away; ours go on for ever.
        self._redis: Any = Redis.from_url(
            url, socket_connect_timeout=TIMEOUT_S, protocol=2, retry=Retry(NoBackoff(), 0)
        )
        self._loop = asyncio.get_running_loop()
        self._local = LocalSignals()
        self._own = secrets.token_hex(4)  # tells our own messages from those of others
        self._waiting: set[str] = set()  # topics to publish; bounded by how many topics there are
        self._notified = asyncio.Event()
        self._live: asyncio.TimerHandle | None = (
            None  # when others will be told that there is something to show
        )
        self._troubles: dict[str, str] = {}  # by task: what its last attempt ended with
        self._tasks = [
            asyncio.create_task(self._for_ever("publish", self._publish), name="signals-publish"),
            asyncio.create_task(self._for_ever("listen", self._listen), name="signals-listen"),
        ]

    @staticmethod
    async def connect(url: str) -> RedisSignals:
        """Signals over the Redis at `url`; they work here at once and there as soon as it answers."""
        return RedisSignals(url)

    def notify(self, topic: str) -> None:
        """Wakes the waiter here now and those of other processes as soon as Redis carries it."""
        self._local.notify(topic)
        if topic == "live":
            if self._live is None:
                self._live = self._loop.call_later(LIVE_S, self._tell_live)
            return
        self._waiting.add(topic)
        self._notified.set()

    def _tell_live(self) -> None:
        self._live = None
        self._waiting.add("live")
        self._notified.set()

    async def wait(self, topic: str, timeout_s: float) -> bool:
        """True when notified since the last wait, by whatever process."""
        return await self._local.wait(topic, timeout_s)

    def trouble(self) -> str:
        """The error with which Redis is away at the moment; empty while it answers."""
        return next(iter(self._troubles.values()), "")

    async def close(self) -> None:
        """Lets go of the connections; what was not published yet is not needed any more."""
        if self._live is not None:
            self._live.cancel()
        pending = set(self._tasks)
        while (
            pending
        ):  # the library swallows a cancellation that meets it between writing and reading: ask again
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=0.1)
        with suppress(RedisError, OSError):
            await self._redis.aclose()

    async def _publish(self) -> None:
        while True:
            while self._waiting:
                topic = self._waiting.pop()
                try:
                    async with asyncio.timeout(TIMEOUT_S):
                        await self._redis.publish(CHANNEL, f"{self._own} {topic}")
                except BaseException:
                    self._waiting.add(topic)  # for when Redis is back
                    raise
                self._answers("publish")
            self._notified.clear()
            await self._notified.wait()

    async def _listen(self) -> None:
        async with self._redis.pubsub() as pubsub:
            async with asyncio.timeout(TIMEOUT_S):
                await pubsub.subscribe(CHANNEL)
            asked = False
            while True:
                message = await pubsub.get_message(timeout=TIMEOUT_S if asked else SILENCE_S)
                if message is None:
                    if asked:
                        raise TimeoutError("no sign of life")
                    async with asyncio.timeout(TIMEOUT_S):
                        await pubsub.ping()
                    asked = True
                    continue
                asked = False
                self._answers("listen")
                if message["type"] == "message":
                    self._heard(bytes(message["data"]))

    def _heard(self, data: bytes) -> None:
        sender, _, topic = data.decode("ascii", "replace").partition(" ")
        if sender != self._own and 0 < len(topic) <= MAX_TOPIC:
            self._local.notify(topic)

    def _answers(self, task: str) -> None:
        if self._troubles.pop(task, None) and not self._troubles:
            _log.info("redis_back")

    async def _for_ever(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception as error:  # whatever Redis does, the process goes on by looking for itself
                if not self._troubles:  # once, not every second
                    _log.warning("redis_away", error=type(error).__name__)
                self._troubles[name] = type(error).__name__
            await asyncio.sleep(RETRY_S)
