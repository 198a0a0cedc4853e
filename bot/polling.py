"""Long polling: the way in for owners without a public URL. The batch is committed before the next offset is asked.

One poller per channel (a lease, because the platform refuses a second one). The offset is not stored: asking for the
next batch confirms the last, and what comes again after a crash was seen before (I2).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import structlog

from bot.channel_store import ChannelStore, ConnectedChannel
from bot.intake import Arrived, Intake
from bot.runtime import Runtime
from bot.sender import ClientFactory
from domain.errors import Conflict, SendError, Unavailable
from storage import leases
from storage.database import Queue

BACK_OFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # for the platform
STORE_S = (
    1.0  # for our own store, away or behind: it says no at once, and nobody waits long after it came back
)
FAILURES = 5  # in a row before a person is told: 10 s, by then it is no hiccup
LOOK_S = 2.0  # how often channels to poll are looked for

_log = structlog.get_logger("polling")


class Pollable(Protocol):
    """A channel kind that can be asked for what came."""

    async def fetch(self, client: Any, offset: int) -> Any:
        """A batch with `updates` (one body each) and `next_offset`; raises SendError."""


class Failing(NamedTuple):
    """A channel whose platform gives us nothing, and what it or the network says: "auth: Unauthorized"."""

    channel: ConnectedChannel
    problem: SendError


class Pollers:
    """One task for every polling channel that this process holds."""

    def __init__(
        self,
        runtime: Runtime,
        channels: ChannelStore,
        intake: Intake,
        clients: ClientFactory,
        *,
        webhooks_reach_us: bool,
    ) -> None:
        """`webhooks_reach_us`: there is a public URL, so channels in webhook mode need no polling."""
        self._runtime = runtime
        self._channels = channels
        self._intake = intake
        self._clients = clients
        self._webhooks_reach_us = webhooks_reach_us
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._failing: dict[int, Failing] = {}
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Holds leases and polls until stopped."""
        while not self._stopping.is_set():
            try:
                await self._own()
            except (Unavailable, Conflict) as error:
                _log.warning("polling_waits", problem=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._stopping.wait()
        await self._end(list(self._tasks))
        names = [_lease(c.id) for c in self._channels.all()]
        with suppress(Unavailable):
            await self._runtime.database.write(lambda c: leases.release(c, names, self._runtime.owner))

    def stop(self) -> None:
        """Asks for nothing more."""
        self._stopping.set()

    def failing(self) -> list[Failing]:
        """The channels of this process that have had nothing but failures for a while."""
        return list(self._failing.values())

    async def _own(self) -> None:
        wanted = {_lease(c.id): c for c in self._channels.all() if c.state == "active" and self._polls(c)}
        held: dict[str, int] = {}
        if wanted:
            held = await self._runtime.database.write(
                lambda c: leases.take(c, sorted(wanted), self._runtime.owner), queue=Queue.live, durable=False
            )
        mine = {wanted[name].id: wanted[name] for name in held}
        await self._end([channel_id for channel_id in self._tasks if channel_id not in mine])
        for channel_id, channel in mine.items():
            if channel_id not in self._tasks or self._tasks[channel_id].done():
                self._tasks[channel_id] = asyncio.create_task(self._poll(channel))

    def _polls(self, channel: ConnectedChannel) -> bool:
        if not channel.capabilities.polling:
            return False
        return channel.mode == "polling" or not self._webhooks_reach_us

    async def _end(self, channel_ids: list[int]) -> None:
        tasks = [self._tasks.pop(channel_id) for channel_id in channel_ids]
        for channel_id, task in zip(channel_ids, tasks, strict=True):
            self._failing.pop(channel_id, None)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _poll(self, channel: ConnectedChannel) -> None:
        kind: Any = channel.kind
        client = self._clients(channel)
        offset, failures = 0, 0
        with suppress(
            SendError
        ):  # a webhook that was set before would refuse us; it is set again by its own mode
            await self._remove_webhook(channel)
        while True:
            try:
                batch = await kind.fetch(client, offset)
            except SendError as error:
                failures += 1
                if failures >= FAILURES:
                    self._failing[channel.id] = Failing(channel, error)
                wait = BACK_OFF_S[min(failures, len(BACK_OFF_S)) - 1]
                _log.warning("poll_failed", channel=channel.id, problem=str(error), again_in_s=wait)
                await asyncio.sleep(max(wait, error.retry_after or 0))
                continue
            failures = 0
            self._failing.pop(channel.id, None)
            await self._commit(
                channel, [(channel, event) for body in batch.updates for event in channel.kind.parse(body)]
            )
            offset = batch.next_offset

    async def _commit(self, channel: ConnectedChannel, events: Arrived) -> None:
        """Returns when the batch is committed; until then its offset is not confirmed."""
        while True:
            try:
                await self._intake.append(events)
            except Unavailable as error:
                _log.warning("batch_waits", channel=channel.id, problem=str(error))
                await asyncio.sleep(STORE_S)
            else:
                return

    async def _remove_webhook(self, channel: ConnectedChannel) -> None:
        client: Any = self._clients(channel)
        await client.request("deleteWebhook", b"{}")


def _lease(channel_id: int) -> str:
    return f"poller:{channel_id}"
