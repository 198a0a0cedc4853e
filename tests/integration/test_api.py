"""The API over HTTP: what its resources do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.shop import Shop


@pytest.fixture
async def shop(any_database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with Shop(any_database_url, tmp_path) as shop:
        yield shop


async def test_every_list_and_thing_can_be_read(shop: Shop) -> None:
    """Every GET route answers 200 for the workspace's own ids."""
    from api.routing import routes

    ids = shop.mine.ids
    special = {
        "/contacts/{contact_id}/proof": f"?identity_id={ids['identity']}&purpose=marketing",
        "/messages": f"?conversation_id={ids['conversation']}",
    }
    for route in routes():
        if route.method != "GET":
            continue
        path = route.path.format(**{f"{kind}_id": number for kind, number in ids.items()})
        status, body, _ = await shop.call("GET", path + special.get(route.path, ""))
        wanted = 404 if route.path.endswith("/status") else 200  # the campaign has not been started
        assert status == wanted, (route.path, body)
        if wanted == 200 and route.out is not None:
            assert isinstance(body, dict)
