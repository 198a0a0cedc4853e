"""Leases shared among processes, on both databases: joining, handing over, dying, leaving, coming back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

import pytest
from sqlalchemy import Connection, text

from domain.errors import Unavailable
from storage import leases
from storage.database import Database, rows_of
from storage.sharing import Holding
from storage.signals.local import LocalSignals

NAMES = [f"thing:{n:02d}" for n in range(10)]


@dataclass
class World:
    """Processes on one store; `later` lets a third of a lease pass for them, not for the store."""

    store: Database
    names: list[str] = field(default_factory=lambda: list(NAMES))
    now: float = 0.0
    busy: Counter[str] = field(default_factory=Counter)
    free: asyncio.Event = field(default_factory=asyncio.Event)

    def process(self, owner: str) -> Holding:
        async def let_go(names: Collection[str]) -> None:
            self.busy[owner] += 1
            await self.free.wait()

        return Holding(
            self.store,
            LocalSignals(),
            owner,
            "thing",
            names=lambda: self.names,
            let_go=let_go,
            monotonic=lambda: self.now,
        )

    async def rounds(self, *processes: Holding, times: int = 3) -> None:
        for _ in range(times):
            self.now += leases.RENEW_EVERY_S
            for process in processes:
                await process.tick()
                if self.free.is_set():
                    await process.given()

    async def expire(self, owner: str) -> None:
        """It has not been heard of for a lease's length."""

        def work(connection: Connection) -> None:
            connection.execute(text("UPDATE lease SET expires_at = 1 WHERE owner = :owner"), {"owner": owner})

        await self.store.write(work)


@pytest.fixture
def world(store: Database) -> World:
    made = World(store)
    made.free.set()
    return made


async def test_one_has_all_two_have_half_three_a_third(world: World) -> None:
    processes = [world.process(name) for name in "abc"]
    for count, expected in ((1, [10]), (2, [5, 5]), (3, [4, 3, 3])):
        await world.rounds(*processes[:count])
        assert [len(one.held) for one in processes[:count]] == expected
        assert sorted(name for one in processes[:count] for name in one.held) == NAMES
        assert {one.members for one in processes[:count]} == {count}


async def test_at_rest_nothing_moves(world: World) -> None:
    processes = [world.process(name) for name in "abcd"]
    await world.rounds(*processes)
    before = [dict(one.held) for one in processes]
    world.busy.clear()
    await world.rounds(*processes, times=4)
    assert [dict(one.held) for one in processes] == before, "no fence has risen"
    assert not world.busy


async def test_what_is_handed_over_is_free_only_when_it_is_not_used_any_more(world: World) -> None:
    one, two = world.process("a"), world.process("b")
    await world.rounds(one)
    snapshot = one.held
    world.free.clear()
    await world.rounds(one, two, times=3)
    assert (len(one.held), len(two.held), len(snapshot)) == (5, 0, 10)
    world.free.set()
    await one.given()
    await world.rounds(two, one, times=1)
    assert (len(one.held), len(two.held)) == (5, 5)


async def test_a_dead_ones_part_goes_to_the_others_and_it_finds_that_it_has_lost_it(world: World) -> None:
    """Killed or frozen: its own row and what it held expire together. When it wakes up it is a newcomer."""
    one, two, three = (world.process(name) for name in "abc")
    await world.rounds(one, two, three)
    frozen = dict(three.held)
    await world.expire("c")
    await world.rounds(one, two)
    assert len(one.held) + len(two.held) == 10
    lost = await world.store.write(lambda c: leases.hold(c, frozen))
    assert lost == set(frozen), "its fences are worth nothing"
    await world.rounds(three, times=1)
    assert not three.held
    await world.rounds(one, two, three)
    assert sorted(len(process.held) for process in (one, two, three)) == [3, 3, 4]


async def test_after_a_long_outage_everybody_keeps_what_they_had(world: World) -> None:
    """The store was away for longer than a lease: all rows have expired, but nobody is dead but c."""
    one, two, three = (world.process(name) for name in "abc")
    await world.rounds(one, two, three)
    before = dict(one.held), dict(two.held)
    world.now += 40.0
    for owner in "abc":
        await world.expire(owner)
    await one.tick()
    assert one.held == before[0], "it took nothing of the others"
    world.now += 1.0
    await two.tick()
    assert (one.held, two.held) == before
    world.now += 2.5
    await world.rounds(one, two)
    assert len(one.held) + len(two.held) == 10, "what nobody has renewed is free after all"
    assert before[0].items() <= one.held.items()
    assert before[1].items() <= two.held.items()


async def test_one_that_leaves_frees_its_part_at_once_and_leaves_no_row(world: World) -> None:
    one, two = world.process("a"), world.process("b")
    await world.rounds(one, two)
    await two.leave()
    assert not two.held
    await world.rounds(one, times=1)
    assert len(one.held) == 10
    await one.leave()
    rows = await world.store.read(lambda c: rows_of(c, "SELECT name, owner, expires_at FROM lease"))
    assert {row.name for row in rows} == set(NAMES)
    assert {(row.owner, row.expires_at) for row in rows} == {("", 0)}


async def test_names_come_and_go(world: World) -> None:
    """A new channel is taken at the next look, a stopped one is let go."""
    one = world.process("a")
    await one.tick()
    world.names = [*NAMES[2:], "thing:new"]
    await one.tick()
    await one.given()
    assert sorted(one.held) == sorted(world.names)
    owners = await world.store.read(lambda c: rows_of(c, "SELECT name FROM lease WHERE owner = ''"))
    assert {row.name for row in owners} == set(NAMES[:2])


async def test_more_processes_than_things(world: World) -> None:
    world.names = NAMES[:2]
    processes = [world.process(name) for name in "abcd"]
    await world.rounds(*processes)
    assert sorted(len(one.held) for one in processes) == [0, 0, 1, 1]


async def test_what_could_not_be_given_back_is_given_back_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = world.process("a"), world.process("b")
    await world.rounds(one)
    with monkeypatch.context() as broken:

        def refuse(*_: object) -> None:
            raise Unavailable("the store does not answer")

        broken.setattr(leases, "release", refuse)
        await world.rounds(two, one, times=1)
    assert len(one.held) == 5
    await world.rounds(one, two, times=2)
    assert (len(one.held), len(two.held)) == (5, 5)


async def test_everybody_at_once(world: World) -> None:
    """Twelve processes tick in parallel: never two owners, and in the end everybody has a fair part."""
    world.names = [f"thing:{n:02d}" for n in range(64)]
    processes = [world.process(f"p{n:02d}") for n in range(12)]
    for _ in range(6):
        world.now += leases.RENEW_EVERY_S
        await asyncio.gather(*(one.tick() for one in processes))
        await asyncio.gather(*(one.given() for one in processes))
        held = [name for one in processes for name in one.held]
        assert len(held) == len(set(held))
    assert sorted(len(one.held) for one in processes) == [5] * 8 + [6] * 4
