"""The conversation runtime without a network: intake, worker and store are the real ones, the clock is the test's.

`Core.open(url)` gives a workspace with a Telegram bot; `hears` stores an event, `work` lets the worker do all that it
can at this moment, `said` is what waits to be sent. What the worker hands to the sender after a commit is kept.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, text

from bot import channel_store, flow_store, timers
from bot.channel_store import ChannelStore
from bot.conversations import Worker
from bot.flow_store import FlowStore, Published
from bot.intake import Intake
from bot.outbox import Item
from bot.runtime import Runtime
from bot.sender import Sender
from domain.events import ExternalId, MessageReceived, Origin, Person, Place, PlatformEvent
from domain.ids import IdMaker
from domain.messages import Ephemeral, Received, ReceivedText, decode_content, decode_received, text_of
from storage.database import Database, rows_of
from storage.sealing import Sealer
from storage.signals.local import LocalSignals

T = TypeVar("T")
NOW = 1_797_000_000_000  # 2026-12-11T14:40:00Z
WORKSPACE, OTHER_WORKSPACE = 11, 12
TOKEN = "110201543:TEST-abcdefghijklmnopqrstuvwxyz0123456"


class Handed(Sender):
    """What the worker gives to the sender of its process; nobody sends it."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.ephemerals: list[tuple[int, Ephemeral, str, str | None]] = []

    def offer(self, items: Iterable[Item]) -> None:
        self.items += items

    def offer_ephemeral(self, channel_id: int, ephemeral: Ephemeral, address: str, topic: str | None) -> None:
        self.ephemerals.append((channel_id, ephemeral, address, topic))


class Core:
    """See the module."""

    channel_id: int

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = NOW
        self.number = 0
        self.sealer = Sealer("test secret that is long enough to be one")
        self.new_id = IdMaker(1, lambda: self.now).next
        self.channels = ChannelStore(self.sealer, {})
        self.flows = FlowStore()
        self.handed = Handed()
        self.runtime = self.process("here")
        self.intake = Intake(self.runtime)
        self.worker = Worker(self.runtime, self.channels, self.flows, self.handed)

    def process(self, owner: str) -> Runtime:
        """The handles of another process on the same store and clock."""
        return Runtime(
            database=self.database,
            sealer=self.sealer,
            new_id=self.new_id,
            clock=lambda: self.now,
            monotonic=lambda: self.now / 1000,
            signals=LocalSignals(),
            owner=owner,
            random=random.Random(0).random,
        )

    def another_worker(self, owner: str) -> Worker:
        return Worker(self.process(owner), self.channels, self.flows, self.handed)

    @staticmethod
    async def open(url: str) -> Core:
        core = Core(await Database.open(url))
        await core.do(_workspaces)
        core.channel_id = await core.bot(WORKSPACE)
        return core

    async def do(self, work: Callable[[Connection], T]) -> T:
        return await self.database.write(work)

    async def rows(self, sql: str, **values: Any) -> list[Any]:
        return list(await self.database.read(lambda c: rows_of(c, sql, values)))

    async def value(self, sql: str, **values: Any) -> Any:
        return (await self.rows(sql, **values))[0][0]

    async def bot(self, workspace_id: int) -> int:
        """A Telegram bot of the workspace."""
        channel_id = await self.do(
            lambda c: channel_store.add(
                c,
                workspace_id=workspace_id,
                kind="telegram",
                name=f"Bot {len(self.channels.all())}",
                values={"token": TOKEN, "webhook_secret": "test-webhook-secret"},
                mode="webhook",
                sealer=self.sealer,
                new_id=self.new_id,
                now=self.now,
            )
        )
        await self.database.read(self.channels.load)
        return channel_id

    async def publish(self, source: str, *, workspace_id: int = WORKSPACE) -> Published:
        published = await self.do(
            lambda c: flow_store.publish(
                c, workspace_id=workspace_id, source=source, name="flow", new_id=self.new_id, now=self.now
            )
        )
        await self.database.read(self.flows.load)
        return published

    async def hears(self, *said: str | Received, person: int = 1001, **values: Any) -> None:
        """Somebody writes to the bot, in private."""
        for content in said:
            await self.takes(self.message(content, person=person, **values))

    def message(
        self,
        content: str | Received,
        *,
        person: int = 1001,
        group: str = "",
        topic: str | None = None,
        is_bot: bool = False,
        at: int | None = None,
        **values: Any,
    ) -> MessageReceived:
        self.number += 1
        origin = Origin(Place.group, group, topic) if group else Origin(Place.private, str(person))
        who = Person(
            (ExternalId("telegram_user", str(person)),), first_name="Anna", language="it", is_bot=is_bot
        )
        return MessageReceived(
            key=f"upd:{self.number}",
            person=who,
            origin=origin,
            content=ReceivedText(content) if isinstance(content, str) else content,
            external_id=str(self.number),
            occurred_at=self.now if at is None else at,
            **values,
        )

    async def takes(self, *events: PlatformEvent, channel_id: int = 0) -> None:
        """Platform events of one delivery."""
        channel = self.channels.get(channel_id or self.channel_id)
        assert channel is not None
        await self.intake.append([(channel, event) for event in events])

    async def work(self, worker: Worker | None = None) -> int:
        """Rounds until there is nothing to do now; gives how many."""
        worker = worker or self.worker
        rounds = 0
        await worker.lanes.own()
        while await worker.round():
            rounds += 1
            assert rounds < 500, "the worker never comes to rest"
        return rounds

    async def time(self, ms: int) -> None:
        """Time passes, and what it brings comes in."""
        self.now += ms
        await self.do(lambda c: timers.fire(c, self.runtime))
        await self.do(lambda c: timers.join_albums(c, self.runtime))

    async def said(self, person: int = 1001) -> list[str]:
        """The texts that wait for a person, in their order."""
        rows = await self.rows(
            "SELECT content FROM outbox WHERE address = :address ORDER BY id", address=str(person)
        )
        return [text_of(decode_content(row.content)) for row in rows]

    async def states(self) -> list[tuple[int, int]]:
        """(state, attempts) of every event, in order of acceptance."""
        return [(row.state, row.attempts) for row in await self.rows("SELECT * FROM intake ORDER BY id")]

    async def received(self) -> list[str]:
        """What people have written, as it stands in the log of messages."""
        rows = await self.rows("SELECT content FROM message WHERE direction = 'in' ORDER BY id")
        return [text_of(decode_received(row.content)) for row in rows]


def _workspaces(connection: Connection) -> None:
    for workspace in (WORKSPACE, OTHER_WORKSPACE):
        connection.execute(
            text(
                "INSERT INTO workspace (id, workspace_id, name, locale, timezone, state, encrypt_personal, business, "
                "created_at) VALUES (:w, :w, 'Bottega Esempio', 'it', 'Europe/Rome', 'active', 0, '{}', 0)"
            ),
            {"w": workspace},
        )


def texts(items: Sequence[Item]) -> list[str]:
    """What items say."""
    return [text_of(decode_content(item.content)) for item in items]
