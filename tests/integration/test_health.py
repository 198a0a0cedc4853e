"""`/healthz`, `/readyz`, `/metrics`: what they say, to whom."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Text, text
from sqlmodel import SQLModel

from bot import condition
from bot.polling import Failing
from domain.errors import SendError, SendFailure, Unavailable
from storage import leases
from tests.support.shop import HOSTILE, Shop
from webhooks import health


@pytest.fixture
async def shop(any_database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with Shop(any_database_url, tmp_path) as shop:
        yield shop


async def ready(shop: Shop) -> tuple[int, Any]:
    async with shop.client.get("/readyz") as response:
        return response.status, await response.json()


async def metrics(shop: Shop, **headers: str) -> tuple[int, dict[str, float]]:
    async with shop.client.get("/metrics", headers=headers) as response:
        body = await response.text()
        return response.status, {
            line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
            for line in body.splitlines()
            if response.status == 200 and not line.startswith("#")
        }


async def test_alive(shop: Shop) -> None:
    """Alive needs no store."""
    async with shop.client.get("/healthz") as response:
        assert (response.status, await response.json()) == (200, {"status": "ok"})


async def test_ready_names_a_channel_that_gives_us_nothing(shop: Shop) -> None:
    """By kind and reason only: strangers may ask. The console names it to its owner, with what the platform says."""
    await shop.do(lambda c: c.execute(text("UPDATE intake SET state = 2")))
    await shop.do(lambda c: c.execute(text("UPDATE channel SET name = 'of ' || workspace_id")))
    await shop.live.reload()
    channels = shop.live.channels.all()
    for channel in channels:
        refused = SendError(SendFailure.auth, "Unauthorized", scope="channel")
        shop.live.pollers._failing[channel.id] = Failing(channel, refused)
    named = [f"polling: {channel.kind.kind} auth" for channel in channels]
    assert await ready(shop) == (200, {"status": "degraded", "degraded": named})
    owner = await shop.sign_in("owner")
    async with owner, owner.get("/console/?language=en") as response:
        page = await response.text()
    assert f"of {shop.mine.id}: auth: Unauthorized" in page
    assert f"of {shop.other.id}" not in page


async def test_ready_names_what_is_degraded(shop: Shop) -> None:
    """Parked events, stopped channels by kind, a pressed stop button, an old open event: 200, degraded, by name."""
    assert await ready(shop) == (200, {"status": "degraded", "degraded": ["parked: 2"]})
    await shop.do(lambda c: c.execute(text("UPDATE intake SET state = 2")))
    assert await ready(shop) == (200, {"status": "ok", "degraded": []})
    await shop.do(
        lambda c: c.execute(text("UPDATE channel SET name = :x || id, state = 'stopped'"), {"x": HOSTILE})
    )
    await shop.do(lambda c: c.execute(text("UPDATE intake SET state = 0, attempts = 0")))
    shop.now += 90_000
    status, body = await ready(shop)
    assert (status, body["status"]) == (200, "degraded")
    assert body["degraded"] == ["late: 90 s", "channel_stopped: telegram", "channel_stopped: telegram"]


async def test_not_ready_without_the_store(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that does not answer: 503 with Retry-After; metrics still say what this process knows."""

    async def away(work: Callable[..., Any]) -> Any:
        raise Unavailable("the store does not answer")

    monkeypatch.setattr(shop.database, "read", away)
    async with shop.client.get("/readyz") as response:
        assert response.status == 503
        assert response.headers["Retry-After"]
        assert (await response.json())["degraded"] == ["store"]
    status, numbers = await metrics(shop)
    assert (status, numbers["passaparola_store_up"]) == (200, 0.0)


async def test_metrics(shop: Shop) -> None:
    """Depths, events, outcomes: numbers without names of people or channels."""
    shop.live.sender.outcomes["sent"] = 7
    shop.live.sender.refusals["rate_limited"] = 3
    status, numbers = await metrics(shop)
    assert status == 200
    assert numbers["passaparola_store_up"] == 1
    assert numbers["passaparola_events_parked_now"] == 2
    assert numbers['passaparola_outbox{lane="service",state="queued"}'] == 2
    assert numbers['passaparola_sends_total{outcome="sent"}'] == 7
    assert numbers["passaparola_platform_429_total"] == 3
    assert numbers["passaparola_lanes_owned"] == 0
    assert numbers["passaparola_webhooks_refused_total"] == 0
    assert numbers["passaparola_event_loop_lag_seconds"] >= 0
    assert numbers["passaparola_lanes_unowned"] == 64
    assert numbers["passaparola_redis_away"] == 0
    assert numbers["passaparola_disk_free_bytes"] > 0
    assert numbers["passaparola_jobs_failed"] == numbers["passaparola_partitions_missing"] * 0
    assert not [name for name in numbers if re.search(r"Anna|bot|Bottega|777000111", name)]


