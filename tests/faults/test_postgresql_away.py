"""PostgreSQL cut, silent, unreachable, full, restarted, gone in the middle of a COMMIT: under traffic and a campaign.

While it is away webhooks are answered 503 within 2 s and nothing else; what was answered 200 is never lost and has one
effect; nobody gets a campaign's message twice, also when the word of its mark's commit got lost; 10 s after the
database is back everything goes its way again, by itself.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Counted
from tests.support.chaos import ANSWER_MS, NOISE_MS, RECOVERY_S, Heartbeat, Scaled, Window
from tests.support.databases import PostgresServer, RestartableServer
from tests.support.proxy import Proxy
from tests.support.redis import RedisServer
from tests.support.run import Run
from tests.support.town import until

# Which transactions lose their COMMIT's answer, by a statement in them. Each comes by within a moment under traffic.
COMMITS = {
    "intake": "INSERT INTO intake",
    "claim": "UPDATE intake SET attempts",
    "turn": "INSERT INTO turn",
    "mark": "UPDATE outbox SET state = 3",
    "settle": "DELETE FROM outbox",
    "campaign": "UPDATE recipient|INSERT INTO recipient",
    "leases": "UPDATE lease",
}

Fault = Callable[["Place", float], Awaitable[None]]


class Place:
    """What a fault may hurt."""

    def __init__(self, scaled: Scaled, server: RestartableServer, chance: random.Random) -> None:
        assert scaled.postgresql is not None
        self.scaled = scaled
        self.proxy: Proxy = scaled.postgresql
        self.server = server
        self.chance = chance


async def cut(place: Place, seconds: float) -> None:
    """Every connection is reset, again and again."""
    for _ in range(5):
        place.proxy.cut()
        await asyncio.sleep(seconds / 5)  # how often it happens is what is tried; below: how long it lasts


async def commits_lost(place: Place, seconds: float) -> None:
    """The connection ends at COMMIT, done or not, for each kind of transaction in turn."""
    faults = place.scaled.faults
    for name, pattern in COMMITS.items():
        for committed in (True, False):
            faults.lose(pattern, committed=committed, times=max(1, int(seconds / 2)))
            what = f"{name} lost its COMMIT, {committed=}"
            await until(lambda: _told(faults.times == 0), what, within_s=20 + seconds)


async def silent(place: Place, seconds: float) -> None:
    """Connections stay, nobody answers."""
    place.proxy.silence()
    await asyncio.sleep(seconds)
    await place.proxy.heal()


async def unreachable(place: Place, seconds: float) -> None:
    """Attempts to connect hang as well; then everything that was held back arrives at once."""
    place.proxy.swallow()
    await asyncio.sleep(seconds)
    await place.proxy.heal()


async def half_open(place: Place, seconds: float) -> None:
    """The server has ended our connections and we were not told."""
    place.proxy.half_open()
    await asyncio.sleep(seconds)


async def refused(place: Place, seconds: float) -> None:
    """Nobody listens."""
    place.proxy.refuse()
    await asyncio.sleep(seconds)
    await place.proxy.heal()


async def disk_full(place: Place, seconds: float) -> None:
    """Every write is answered 53100."""
    place.scaled.faults.disk_full = True
    await asyncio.sleep(seconds)
    place.scaled.faults.disk_full = False


async def slow(place: Place, seconds: float) -> None:
    """Each step of a transaction takes 50 ms more."""
    place.proxy.delay_s = 0.025
    await asyncio.sleep(seconds)
    await place.proxy.heal()


async def restarted(place: Place, seconds: float) -> None:
    """The server's process ends at once and comes back after a while."""
    await asyncio.to_thread(place.server.stop)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(place.server.start)


async def restarted_often(place: Place, seconds: float) -> None:
    """Every 5 to 40 s for as long as given."""
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline:
        await restarted(place, place.chance.uniform(0.0, 3.0))
        await asyncio.sleep(place.chance.uniform(5.0, 40.0))


@pytest.fixture(scope="module")
def own_postgresql(run: Run, postgres: PostgresServer) -> Iterator[RestartableServer]:
    """A server that only these tests use; the run's own one tells whether there is any for this system."""
    server = RestartableServer(run, run.folder / f"own-{random.randrange(10**6)}")
    yield server
    server.stop()


