"""Leases: one owner at a time, by the database's clock; a takeover raises the fence and never cuts into a write."""

from __future__ import annotations

import asyncio
import random

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from domain.errors import Conflict
from storage import leases
from storage.database import Database, Queue, Work, scalar_int

NAMES = ["lane:01", "lane:02", "lane:03"]


async def held(
    store: Database, owner: str, names: list[str] = NAMES, limit: int | None = None
) -> dict[str, int]:
    return await store.write(lambda c: leases.take(c, names, owner, limit=limit))


async def expire(store: Database, *names: str) -> None:
    """Their owners have not been heard of for a lease's length."""

    def work(connection: Connection) -> None:
        for name in names:
            connection.execute(text("UPDATE lease SET expires_at = 1 WHERE name = :name"), {"name": name})

    await store.write(work)


async def test_what_is_free_is_taken_and_nobody_else_gets_it(store: Database) -> None:
    assert await held(store, "a") == dict.fromkeys(NAMES, 1)
    assert await held(store, "b") == {}
    assert await held(store, "a") == dict.fromkeys(NAMES, 1), "taking one's own again is no takeover"


async def test_no_names_and_a_limit(store: Database) -> None:
    assert await held(store, "a", []) == {}
    assert await held(store, "a", limit=2) == {"lane:01": 1, "lane:02": 1}
    assert await held(store, "b") == {"lane:03": 1}


async def test_what_was_let_go_or_ran_out_is_taken_with_a_higher_fence(store: Database) -> None:
    await held(store, "a")
    await store.write(lambda c: leases.release(c, ["lane:01", "lane:09"], "a"))
    await store.write(lambda c: leases.release(c, ["lane:02"], "somebody else"))
    await expire(store, "lane:03")
    assert await held(store, "b") == {"lane:01": 2, "lane:03": 2}


async def test_renewing_keeps_the_fence_and_tells_what_was_lost(store: Database) -> None:
    mine = await held(store, "a")
    await expire(store, "lane:02", "lane:03")
    assert await held(store, "b", ["lane:02"]) == {"lane:02": 2}
    assert await store.write(lambda c: leases.renew(c, mine, "a")) == {"lane:01": 1, "lane:03": 1}
    assert await held(store, "b") == {"lane:02": 2}, "renewed before anybody came: still ours"
    assert await store.write(lambda c: leases.renew(c, {}, "a")) == {}
    assert await store.write(lambda c: leases.renew(c, {"lane:01": 7}, "a")) == {}, "not the one that we hold"


async def test_holding_tells_whose_fence_is_no_longer_ours(store: Database) -> None:
    mine = await held(store, "a")
    await expire(store, "lane:02")
    await held(store, "b", ["lane:02"])
    lost = await store.write(lambda c: leases.hold(c, {**mine, "lane:99": 1}))
    assert lost == {"lane:02", "lane:99"}
    assert await store.write(lambda c: leases.hold(c, {})) == set()


async def test_the_expiry_is_by_the_databases_clock(store: Database) -> None:
    await held(store, "a")
    now = await store.read(leases.now)
    until = await store.read(lambda c: scalar_int(c, "SELECT expires_at FROM lease WHERE name = 'lane:01'"))
    assert 0 < until - now <= leases.LEASE_MS
    assert now > 1_700_000_000_000


async def test_who_has_the_database_alone_frees_everything_but_node_numbers(store: Database) -> None:
    await held(store, "dead", [*NAMES, "scheduler", "channel:7", "node:0001"])
    await store.write(leases.free_all)
    again = await held(store, "new", [*NAMES, "scheduler", "channel:7", "node:0001"])
    assert again == {**dict.fromkeys(NAMES, 2), "scheduler": 2, "channel:7": 2}


async def test_at_most_one_of_many_gets_each(store: Database) -> None:
    """Ten processes at once; together they get every lease, none twice."""
    owners = [f"process {n}" for n in range(10)]
    results = await asyncio.gather(*(held(store, owner, limit=1) for owner in owners))
    got = [name for one in results for name in one]
    assert len(got) == len(set(got)) <= len(NAMES)
    rest = await asyncio.gather(*(held(store, owner) for owner in ("x", "y")))
    assert sorted([*got, *(name for one in rest for name in one)]) == NAMES


async def test_a_takeover_does_not_cut_into_a_write_that_holds_the_lease(migrated_postgres_url: str) -> None:
    """The holder commits with its fence; a renewal meanwhile goes through; whoever takes over gets the lease after
    that commit, and what the former owner begins then is refused."""
    one, two = await Database.open(migrated_postgres_url), await Database.open(migrated_postgres_url)
    engine = create_async_engine(one.url)
    try:
        mine = await held(one, "a", ["lane:01"])
        async with engine.begin() as writing:  # a's transaction
            assert await writing.run_sync(lambda c: leases.hold(c, mine)) == set()
            assert await one.write(lambda c: leases.renew(c, mine, "a")) == mine
            await expire(one, "lane:01")
            assert await held(two, "b", ["lane:01"]) == {}

            def raise_fence(connection: Connection) -> None:
                connection.execute(text("SET LOCAL lock_timeout = 50"))
                connection.execute(text("UPDATE lease SET fence = fence + 1 WHERE name = 'lane:01'"))

            with pytest.raises(Conflict, match="55P03"):  # it had to wait
                await two.write(raise_fence)
        assert await held(two, "b", ["lane:01"]) == {"lane:01": 2}
        assert await one.write(lambda c: leases.hold(c, mine)) == {"lane:01"}
    finally:
        await engine.dispose()
        await one.close()
        await two.close()


async def test_nobody_waits_in_a_circle(store: Database) -> None:
    """Leases are renewed, given back and made at the same time, by names in any order: rows are locked in one order."""
    names = [f"lane:{number:02}" for number in range(64)]
    chance = random.Random(7)

    def shuffled() -> list[str]:
        return chance.sample(names, len(names))

    def take() -> Work[dict[str, int]]:
        order = shuffled()
        return lambda connection: leases.take(connection, order, "a")

    def renew() -> Work[object]:
        mine = {name: fences[name] for name in shuffled()}
        return lambda connection: leases.renew(connection, mine, "a")

    def release() -> Work[object]:
        order = shuffled()[:20]
        return lambda connection: leases.release(connection, order, "a")

    made = await asyncio.gather(*(store.write(take(), queue=Queue.live) for _ in range(4)))
    fences = max(made, key=len)
    for _ in range(25):
        works = [renew(), renew(), release(), renew(), renew(), release()]
        await asyncio.gather(*(store.write(work, queue=Queue.live) for work in works))
