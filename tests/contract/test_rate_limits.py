"""The API's rate limits: one suite for buckets of this process and for those shared over a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from api.limits import AWAY_S, Limits, LocalLimits, Rate, SharedLimits
from tests.support.redis import RedisServer

KEY, WORKSPACE = Rate(0.01, 3), Rate(0.01, 5)  # a token in 100 s: none comes back during a test
Make = Callable[[], Limits]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["local", "redis"])
def make(request: pytest.FixtureRequest) -> Make:
    if request.param == "local":
        return lambda: LocalLimits(KEY, WORKSPACE, Clock())
    url = request.getfixturevalue("redis_url")
    return lambda: SharedLimits(url, KEY, WORKSPACE, Clock())


@asynccontextmanager
async def opened(make: Make) -> AsyncIterator[Limits]:
    limits = make()
    try:
        yield limits
    finally:
        await limits.close()


async def test_a_key_has_its_burst_and_then_waits(make: Make) -> None:
    """The wait is the time of one token; another key of the workspace is not held up."""
    async with opened(make) as limits:
        assert [await limits.take(1, 7) for _ in range(3)] == [0, 0, 0]
        assert await limits.take(1, 7) == pytest.approx(100, abs=1)
        assert await limits.take(2, 7) == 0


async def test_a_workspace_has_its_own_bucket_over_all_keys(make: Make) -> None:
    """Six keys are no way around it; what was refused took nothing; other workspaces know nothing of it."""
    async with opened(make) as limits:
        assert [await limits.take(key, 7) for key in range(5)] == [0] * 5
        assert [await limits.take(key, 7) > 0 for key in range(5)] == [True] * 5
        assert [await limits.take(key, 8) for key in range(3)] == [0] * 3
        assert [await limits.take(9, 9) for _ in range(4)][:3] == [0] * 3


async def test_many_at_once_get_no_more_than_the_burst(make: Make) -> None:
    async with opened(make) as limits:
        waits = await asyncio.gather(*(limits.take(1, 7) for _ in range(12)))
        assert sum(1 for wait in waits if wait == 0) == 3


async def test_processes_share_one_bucket(redis_url: str) -> None:
    """Whichever process is asked, the key has one burst."""
    async with (
        opened(lambda: SharedLimits(redis_url, KEY, WORKSPACE, Clock())) as one,
        opened(lambda: SharedLimits(redis_url, KEY, WORKSPACE, Clock())) as other,
    ):
        assert [await one.take(1, 7), await other.take(1, 7), await one.take(1, 7)] == [0, 0, 0]
        assert await other.take(1, 7) > 0
        assert await one.take(1, 7) > 0


async def test_buckets_expire_by_themselves(redis_server: RedisServer) -> None:
    """Redis holds nothing of a caller who was quiet for as long as a bucket takes to fill."""
    async with opened(lambda: SharedLimits(redis_server.url, Rate(0.1, 3), Rate(0.1, 5), Clock())) as limits:
        await limits.take(1, 7)
        names = redis_server.command("KEYS", "*")
        assert sorted(names) == [b"passaparola:rate:{7}", b"passaparola:rate:{7}:1"]
        assert all(0 < redis_server.command("PTTL", name) <= 10_001 for name in names)


@pytest.fixture
def gone(redis_server: RedisServer, request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A server that is not there any more, in one of the ways in which servers are not there."""
    yield redis_server
    if request.node.callspec.params["how"] == "freeze":
        redis_server.thaw()


@pytest.mark.parametrize("how", ["kill", "freeze", "fill"])
async def test_without_redis_each_process_counts_for_itself(
    gone: RedisServer, how: str, quiet: list[Any]
) -> None:
    """Nobody is refused or let through for it; one line says so; back again, it is asked again."""
    clock = Clock()
    async with opened(lambda: SharedLimits(gone.url, KEY, WORKSPACE, clock)) as limits:
        assert await limits.take(1, 7) == 0
        getattr(gone, how)()
        assert [await limits.take(1, 7) for _ in range(3)] == [0, 0, 0]
        assert await limits.take(1, 7) > 0
        assert [line["event"] for line in quiet] == ["rate_limits_not_shared"]
        if how == "kill":
            gone.start()
        elif how == "freeze":
            gone.thaw()
        else:
            gone.command("CONFIG", "SET", "maxmemory", "0")
        clock.now += AWAY_S
        assert await limits.take(5, 8) == 0
        assert gone.command("EXISTS", "passaparola:rate:{8}:5") == 1