@pytest.mark.timeout(150)
async def test_postgresql_away_for_a_moment(
    run: Run,
    redis_server: RedisServer,
    own_postgresql: RestartableServer,
    tmp_path: Path,
    chance: random.Random,
    counted: Counted,
) -> None:
    """Two processes; each fault for a moment, one restart."""
    faults: dict[Fault, float] = {
        cut: 0.5,
        commits_lost: 2.0,
        unreachable: 2.5,
        disk_full: 0.5,
        restarted: 0.2,
    }
    await suffers(run, redis_server, own_postgresql, tmp_path, chance, counted, faults, campaign=200)


@pytest.mark.chaos
@pytest.mark.timeout(700)
async def test_postgresql_away_for_long(
    run: Run,
    redis_server: RedisServer,
    own_postgresql: RestartableServer,
    tmp_path: Path,
    chance: random.Random,
    counted: Counted,
) -> None:
    """A process for each role, two workers: every fault, then restarts every 5 to 40 s for four minutes."""
    faults: dict[Fault, float] = {
        cut: 10.0,
        commits_lost: 12.0,
        silent: 12.0,
        unreachable: 12.0,
        half_open: 8.0,
        refused: 20.0,
        disk_full: 10.0,
        slow: 8.0,
        restarted_often: 240.0,
    }
    roles = ("web", "worker", "worker", "sender", "scheduler")
    await suffers(
        run, redis_server, own_postgresql, tmp_path, chance, counted, faults, campaign=6_000, roles=roles
    )


async def suffers(
    run: Run,
    redis: RedisServer,
    server: RestartableServer,
    folder: Path,
    chance: random.Random,
    counted: Counted,
    faults: dict[Fault, float],
    *,
    campaign: int,
    roles: tuple[str, ...] = ("web", "worker,sender,scheduler"),
) -> None:
    """One fault after the other; what was promised is asserted for each, and for all at the end."""
    url = server.server.create()
    place = Scaled(
        run, folder, redis, url=url, socket=server.server.socket, roles=roles, campaign=campaign, per_second=8
    )
    async with place as scaled, Heartbeat(scaled.servers) as heartbeat:
        scaled.traffic.start()
        hurt = Place(scaled, server, chance)
        for fault, seconds in faults.items():
            window = scaled.window(fault.__name__)
            await fault(hurt, seconds)
            recovered = await scaled.recovered()
            _answered_honestly(scaled.close(window))
            assert recovered < RECOVERY_S, (window.name, recovered)
            counted(
                f"postgresql {window.name}",
                seconds=round((window.end - window.start) / 1000, 1),
                recovered_s=round(recovered, 2),
                slowest_ms=round(window.slowest_ms()),
                **{f"answered_{status}": n for status, n in sorted(window.statuses().items())},
            )
        await scaled.traffic.stop()
        await scaled.drained()
        scaled.traffic.late_s(await scaled.control.log(kind="message"))  # each that was taken was answered
        verdict = await scaled.verdict()
        assert not verdict.problems, "\n".join(verdict.problems[:20])
        assert (verdict.counts["possibly twice"], verdict.unknown) == (0, [])
        assert verdict.counts["campaign sent"] == campaign
        assert heartbeat.missed == 0
        assert all(one.child is not None and one.child.status is None for one in scaled.servers)
        counted(
            "postgresql: all",
            loop_worst_ms=round(heartbeat.worst_ms),
            commits_lost=scaled.faults.lost,
            writes_refused=scaled.faults.refused,
            **{name.replace(" ", "_"): n for name, n in verdict.counts.items() if n},
        )


def _answered_honestly(window: Window) -> None:
    """Nothing but 200 and 503, and neither late."""
    assert window.statuses().keys() <= {200, 503}, (window.name, window.statuses())
    assert all(one.retry_after for one in window.answers if one.status == 503), window.name
    assert window.slowest_ms() < ANSWER_MS + NOISE_MS, (window.name, window.slowest_ms())


async def _told(value: bool) -> bool:
    return value
