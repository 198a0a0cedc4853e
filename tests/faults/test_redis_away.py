"""Redis away, flushed, full, silent, slow: real processes on PostgreSQL (or SQLite) that do not lose by it.

All the time people write. Redis carries no truth: no webhook is answered otherwise than 200, replies come at most 5 s
late, nobody gets anything twice, `/readyz` names what is degraded, and all is as before by itself when Redis is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.faults.conftest import Counted
from tests.support.chaos import LATE_S, Heartbeat, Scaled, Window
from tests.support.databases import PostgresServer
from tests.support.redis import RedisServer
from tests.support.run import Run

BLOCKED_MS = 1_500  # a loop that a time-out of Redis (2 s) held up would be seen; a busy machine is not

Fault = Callable[[Scaled, float], Awaitable[None]]


async def killed(scaled: Scaled, seconds: float) -> None:
    """kill -9 and a new server on the same port, empty."""
    scaled.redis_server.kill()
    scaled.redis.cut()
    await scaled.until_degraded("redis", there=True)
    await asyncio.sleep(seconds)  # how long it is away is what is tried; in all of these
    scaled.redis_server.start()


async def flushed(scaled: Scaled, seconds: float) -> None:
    """Everything in it is forgotten, again and again, and its subscribers are thrown out."""
    for _ in range(10):
        scaled.redis_server.command("FLUSHALL")
        scaled.redis_server.command("CLIENT", "KILL", "TYPE", "pubsub")
        await asyncio.sleep(seconds / 10)


async def out_of_memory(scaled: Scaled, seconds: float) -> None:
    """It refuses whatever needs memory."""
    scaled.redis_server.fill()
    await asyncio.sleep(seconds)
    scaled.redis_server.command("CONFIG", "SET", "maxmemory", "0")


async def silent(scaled: Scaled, seconds: float) -> None:
    """Connections stay, nobody answers."""
    scaled.redis.silence()
    await scaled.until_degraded("redis", there=True)
    await asyncio.sleep(seconds)
    await scaled.redis.heal()


async def unreachable(scaled: Scaled, seconds: float) -> None:
    """Attempts to connect hang as well."""
    scaled.redis.swallow()
    scaled.redis.cut()
    await scaled.until_degraded("redis", there=True)
    await asyncio.sleep(seconds)
    await scaled.redis.heal()


async def slow(scaled: Scaled, seconds: float) -> None:
    """Late and at a snail's pace, but it answers."""
    scaled.redis.delay_s, scaled.redis.bytes_per_s = 0.4, 2_000
    await asyncio.sleep(seconds)
    await scaled.redis.heal()


async def half_open(scaled: Scaled, seconds: float) -> None:
    """Redis has forgotten us and we were not told."""
    scaled.redis.half_open()
    await asyncio.sleep(seconds)


FAULTS: tuple[Fault, ...] = (killed, flushed, out_of_memory, silent, unreachable, slow, half_open)


@pytest.mark.timeout(150)
async def test_redis_away_for_a_moment(
    run: Run,
    redis_server: RedisServer,
    postgres: PostgresServer,
    postgres_url: str,
    tmp_path: Path,
    counted: Counted,
) -> None:
    """Two processes on PostgreSQL; each fault for a moment."""
    scaled = Scaled(run, tmp_path, redis_server, url=postgres_url, socket=postgres.socket)
    await suffers(scaled, {killed: 4.0, silent: 0.5, unreachable: 0.5}, counted, rest_s=1.0)


@pytest.mark.chaos
@pytest.mark.timeout(400)
async def test_redis_away_for_long(
    run: Run,
    redis_server: RedisServer,
    postgres: PostgresServer,
    postgres_url: str,
    tmp_path: Path,
    counted: Counted,
) -> None:
    """A process for each role, two workers: killed for a minute, every other fault for 10 s."""
    roles = ("web", "worker", "worker", "sender", "scheduler")
    scaled = Scaled(run, tmp_path, redis_server, url=postgres_url, socket=postgres.socket, roles=roles)
    await suffers(scaled, {fault: 60.0 if fault is killed else 10.0 for fault in FAULTS}, counted)


@pytest.mark.chaos
@pytest.mark.timeout(300)
async def test_redis_away_from_one_process_on_sqlite(
    run: Run, redis_server: RedisServer, tmp_path: Path, counted: Counted
) -> None:
    """The embedded process with a Redis that it does not need."""
    await suffers(Scaled(run, tmp_path, redis_server, roles=("all",)), dict.fromkeys(FAULTS, 4.0), counted)


async def suffers(
    place: Scaled, faults: dict[Fault, float], counted: Counted, *, rest_s: float = 3.0
) -> None:
    """One fault after the other under traffic; what was promised is asserted for each, and for all at the end."""
    async with place as scaled, Heartbeat(scaled.servers) as heartbeat:
        scaled.traffic.start()
        windows: list[Window] = []
        for fault, seconds in faults.items():
            window = scaled.window(fault.__name__)
            await fault(scaled, seconds)
            windows.append(scaled.close(window))
            await scaled.until_degraded("redis", there=False)
            await asyncio.sleep(rest_s)
        await scaled.traffic.stop()
        await scaled.drained()
        log = await scaled.control.log(kind="message")
        for window in windows:
            late = scaled.traffic.late_s(log, window.start, window.end)
            assert window.statuses().keys() <= {200}, (window.name, window.statuses())
            assert max(late, default=0) <= LATE_S, (window.name, max(late))
            counted(
                f"redis {window.name}",
                seconds=round((window.end - window.start) / 1000, 1),
                taken=len(late),
                slowest_ms=round(window.slowest_ms()),
                latest_s=round(max(late, default=0), 2),
            )
        verdict = await scaled.verdict()
        assert not verdict.problems, "\n".join(verdict.problems[:20])
        assert (verdict.counts["possibly twice"], verdict.unknown) == (0, [])
        assert heartbeat.worst_ms < BLOCKED_MS
        assert heartbeat.missed == 0
        quiet = scaled.traffic.late_s(log)
        counted(
            "redis: all",
            loop_worst_ms=round(heartbeat.worst_ms),
            late_p50_s=round(sorted(quiet)[len(quiet) // 2], 3),
            **{name.replace(" ", "_"): n for name, n in verdict.counts.items() if n},
        )
