"""Whatever happens in whatever order (feeding, sending, statuses, pausing, cancelling, crashes), nobody is written to
twice and the totals are the sums of the rows (I4)."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from bot import outbox, settling
from bot.settling import Outcome
from campaigns import recipients, reports, runs, scheduler
from domain.errors import Conflict
from tests.support.campaigns import CHANNEL, WORKSPACE, World

PEOPLE = 12
ACTIONS = (
    "materialise",
    "feed",
    "feed",
    "mark",
    "mark",
    "settle",
    "settle",
    "status",
    "postpone",
    "crash_sender",
    "pause",
    "resume",
    "cancel",
    "take_back",
    "sweep",
    "fold",
    "brake_and_finish",
    "fail_after",
    "wait",
)
RESULTS = ("sent", "failed", "unknown", "retry", "skipped")


class Crash(Exception):
    """The process died before its commit."""


class Walk:
    """Does what it is told and keeps its own account of what left, as the platform would."""

    def __init__(self, world: World, campaign: int, run: int) -> None:
        self.world, self.campaign, self.run = world, campaign, run
        self.on_wire: dict[int, int] = {}
        self.person: dict[int, int] = {}  # message id → contact id of everything that was ever marked
        self.last: dict[int, str] = {}  # message id → what its last attempt gave

    async def do(self, action: str, number: int) -> None:
        step = getattr(self, action)
        try:
            await step(number)
        except Conflict:  # not possible in this state, or somebody was first
            return

    async def materialise(self, number: int) -> None:
        await self.world.tick(scheduler.materialise)

    async def feed(self, number: int) -> None:
        world = self.world
        await world.do(
            lambda c: recipients.feed(c, self.run, room=number + 1, new_id=world.new_id, now=world.now)
        )

    async def mark(self, number: int) -> None:
        marked = await self.world.mark(limit=number + 1)
        for row in await self.world.rows("SELECT id, contact_id FROM outbox WHERE state = 3"):
            self.person[row.id] = row.contact_id
        self.on_wire |= marked
        self.last |= dict.fromkeys(marked, "wire")

    async def settle(self, number: int) -> None:
        if not self.on_wire:
            return
        message = sorted(self.on_wire)[number % len(self.on_wire)]
        state = RESULTS[number % len(RESULTS)]
        attempt = self.on_wire.pop(message)
        self.last[message] = state
        await self.world.settle({message: attempt}, state, reason="", retry_at=self.world.now + number)
        if number % 2:  # the commit was not seen: the same result once more
            await self.world.settle({message: attempt}, state, reason="", retry_at=self.world.now + number)

    async def status(self, number: int) -> None:
        if not self.person:
            return
        message = sorted(self.person)[number % len(self.person)]
        told = Outcome(
            message_id=message,
            workspace_id=WORKSPACE,
            run_id=self.run,
            campaign_id=0,
            contact_id=self.person[message],
            outlet_id=0,
            state=("delivered", "read", "failed", "sent")[number % 4],
            at=self.world.now,
        )
        if self.last[message] in ("sent", "unknown"):  # the platform speaks of what it took
            await self.world.do(
                lambda c: settling.tell(c, [told, told], new_id=self.world.new_id, now=self.world.now)
            )

    async def postpone(self, number: int) -> None:
        rows = await self.world.rows("SELECT id FROM outbox WHERE state = 1 ORDER BY id")
        if rows:
            at = self.world.now + number * 200_000
            await self.world.do(lambda c: outbox.postpone(c, {rows[number % len(rows)].id: at}))

    async def crash_sender(self, number: int) -> None:
        """A new owner finds what the former one had on the wire: unknown."""
        left = await self.world.database.read(lambda c: outbox.orphans(c, CHANNEL))
        self.last |= {item.id: "unknown" for item in left}
        self.on_wire.clear()
        await self.world.settle({item.id: item.attempt for item in left}, "unknown", reason="unknown")

    async def pause(self, number: int) -> None:
        await self.world.do(lambda c: runs.pause(c, WORKSPACE, self.campaign, now=self.world.now))

    async def resume(self, number: int) -> None:
        await self.world.do(lambda c: runs.resume(c, WORKSPACE, self.campaign, now=self.world.now))

    async def cancel(self, number: int) -> None:
        if number == 5:  # rarely: it is the end
            world = self.world
            await world.do(
                lambda c: runs.cancel(c, WORKSPACE, self.campaign, new_id=world.new_id, now=world.now)
            )

    async def take_back(self, number: int) -> None:
        await self.world.tick(scheduler.take_back)

    async def sweep(self, number: int) -> None:
        await self.world.tick(scheduler.sweep_cancelled)

    async def fold(self, number: int) -> None:
        await self.world.tick(scheduler.fold)

    async def brake_and_finish(self, number: int) -> None:
        await self.world.tick(scheduler.brake_and_finish)

    async def wait(self, number: int) -> None:
        self.world.now += number * 100_000

    async def fail_after(self, number: int) -> None:
        """Everything of one transaction, but for its commit."""
        world = self.world
        work = (
            lambda c: recipients.feed(c, self.run, room=5, new_id=world.new_id, now=world.now),
            lambda c: runs.pause(c, WORKSPACE, self.campaign, now=world.now),
            lambda c: runs.cancel(c, WORKSPACE, self.campaign, new_id=world.new_id, now=world.now),
            lambda c: scheduler.fold(c, new_id=world.new_id, now=world.now),
            lambda c: scheduler.materialise(c, new_id=world.new_id, now=world.now),
        )[number % 5]

        def crash(connection: Connection) -> None:
            work(connection)
            raise Crash

        with pytest.raises((Crash, Conflict)):
            await world.do(crash)

    async def check(self) -> None:
        """I4, from the rows."""
        world = self.world
        seen = await world.database.read(
            lambda c: reports.progress(c, WORKSPACE, self.campaign, now=world.now)
        )
        assert seen is not None
        rows = await world.rows(
            "SELECT r.contact_id, r.state, r.receipt, r.message_id, (SELECT count(*) FROM outbox o "
            "WHERE o.run_id = r.run_id AND o.contact_id = r.contact_id) AS queued "
            "FROM recipient r WHERE r.run_id = :run",
            run=self.run,
        )
        by_state = [sum(row.state == state for row in rows) for state in range(6)]
        assert seen.total == len(rows) == seen.pending + seen.sent + seen.failed + seen.skipped + seen.unknown
        assert [seen.pending, seen.sent, seen.failed, seen.skipped, seen.unknown] == [
            by_state[0] + by_state[1],
            *by_state[2:],
        ]
        assert seen.delivered == sum(row.receipt >= 1 for row in rows)
        assert seen.read == sum(row.receipt == 2 for row in rows)
        assert all(row.queued == (1 if row.state == 1 else 0) for row in rows)
        self._nobody_twice()

    def _nobody_twice(self) -> None:
        """Of all messages of a person that were ever on the wire at most one was, or may have been, taken."""
        taken: dict[int, set[int]] = {}
        for message, state in self.last.items():
            if state in ("wire", "sent", "unknown", "failed"):
                taken.setdefault(self.person[message], set()).add(message)
        assert all(len(messages) == 1 for messages in taken.values()), taken


async def _walk(url: str, steps: list[tuple[str, int]]) -> None:
    world = await World.open(url)
    try:
        await world.people(range(1, PEOPLE + 1))
        await world.people([PEOPLE + 1], first_name="")
        campaign = await world.campaign("{{ contact.first_name }}")
        run = await world.do(lambda c: runs.start(c, WORKSPACE, campaign, new_id=world.new_id, now=world.now))
        walk = Walk(world, campaign, run)
        for action, number in steps:
            await walk.do(action, number)
            await walk.check()
        await _to_the_end(walk)
    finally:
        await world.database.close()


async def _to_the_end(walk: Walk) -> None:
    """However it went, the run comes to an end in which nobody is pending."""
    await walk.crash_sender(0)
    await walk.do("resume", 0)
    for _ in range(PEOPLE * 4):
        for action in ("materialise", "take_back", "sweep", "feed", "fold"):
            await walk.do(action, 5)
        marked = await walk.world.mark()
        await walk.mark(0)
        walk.last |= dict.fromkeys(marked, "sent")
        for row in await walk.world.rows("SELECT id, contact_id FROM message"):
            walk.person[row.id] = row.contact_id
        await walk.world.settle(marked)
        walk.world.now += 1_000_000
        await walk.do("brake_and_finish", 0)
        await walk.do("resume", 0)
    await walk.check()
    rows = await walk.world.rows("SELECT state FROM recipient WHERE state < 2")
    states = await walk.world.rows("SELECT state FROM campaign_run")
    assert (rows, states[0].state in ("finished", "cancelled")) == ([], True)


STEPS = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 5)), max_size=40)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(steps=STEPS)
def test_any_interleaving_keeps_i4_on_sqlite(steps: list[tuple[str, int]]) -> None:
    """Found by search, shrunk to the shortest story when it fails."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_walk(f"sqlite:///{Path(folder) / 'walk.sqlite3'}", steps))


@pytest.mark.parametrize("seed", [1, 2])
async def test_long_random_walks_keep_i4(any_database_url: str, seed: int) -> None:
    """The same on both databases, from fixed seeds."""
    dice = random.Random(seed)
    steps: list[Any] = [(dice.choice(ACTIONS), dice.randrange(5)) for _ in range(120)]
    await _walk(any_database_url, steps)
