"""One process's conversation runtime, put together: stores, intake, worker, sender, pollers, scheduler.

`roles` says which parts run here; all of them in the embedded default. `start` begins them in an order in which
nobody is offered work before it can take it; `stop` ends them the other way round: take nothing more, finish what is
in hand, give leases back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection

from bot import calls, channel_store, flow_moves, flow_store, media_jobs, privacy_jobs, scheduler
from bot.assistant import Assistant
from bot.channel_store import ChannelStore
from bot.conversations import Worker
from bot.flow_store import FlowStore
from bot.intake import Intake
from bot.media import MediaStore
from bot.outgoing import Limits, Outgoing, Policy
from bot.polling import Pollers
from bot.runtime import Runtime
from bot.scheduler import Scheduler, Ticker
from bot.sender import ClientFactory, Sender
from domain.errors import Conflict, Unavailable
from storage import jobs
from storage.database import Queue
from storage.signals import until_look

ROLES = ("web", "worker", "sender", "scheduler")
LOOK_S = 0.5  # how often the revision of the configuration is read

_log = structlog.get_logger("live")


class Live:
    """The running parts of this process."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        clients: ClientFactory,
        media_folder: Path,
        channel_defaults: Mapping[str, Mapping[str, str]] | None = None,
        roles: Collection[str] = ROLES,
        tickers: Sequence[Ticker] = (),
        webhooks_reach_us: bool = True,
        job_context: Any = None,
        outgoing: Policy | None = None,
        assistant: Assistant | None = None,
    ) -> None:
        self.runtime = runtime
        self.roles = frozenset(roles)
        self.clients = clients
        self.channels = ChannelStore(runtime.sealer, channel_defaults or {})
        self.flows = FlowStore()
        self.intake = Intake(runtime)
        self.media = MediaStore(media_folder, runtime.database, runtime.sealer, runtime.new_id, runtime.clock)
        self.sender = Sender(runtime, self.channels, clients, self.media)
        self.worker = Worker(runtime, self.channels, self.flows, self.sender)
        self.pollers = Pollers(
            runtime, self.channels, self.intake, clients, webhooks_reach_us=webhooks_reach_us
        )
        self.scheduler = Scheduler(runtime, (*scheduler.tickers(runtime), *tickers), offer=self.sender.offer)
        self.outgoing = Outgoing(outgoing or Policy())
        self.limits = Limits(runtime.monotonic)
        self.assistant = assistant or Assistant()
        assert {
            *privacy_jobs.KINDS,
            *media_jobs.KINDS,
            *calls.KINDS,
            *flow_moves.KINDS,
        } <= jobs.kinds().keys()
        context = self if job_context is None else job_context
        parts = (runtime.database, runtime.sealer, runtime.clock, runtime.owner, context)
        self.jobs = jobs.Runner(*parts, signals=runtime.signals, but=calls.KIND)
        # Of their own: a person waits for each of them, and a slow service must not hold an export.
        self.calls = jobs.Runner(
            *parts,
            signals=runtime.signals,
            topic=calls.TOPIC,
            only=calls.KIND,
            at_once=calls.AT_ONCE,
            lease_ms=calls.LEASE_MS,
            queue=Queue.live,
            repeats=False,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._revisions: dict[str, int] = {}
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Loads the configuration and begins."""
        await self.reload()
        work = [self._watch()]
        if "sender" in self.roles:
            work.append(self.sender.run())
        if "worker" in self.roles:
            work += [self.worker.run(), self.jobs.run(), self.calls.run()]
        if "scheduler" in self.roles:
            work.append(self.scheduler.run())
        if "web" in self.roles:
            work.append(self.pollers.run())
        self._tasks = [asyncio.create_task(one) for one in work]
        for task in self._tasks:
            task.add_done_callback(_ended)

    async def stop(self) -> None:
        """Ends everything; what was accepted is stored, what is on the wire is given 20 s."""
        self._stopping.set()
        self.pollers.stop()
        self.scheduler.stop()
        self.jobs.stop()
        self.calls.stop()
        await self.worker.stop()
        self.sender.stop()
        _, late = await asyncio.wait(self._tasks, timeout=25) if self._tasks else (set(), set())
        for task in late:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.sender.finish()
        await self.outgoing.close()

    async def reload(self) -> None:
        """Reads channels, flows and businesses anew."""

        def read(connection: Connection) -> dict[str, int]:
            revisions = channel_store.revisions(connection)
            self.channels.load(connection)
            self.flows.load(connection, ready)
            return revisions

        missing = await self.runtime.database.read(self.flows.missing)
        ready = await asyncio.to_thread(flow_store.compiled, missing)
        self._revisions = await self.runtime.database.read(read)
        self.sender.channels_changed()

    def failed(self) -> list[str]:
        """Parts that ended though nobody stopped them."""
        return [
            task.get_coro().__qualname__  # type: ignore[union-attr]
            for task in self._tasks
            if task.done() and not self._stopping.is_set()
        ]

    def _look(self, connection: Connection) -> dict[str, int]:
        self.intake.count_open(connection)
        return channel_store.revisions(connection)

    async def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                current = await self.runtime.database.read(self._look)
                if current != self._revisions:
                    await self.reload()
            except (Unavailable, Conflict) as error:
                _log.warning("configuration_not_read", problem=str(error))
            try:
                async with asyncio.timeout(until_look(LOOK_S)):
                    await self._stopping.wait()
            except TimeoutError:
                continue


def _ended(task: asyncio.Task[None]) -> None:
    """Whoever watches `Live.failed` ends the process; this is why."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("part_failed", problem=type(error).__name__, exc_info=error)
