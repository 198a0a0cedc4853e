"""The scheduler asks once for all whether there is anything to do, and calls only those who have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlmodel import SQLModel

from bot import scheduler
from bot.scheduler import Ticked, Ticker, due
from campaigns.scheduler import TICKERS
from storage.database import Database, Queue

NOW = 1_800_000_000_000


def _insert(table: str, **given: Any) -> Callable[[Connection], None]:
    """A row of which only these columns matter; the others are empty or 0, whatever their type is."""

    def insert(connection: Connection) -> None:
        columns = SQLModel.metadata.tables[table].columns
        values = {
            column.name: "" if column.type.python_type is str else 0
            for column in columns
            if not column.nullable
        } | given
        names, places = ", ".join(values), ", ".join(f":{name}" for name in values)
        connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({places})"), values)

    return insert


def _tick(connection: Connection, *, new_id: Callable[[], int], now: int) -> Ticked:
    return Ticked()


def _runtime_tickers() -> tuple[Ticker, ...]:
    """Those of the conversation runtime; nothing of it is used before they are called."""
    return scheduler.tickers(None)  # type: ignore[arg-type]


async def _due(store: Database) -> frozenset[str]:
    return await store.read(lambda c: due(c, (*_runtime_tickers(), *TICKERS), now=NOW))


async def test_nothing_is_due_where_nothing_is(store: Database) -> None:
    """Every condition is understood by both databases; those without one are not asked for."""
    assert await _due(store) == frozenset()
    assert (
        await store.read(lambda c: due(c, [Ticker("always", _tick, 1.0, Queue.bulk)], now=NOW)) == frozenset()
    )


@pytest.mark.parametrize(
    ("row", "names"),
    [
        (_insert("timer", id=1, due_at=NOW), {"timers"}),
        (_insert("timer", id=1, due_at=NOW + 1), set()),
        (_insert("timer", id=1, due_at=NOW, state=1), set()),
        (_insert("album_part", id=1, due_at=NOW), {"albums"}),
        (_insert("run_delta", id=1), {"campaigns_fold"}),
        (_insert("outbox", id=1, run_id=7), {"campaigns_take_back"}),
        (_insert("outbox", id=1), set()),
    ],
    ids=["timer", "later", "fired", "album", "delta", "campaign's message", "reply"],
)
async def test_what_is_there_is_due(
    store: Database, row: Callable[[Connection], None], names: set[str]
) -> None:
    """A row wakes the ticker that handles it, and no other."""
    await store.write(row)
    assert await _due(store) == names


@pytest.mark.parametrize(
    ("state", "materialised", "names"),
    [
        ("running", 0, {"campaigns_materialise", "campaigns_feed", "campaigns_brake"}),
        ("running", 1, {"campaigns_feed", "campaigns_brake"}),
        ("cancelled", 0, {"campaigns_sweep"}),
        ("finished", 1, set()),
    ],
)
async def test_a_run_keeps_its_tickers_going(
    store: Database, state: str, materialised: int, names: set[str]
) -> None:
    """As long as it is running; a cancelled one is swept."""

    def run(connection: Connection) -> None:
        given = {"id": 1, "workspace_id": 1}
        _insert("channel", **given)(connection)
        _insert("campaign", **given, channel_id=1)(connection)
        _insert("campaign_run", **given, campaign_id=1, state=state, materialised=materialised)(connection)

    await store.write(run)
    assert await _due(store) == names


@pytest.mark.parametrize(("at", "names"), [(NOW, {"campaigns_start"}), (NOW + 1, set())])
async def test_a_scheduled_campaign_is_started_when_its_time_comes(
    store: Database, at: int, names: set[str]
) -> None:
    """And not before."""

    def campaign(connection: Connection) -> None:
        _insert("channel", id=1, workspace_id=1)(connection)
        _insert("campaign", id=1, workspace_id=1, channel_id=1, state="scheduled", scheduled_at=at)(
            connection
        )

    await store.write(campaign)
    assert await _due(store) == names


@pytest.mark.parametrize(("at", "names"), [(NOW, {"campaigns_posts"}), (NOW + 1, set())])
async def test_a_scheduled_post_is_queued_when_its_time_comes(
    store: Database, at: int, names: set[str]
) -> None:
    """And not before."""

    def post(connection: Connection) -> None:
        _insert("channel", id=1, workspace_id=1)(connection)
        _insert("outlet", id=1, workspace_id=1, channel_id=1)(connection)
        _insert("post", id=1, workspace_id=1, outlet_id=1, channel_id=1, state="scheduled", due_at=at)(
            connection
        )

    await store.write(post)
    assert await _due(store) == names
