"""The sender of a process: which channels' outboxes it owns, and what is handed to them.

Theory of operation. Each channel's outbox is leased to one sender. What is queued comes to it by hand (from the worker
in the same process, after its commit) or by looking into the table. How one channel sends is `bot.channel_sender`; how
results are recorded is `bot.results`. What a former owner left marked `sending` is settled as unknown when a channel is
taken over. When a channel is lost, its items in memory are let go; requests on the wire still settle, by (item,
attempt).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Protocol

import structlog
from sqlalchemy import Connection

from bot import media, outbox
from bot.channel_sender import ChannelSender
from bot.channel_store import ChannelStore, ConnectedChannel
from bot.channels.base import Client
from bot.outbox import Item, Result
from bot.results import Results
from bot.runtime import Runtime
from domain.errors import Conflict, Unavailable
from domain.messages import Ephemeral
from storage import leases
from storage.database import Queue
from storage.signals import POLL_S

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
        self._results = Results(runtime, settled=self._settled, released=self.offer)
        self._stopping = False
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

    async def run(self) -> None:
        """Owns channels until cancelled or stopped."""
        own_at, loaded = 0.0, -1
        while not self._stopping:
            now = self._runtime.monotonic()
            if now >= own_at or loaded != self._channels.loaded:
                own_at, loaded = (
                    now + (leases.RENEW_EVERY_S if self._owned else POLL_S),
                    self._channels.loaded,
                )
                try:
                    await self._own()
                except (Unavailable, Conflict) as error:
                    _log.warning("sender_leases_failed", problem=str(error))
                    own_at = now + POLL_S
            if await self._runtime.signals.wait("outbox", POLL_S):
                for owned in self._owned.values():
                    owned.look()

    async def stop(self) -> None:
        """Claims nothing more, lets what is on the wire finish (at most 20 s), gives the channels back."""
        self._stopping = True
        self._results.hurry()
        self._runtime.signals.notify("outbox")
        await asyncio.gather(*(owned.stop() for owned in self._owned.values()))
        await self._results.drain()
        names = [_lease(channel_id) for channel_id in self._owned]
        self._owned.clear()
        with suppress(Unavailable):
            await self._runtime.database.write(lambda c: leases.release(c, names, self._runtime.owner))

    async def _own(self) -> None:
        """Renews what is owned, takes what is free, lets go of what was lost or no longer runs."""
        runtime = self._runtime
        wanted = {_lease(c.id): c for c in self._channels.all() if c.state == "active"}

        def renew_and_take(connection: Connection) -> dict[str, int]:
            return leases.take(connection, sorted(wanted), runtime.owner)

        held = await runtime.database.write(renew_and_take, queue=Queue.live, durable=False) if wanted else {}
        for channel_id in [c for c in self._owned if _lease(c) not in held]:
            await self._owned.pop(channel_id).let_go()
        for name, channel in wanted.items():
            if name not in held:
                continue
            owned = self._owned.get(channel.id)
            if owned is None:
                self._owned[channel.id] = await self._start(channel)
            else:
                owned.refresh(channel, self._clients(channel))

    async def _start(self, channel: ConnectedChannel) -> ChannelSender:
        """A channel that became ours: what its former owner left on the wire is unknown."""
        now = self._runtime.clock()
        left, recent = await self._runtime.database.read(
            lambda c: (outbox.orphans(c, channel.id), outbox.recent(c, channel.id, since=now - WINDOW_MS))
        )
        for item in left:
            self._results.record(
                Result(
                    id=item.id,
                    attempt=item.attempt,
                    state="unknown",
                    at=now,
                    reason="unknown",
                    part=item.part,
                )
            )
        owned = ChannelSender(
            self._results, self._runtime, channel, self._clients(channel), self._files, recent
        )
        owned.start()
        return owned

    def _settled(self, batch: Sequence[Result]) -> None:
        for result in batch:
            owner = next((o for o in self._owned.values() if result.id in o.busy), None)
            if owner is not None:
                owner.forget(result.id)
        if any(result.state in ("retry", "unknown") for result in batch):
            for owned in self._owned.values():
                owned.look()


def _lease(channel_id: int) -> str:
    return f"channel:{channel_id}"
