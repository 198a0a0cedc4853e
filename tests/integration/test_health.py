"""`/healthz`, `/readyz`, `/metrics`: what they say, to whom."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from domain.errors import Unavailable
from tests.support.shop import HOSTILE, Shop


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
    assert not [name for name in numbers if re.search(r"Anna|bot|Bottega|777000111", name)]


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