async def test_commits_are_a_histogram(shop: Shop) -> None:
    """How long transactions took, by queue; buckets hold what is at most so long, the last one all."""
    _, before = await metrics(shop)
    await shop.do(lambda c: None)
    _, after = await metrics(shop)
    name = 'passaparola_commit_seconds_bucket{le="+Inf",queue="people"}'
    assert after[name] == before[name] + 1
    assert after['passaparola_commit_seconds_count{queue="people"}'] == after[name]
    assert after['passaparola_commit_seconds_bucket{le="10.0",queue="people"}'] <= after[name]


async def test_lanes_without_an_owner(shop: Shop) -> None:
    """Whoever holds a lease counts until it expires."""
    from bot.runtime import LANE_NAMES

    await shop.do(lambda c: leases.take(c, LANE_NAMES, "somebody", limit=60))
    assert (await metrics(shop))[1]["passaparola_lanes_unowned"] == 4
    await shop.do(lambda c: c.execute(text("UPDATE lease SET expires_at = 1")) and None)
    assert (await metrics(shop))[1]["passaparola_lanes_unowned"] == 64


async def test_ready_names_what_this_process_suffers_from(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow store, a busy event loop, a full disk, no Redis: 200, because others are no better off."""
    await shop.do(lambda c: c.execute(text("UPDATE intake SET state = 2")))
    monkeypatch.setattr(condition, "SLOW_S", -1.0)
    monkeypatch.setattr(condition, "LOW_DISK", 10**18)
    monkeypatch.setattr(type(shop.live.runtime.signals), "trouble", lambda self: "ConnectionError")
    monkeypatch.setattr(health.Health, "lag_s", 1.5)
    status, body = await ready(shop)
    assert (status, body["status"]) == (200, "degraded")
    assert [one.partition(":")[0] for one in body["degraded"]] == ["slow", "busy", "disk", "redis"]


async def test_not_ready_when_a_newer_program_took_away_what_this_one_uses(shop: Shop) -> None:
    """503: a load balancer sends its requests to the newer ones."""
    await shop.do(
        lambda c: c.execute(
            text("INSERT INTO revision (workspace_id, subject, number) VALUES (0, 'schema_floor', 9999)")
        )
    )
    status, body = await ready(shop)
    assert (status, body["status"]) == (503, "unavailable")
    assert body["degraded"][0].startswith("schema: ")


async def test_a_store_that_hangs_costs_a_probe_less_than_a_second(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that does not come is a no."""

    async def hang(work: Callable[..., Any]) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(shop.database, "read", hang)
    async with asyncio.timeout(1.0):
        status, body = await ready(shop)
    assert (status, body["degraded"]) == (503, ["store"])


class Explaining:
    """A connection that notes the plan of every query before it runs it."""

    def __init__(self, connection: Connection, plans: list[str]) -> None:
        self._connection = connection
        self._plans = plans
        self.dialect = connection.dialect

    def execute(self, statement: Any, values: Any = None) -> Any:
        how = "EXPLAIN QUERY PLAN" if self.dialect.name == "sqlite" else "EXPLAIN"
        for row in self._connection.execute(text(f"{how} {statement}"), values or {}).all():
            self._plans.append(str(row[-1]))
        return self._connection.execute(statement, values or {})


def fill(connection: Connection) -> None:
    """Twenty thousand events and jobs that are done: none of them is of interest."""
    for table in ("intake", "job"):
        columns = SQLModel.metadata.tables[table].columns
        shown = {
            "id": "1000 + n",
            "state": "2",
            "kind": "'done'",
            "key": "CAST(n AS TEXT)",
            "slot": "0",
            "attempts": "0",
        }
        values = [shown.get(one.name, "''" if isinstance(one.type, Text) else "0") for one in columns]
        names = ", ".join(columns.keys())
        connection.execute(
            text(
                "WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < 20000) "
                f"INSERT INTO {table} ({names}) SELECT {', '.join(values)} FROM many"
            )
        )
    connection.execute(text("ANALYZE"))


async def test_the_numbers_are_read_by_index(shop: Shop) -> None:
    """None of them looks through what is done: what waits has an index of its own, on both databases."""
    await shop.do(fill)
    plans: list[str] = []
    await shop.database.read(lambda c: condition.read(Explaining(c, plans), now=shop.now))  # type: ignore[arg-type]
    through = [line for line in plans if re.search(r"SCAN (intake|job)$|Seq Scan on (intake|job)\w*", line)]
    assert plans
    assert through == []


async def test_who_may_read_metrics(shop: Shop) -> None:
    """This machine, or the token's bearer; through a proxy only the bearer; for others there is no such path."""
    assert (await metrics(shop))[0] == 200
    assert (await metrics(shop, **{"X-Forwarded-For": "192.0.2.7"}))[0] == 404
    assert (await metrics(shop, Authorization="Bearer wrong"))[0] == 404
    assert (await metrics(shop, Authorization="Bearer test-metrics-token", Forwarded="for=192.0.2.7"))[
        0
    ] == 200


async def test_refused_webhooks_are_counted(shop: Shop) -> None:
    """A delivery with a wrong secret is one refused webhook."""
    async with shop.client.post(f"/webhooks/telegram/{shop.mine.ids['channel']}", data=b"{}") as response:
        assert response.status == 401
    assert (await metrics(shop))[1]["passaparola_webhooks_refused_total"] == 1
