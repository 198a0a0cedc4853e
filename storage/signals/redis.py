"""Signals between processes over Redis: one pub/sub channel carries the names of topics, nothing else.

`notify` wakes this process at once and hands the topic to a task that publishes it; topics that come while one is on
its way go together, and `live`, which every step gives twice and only open pages hear, goes a few times a second.
Losing Redis costs nothing but time: everyone who waits also looks by itself (`POLL_S`), and both tasks go on trying to
connect. A listener that hears nothing asks for a sign of life: a server that went away without a word (a cut cable, a
frozen machine) would otherwise leave it deaf for ever.

Every process says now and then that it is `here`. Who has listened for a while and heard nobody else publishes nothing
more than that: most installations are one process, and to publish is a tenth of what a step costs there when nothing
else goes on. A newcomer says `here` as soon as it listens, and is told everything from then on.
"""

from __future__ import annotations

import asyncio
import secrets
import time
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
HERE = "here"  # the topic of who only wants to be known
HERE_S = 5.0  # between two times that others are told that we are here
ALONE_S = 15.0  # nobody else was heard for so long (three times `here`): what we publish, nobody would hear
MAX_TOPIC = 64  # bytes of a topic; what is longer did not come from us

_log = structlog.get_logger("signals")


class RedisSignals:
    """Wakes those who wait for a topic, here and in every process at the same Redis."""

    def __init__(self, url: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        # Its own retries would only hide from us that it is away; ours go on for ever.
        self._redis: Any = Redis.from_url(
            url, socket_connect_timeout=TIMEOUT_S, protocol=2, retry=Retry(NoBackoff(), 0)
        )
        self._loop = asyncio.get_running_loop()
        self._local = LocalSignals()
        self._own = secrets.token_hex(4)  # tells our own messages from those of others
        self._monotonic = monotonic
        self._alone_at = float("inf")  # when others count as gone; while we do not listen we cannot know
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
        if self._monotonic() >= self._alone_at:
            return
        if topic == "live":
            if self._live is None:
                self._live = self._loop.call_later(LIVE_S, self._tell_live)
            return
        self._tell(topic)

    def _tell_live(self) -> None:
        self._live = None
        self._tell("live")

    def _tell(self, topic: str) -> None:
        self._waiting.add(topic)
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
        try:
            await self._hear()
        finally:
            self._alone_at = float("inf")

    async def _hear(self) -> None:
        async with self._redis.pubsub() as pubsub:
            async with asyncio.timeout(TIMEOUT_S):
                await pubsub.subscribe(CHANNEL)
            self._alone_at = self._monotonic() + ALONE_S
            asked, here_at = False, 0.0
            while True:
                if self._monotonic() >= here_at:
                    here_at = self._monotonic() + HERE_S
                    self._tell(HERE)
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
            self._alone_at = self._monotonic() + ALONE_S
            if topic != HERE:
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
