"""The sender of a process: which channels' outboxes it owns, and what is handed to them.

Theory of operation. Each channel's outbox is leased to one sender; channels are shared fairly among the processes that
send (`storage.sharing`). What is queued comes to it by hand (from the worker in the same process, after its commit) or
by looking into the table. How one channel sends is `bot.channel_sender`; how results are recorded is `bot.results`.

What a former owner left marked `sending` is settled as unknown when a channel is taken over. A channel that is handed
over is stopped first: what is on the wire lands and is settled. When one is lost, its items in memory are let go;
requests on the wire still settle, by (item, attempt), and its fence keeps it from marking more.

What helps only now (typing, the answer to a tap) does not wait for another process: whoever handled the event sends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from bot import media, outbox
from bot.channel_sender import EPHEMERAL_LIFE_S, EPHEMERAL_LIMIT, ChannelSender, left_unknown
from bot.channel_store import ChannelStore, ConnectedChannel
from bot.channels.base import ApiCall, Client
from bot.outbox import Item
from bot.results import Results
from bot.runtime import Runtime
from bot.settling import Result
from domain.errors import Conflict, SendError, Unavailable
from domain.messages import Ephemeral
from storage.sharing import Holding
from storage.signals import LISTEN_S

WINDOW_MS = 60_000  # what the last minute sent still counts against a new owner's buckets

_log = structlog.get_logger("sender")


class ClientFactory(Protocol):
    """Gives the client of a connected channel."""

    def __call__(self, channel: ConnectedChannel) -> Client:
        """A client on the process's one HTTP session."""


class Sender:
    """All channels that this process owns."""

    def __init__(
        self, runtime: Runtime, channels: ChannelStore, clients: ClientFactory, files: media.MediaStore
    ) -> None:
        self._runtime = runtime
        self._channels = channels
        self._clients = clients
        self._files = files
        self._owned: dict[int, ChannelSender] = {}
        self._ending: list[ChannelSender] = []  # handed over, with requests still on the wire
        self._passing: set[asyncio.Task[None]] = set()  # ephemerals of channels that others own
        self._holding = Holding(
            runtime.database,
            runtime.signals,
            runtime.owner,
            "channel",
            names=self._names,
            let_go=self._hand_over,
            monotonic=runtime.monotonic,
        )
        self._results = Results(runtime, settled=self._settled, released=self.offer)
        self._stopping = asyncio.Event()
        self.outcomes = self._results.outcomes
        self.refusals = self._results.refusals

    def offer(self, items: Iterable[Item]) -> None:
        """Items that were just queued by a committed transaction; the owners of other channels are told to look."""
        elsewhere = False
        for item in items:
            owned = self._owned.get(item.channel_id)
            if owned is not None:
                owned.offer(item)
            else:
                elsewhere = True
        if elsewhere:
            self._runtime.signals.notify("outbox")

    def offer_ephemeral(self, channel_id: int, ephemeral: Ephemeral, address: str, topic: str | None) -> None:
        """Something that helps only now."""
        owned = self._owned.get(channel_id)
        if owned is not None:
            owned.offer_ephemeral(ephemeral, address, topic)
            return
        channel = self._channels.get(channel_id)
        if channel is None or len(self._passing) >= EPHEMERAL_LIMIT:
            return
        call = channel.kind.render_ephemeral(ephemeral, address=address, topic=topic)
        if call is not None:
            task = asyncio.create_task(_pass_on(self._clients(channel), call))
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)

    async def run(self) -> None:
        """Owns and works channels until stopped; then what is on the wire finishes, and others may have them."""
        async with asyncio.TaskGroup() as group:
            owning = group.create_task(self._own_channels(), name="channels")
            while not self._stopping.is_set():
                if await self._runtime.signals.wait("outbox", LISTEN_S):
                    for owned in self._owned.values():
                        owned.look()
            await asyncio.gather(*(owned.stop() for owned in self._owned.values()))
            await self._results.drain()
            owning.cancel()
        self._owned.clear()
        await self._holding.leave()

    def stop(self) -> None:
        """Claims nothing more; `run` ends when what is on the wire has landed, at most 20 s later."""
        self._stopping.set()
        self._results.hurry()
        self._runtime.signals.notify("outbox")

    def channels_changed(self) -> None:
        """Some were added, stopped, or have other settings: look now."""
        self._runtime.signals.notify(self._holding.topic)
        self._runtime.signals.notify("outbox")

    async def finish(self) -> None:
        """Waits for what is on its way though nobody records it; 10 s at most."""
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _own_channels(self) -> None:
        """Keeps this process's share of the channels, also while the last requests land."""
        while True:
            try:
                await self._holding.tick()
                if not self._stopping.is_set():
                    await self._follow()
            except (Unavailable, Conflict) as error:
                _log.warning("sender_waits", problem=str(error))
            await self._holding.pause()

    def _names(self) -> list[str]:
        return [_lease(channel.id) for channel in self._channels.all() if channel.state == "active"]

    async def _follow(self) -> None:
        """Begins with what was taken, lets go of what was lost, tells the others of changed settings."""
        held = self._holding.held
        kept = held.keys() | self._holding.leaving  # `_hand_over` looks after the latter
        for channel_id in [c for c in self._owned if _lease(c) not in kept]:
            await self._owned.pop(channel_id).let_go()
        for name, fence in held.items():
            channel = self._channels.get(int(name.partition(":")[2]))
            if channel is None:
                continue
            owned = self._owned.get(channel.id)
            if owned is not None and owned.lease != (name, fence):  # lost and taken again between two looks
                await self._owned.pop(channel.id).let_go()
                owned = None
            if owned is None:
                self._owned[channel.id] = await self._start(channel, (name, fence))
            else:
                owned.refresh(channel, self._clients(channel))

    async def _hand_over(self, names: Collection[str]) -> None:
        """Another process is to have these: their last requests land and are settled first."""
        ending = [self._owned.pop(c) for c in list(self._owned) if _lease(c) in names]
        self._ending += ending
        await asyncio.gather(*(one.stop() for one in ending))
        self._ending = [one for one in self._ending if one not in ending]

    async def _start(self, channel: ConnectedChannel, lease: tuple[str, int]) -> ChannelSender:
        """A channel that became ours: what its former owner left on the wire is unknown."""
        now = self._runtime.clock()
        left, recent = await self._runtime.database.read(
            lambda c: (outbox.orphans(c, channel.id), outbox.recent(c, channel.id, since=now - WINDOW_MS))
        )
        for item in left:
            self._results.record(left_unknown(item, now))
        owned = ChannelSender(
            self._results, self._runtime, channel, self._clients(channel), self._files, recent, lease
        )
        owned.start()
        return owned

    def _settled(self, batch: Sequence[Result]) -> None:
        settled = {result.id for result in batch}
        for owner in (*self._owned.values(), *self._ending):
            owner.forget(settled)
        if any(result.state in ("retry", "unknown") for result in batch):
            for owned in self._owned.values():
                owned.look()


def _lease(channel_id: int) -> str:
    return f"channel:{channel_id}"


async def _pass_on(client: Client, call: ApiCall) -> None:
    with suppress(SendError, TimeoutError):
        async with asyncio.timeout(EPHEMERAL_LIFE_S):
            await client.send(call)
