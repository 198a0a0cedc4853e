"""Asking platforms what our channels are called in public, where a flow makes links to them.

A link to a bot needs its username, one to a number its digits: nothing that an owner must give to connect a channel.
Where nobody has told it, it is asked for here, once and only when a published flow has a step that makes links; the
answer stays with the channel. What a platform refuses is asked again after a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from bot import channel_store
from bot.channel_store import ChannelStore, ConnectedChannel
from bot.channels.base import Management
from bot.flow_store import FlowStore
from bot.runtime import Runtime
from domain.errors import AppError, SendError
from storage.database import Queue

LOOK_S = 2.0  # how soon after its flow was published a channel is asked for
AGAIN_S = 60.0

_log = structlog.get_logger("introductions")


class Introductions:
    """See the module. `management` may import a large library: it is called in a thread."""

    def __init__(
        self,
        runtime: Runtime,
        channels: ChannelStore,
        flows: FlowStore,
        management: Callable[[ConnectedChannel], Management],
    ) -> None:
        self._runtime = runtime
        self._channels = channels
        self._flows = flows
        self._management = management
        self._not_before: dict[int, float] = {}

    async def run(self) -> None:
        """Asks until cancelled."""
        while True:
            await self.ask()
            await asyncio.sleep(LOOK_S)

    async def ask(self) -> int:
        """Asks for every name that is missing and may be asked for now; gives how many were learned."""
        learned = 0
        for channel in self._channels.all():
            if (
                channel.state != "active"
                or channel.view.link
                or not self._flows.makes_links(channel.workspace_id)
            ):
                continue
            if self._runtime.monotonic() < self._not_before.get(channel.id, 0.0):
                continue
            self._not_before[channel.id] = self._runtime.monotonic() + AGAIN_S
            learned += await self._ask(channel)
        return learned

    async def _ask(self, channel: ConnectedChannel) -> bool:
        try:
            management = await asyncio.to_thread(self._management, channel)
            told = channel.kind.public_name(await management.identify())
            if not told:
                return False
            await self._runtime.database.write(
                lambda c: channel_store.learn(c, channel.id, told), queue=Queue.people
            )
        except (SendError, AppError) as error:
            _log.warning("channel_not_introduced", channel=channel.id, problem=str(error))
            return False
        _log.info("channel_introduced", channel=channel.id)
        return True
