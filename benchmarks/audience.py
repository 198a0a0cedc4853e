"""`audience`: a million recipients made in slices, and how many contacts a segment has, at 100,000 and at a million.

The slices run as in the product: bulk units of the one writer. On SQLite each rests as long as it ran, so that
conversations go on: the time with those rests is a row of its own, beside the longest that one slice holds the writer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, text

from benchmarks import population, world
from benchmarks.options import Options
from benchmarks.rows import Row, measured
from campaigns import audiences, drafts, runs
from campaigns.drafts import Draft
from crm import segments
from domain import predicates
from storage.database import Database, Queue

PEOPLE = 1_000_000
SMALL = 100_000
FIRST = 1_000_000
MATERIALISE_S = {"sqlite": 3.0, "postgresql": 8.0}
SIZE_MS = {SMALL: 200.0, PEOPLE: 1_000.0}
# Five conditions, two of them on fields of the business's own.
SEGMENT: dict[str, Any] = {
    "all": [
        {"subject": "contact.language", "op": "equals", "value": "it"},
        {"subject": "contact.fields.city", "op": "equals", "value": "Roma"},
        {"subject": "contact.fields.visits", "op": "greater", "value": 10},
        {"not": {"subject": "contact.email", "op": "equals", "value": "anna1000000@example.com"}},
        {
            "any": [
                {"subject": "contact.first_name", "op": "equals", "value": "Anna"},
                {"subject": "contact.last_name", "op": "is_not_set"},
            ]
        },
    ]
}


async def run(options: Options) -> list[Row]:
    """Rows for each store that was asked for. Amounts are not scaled by the calibration: the disk has its part."""
    rows: list[Row] = []
    for store in options.stores:
        suffix = "" if store == "sqlite" else " on PostgreSQL"
        async with options.store(store, f"audience-{store}") as url:
            rows += await _measure(options, url, store, suffix)
    return rows


async def _measure(options: Options, url: str, store: str, suffix: str) -> list[Row]:
    people, small = options.amount(PEOPLE), options.amount(SMALL)
    here = await world.prepare(options.folder / f"audience-{store}", url=url, bots=1, flow=False)
    async with world.opened(url) as database:
        await _populate(database, here, people, small)
        walls, works, longest = [], [], []
        sizes: dict[int, list[float]] = {small: [], people: []}
        for _ in range(options.rounds):
            run_id = await database.write(lambda c: _start(c, here))
            wall, units = await _materialise(database, here, run_id)
            walls.append(wall)
            works.append(sum(units))
            longest.append(max(units) * 1000)
            for count, workspace in ((small, here.workspace + 1), (people, here.workspace)):
                sizes[count].append(await size_ms(database, workspace))
    limit = MATERIALISE_S[store] * options.scale
    rows = [
        measured(
            f"recipients of {people:,} contacts made{suffix}",
            works,
            "s",
            at_most=limit,
            budget=f"≤ {limit:g} s of the writer",
        ),
        measured(f"the same with the rests between slices{suffix}", walls, "s"),
        measured(f"longest hold of the writer by a slice{suffix}", longest, "ms"),
    ]
    for full, count in ((SMALL, small), (PEOPLE, people)):
        rows.append(
            measured(
                f"size of a segment of five conditions at {count:,}{suffix}",
                sizes[count],
                "ms",
                at_most=SIZE_MS[full] * options.scale,
                budget=f"≤ {SIZE_MS[full] * options.scale:g} ms",
            )
        )
    return rows


async def _populate(database: Database, here: world.Installation, people: int, small: int) -> None:
    """The people of the campaign, and beside them a smaller workspace of its own."""

    def beside(connection: Connection) -> None:
        connection.execute(
            text(
                "INSERT INTO workspace (id, workspace_id, name, locale, timezone, state, encrypt_personal, business, "
                "created_at) VALUES (:id, :id, 'Flower Shop', 'en', 'Europe/Rome', 'active', 0, '{}', 0)"
            ),
            {"id": here.workspace + 1},
        )

    await database.write(beside)
    for workspace, count, first in (
        (here.workspace, people, FIRST),
        (here.workspace + 1, small, FIRST + people),
    ):
        for start in range(first, first + count, population.SLICE):
            await database.write(
                lambda c, workspace=workspace, start=start, until=first + count: population.add(  # type: ignore[misc]
                    c,
                    workspace=workspace,
                    channel=here.telegram[0],
                    first=start,
                    count=min(population.SLICE, until - start),
                    now=world.clock(),
                )
            )


def _start(connection: Connection, here: world.Installation) -> int:
    draft = Draft(name="Tomorrow", channel_id=here.telegram[0], content={"it": "Ciao"})
    campaign = drafts.create(connection, here.workspace, draft, new_id=here.new_id, now=world.clock())
    run_id = runs.start(connection, here.workspace, campaign, new_id=here.new_id, now=world.clock())
    connection.execute(
        text("UPDATE campaign_run SET ceiling = :last WHERE id = :run"), {"last": FIRST * 10, "run": run_id}
    )
    return run_id


async def _materialise(
    database: Database, here: world.Installation, run_id: int
) -> tuple[float, list[float]]:
    """Seconds on the clock, and seconds of each slice."""
    units: list[float] = []

    def slice_(connection: Connection) -> int | None:
        begun = time.perf_counter()
        added = audiences.materialise(connection, run_id, new_id=here.new_id, now=world.clock())
        units.append(time.perf_counter() - begun)
        return added

    begun = time.perf_counter()
    while await database.write(slice_, queue=Queue.bulk, durable=False) is not None:
        pass
    return time.perf_counter() - begun, units


async def size_ms(database: Database, workspace: int) -> float:
    wanted = predicates.parse(SEGMENT, where="segment")
    count: Callable[[Connection], int] = lambda c: segments.count(  # noqa: E731 (one expression, used once)
        c, workspace_id=workspace, predicate=wanted, now=world.clock()
    )
    begun = time.perf_counter()
    found = await database.read(count)
    elapsed = (time.perf_counter() - begun) * 1000
    assert found > 0, "nobody fulfils the segment"
    return elapsed
