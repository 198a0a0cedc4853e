"""How the process and the store fare, for `/readyz`, `/metrics` and the console: read from the rows and this process.

Degraded is what a person should look at: a part of the process that ended, a writer that cannot keep up, a store that
answers slowly, a busy event loop, a disk that fills, no Redis, events that wait long, parked events, stopped channels,
channels of which nothing can be fetched, a pressed stop button.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, text

from bot.live import Live
from bot.runtime import LANE_NAMES, LANES
from domain.ids import made_at
from storage import leases, partitions, schema

WRITER_LIMIT = 2_000  # functions that wait: more is several seconds of work
AGE_LIMIT_S = 60.0  # of the oldest open event that nobody has tried yet
SLOW_S = 0.3  # for the few rows below: they take a millisecond or two when all is well
LAG_LIMIT_S = 1.0  # of the event loop: webhooks wait so long for their answer, and every one of them
LOW_DISK = 500_000_000  # bytes free, below which a day of media and a copy of the database may not fit
COUNT_LIMIT = (
    100_000  # rows counted of what waits: more is the same news, and counting them would add to the load
)


@dataclass(frozen=True)
class Rows:
    """What the store says, of one workspace or of all. Ages in seconds; `open`, `parked` and `outbox` count up to
    COUNT_LIMIT; `outbox` by (state, lane), `jobs` by state; `stopped`: (name, kind, reason) of channels;
    `lanes_unowned`: lanes that no process handles at the moment; `partitions_missing`: rows of this month have no
    partition (PostgreSQL); `too_old`: a newer program has taken away what this one uses."""

    open: int
    oldest_s: float
    parked: int
    outbox: Mapping[tuple[int, int], int]
    stopped: tuple[tuple[str, str, str], ...]
    jobs: Mapping[int, int]
    stops: int
    lanes_unowned: int
    partitions_missing: bool
    too_old: bool


@dataclass(frozen=True)
class Here:
    """What this process measured: seconds for the store's answer, how late its event loop was, bytes free at its data
    (None: not known)."""

    store_s: float = 0.0
    lag_s: float = 0.0
    disk_free: int | None = None


class Trouble(NamedTuple):
    """One thing to look at. `code`: ended, schema, writer, slow, busy, disk, redis, late, parked, channel_stopped,
    polling or stop; `detail`: which, how many."""

    code: str
    detail: str

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


def read(connection: Connection, *, now: int, workspace_id: int | None = None) -> Rows:
    """The numbers of a workspace, None: of the installation. By partial indexes over what is open, parked or due: none
    of it grows with contacts."""
    mine = "" if workspace_id is None else " AND workspace_id = :workspace"
    values = {} if workspace_id is None else {"workspace": workspace_id}
    waiting = _count(connection, f"intake WHERE state = 0{mine}", values)
    # An event that is tried again later waits on purpose: it makes nobody else late.
    oldest = connection.execute(
        text(f"SELECT id FROM intake WHERE state = 0 AND attempts = 0{mine} ORDER BY id LIMIT 1"), values
    ).scalar()
    queued = connection.execute(
        text(
            "SELECT state, lane, count(*) FROM (SELECT state, lane FROM outbox "
            f"WHERE state IN (0, 1, 3){mine} LIMIT {COUNT_LIMIT}) o GROUP BY state, lane"
        ),
        values,
    ).all()
    stopped = connection.execute(
        text(f"SELECT name, kind, state_reason FROM channel WHERE state = 'stopped'{mine} ORDER BY id"),
        values,
    ).all()
    stops = connection.execute(
        text(
            "SELECT count(*) FROM stop"
            + ("" if workspace_id is None else " WHERE workspace_id = :workspace OR scope = 'installation'")
        ),
        values,
    )
    return Rows(
        open=waiting,
        oldest_s=max(0, now - made_at(oldest)) / 1000 if oldest is not None else 0.0,
        parked=_count(connection, f"intake WHERE state = 1{mine}", values),
        outbox={(row[0], row[1]): row[2] for row in queued},
        stopped=tuple((row[0], row[1], row[2]) for row in stopped),
        jobs={state: _count(connection, f"job WHERE state = {state}{mine}", values) for state in (0, 1)},
        stops=stops.scalar_one(),
        lanes_unowned=LANES - leases.held(connection, LANE_NAMES),
        partitions_missing=partitions.missing(connection, now=now),
        too_old=schema.floor(connection) > int(schema.head()),
    )


def disk_free(folder: Path) -> int | None:
    """Bytes free where this process keeps its data; None when that cannot be told. The folder need not be there yet."""
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        return shutil.disk_usage(there).free
    except OSError:
        return None


def _count(connection: Connection, what: str, values: Mapping[str, int]) -> int:
    sql = f"SELECT count(*) FROM (SELECT 1 FROM {what} LIMIT {COUNT_LIMIT}) counted"
    return int(connection.execute(text(sql), values).scalar_one())


def troubles(
    live: Live, rows: Rows, *, here: Here | None = None, workspace_id: int | None = None
) -> Iterator[Trouble]:
    """What a person should look at; with a workspace: with the names of its channels, which only it may see."""
    named = workspace_id is not None
    here = here or Here()
    for part in live.failed():
        yield Trouble("ended", part)
    if rows.too_old:
        yield Trouble("schema", schema.head())
    for queue, waiting in live.runtime.database.waiting().items():
        if waiting > WRITER_LIMIT:
            yield Trouble("writer", f"{queue} {waiting}")
    if here.store_s > SLOW_S:
        yield Trouble("slow", f"{here.store_s:.1f} s")
    if here.lag_s > LAG_LIMIT_S:
        yield Trouble("busy", f"{here.lag_s:.1f} s")
    if here.disk_free is not None and here.disk_free < LOW_DISK:
        yield Trouble("disk", f"{here.disk_free / 1e9:.1f} GB")
    if (
        trouble := live.runtime.signals.trouble()
    ):  # nothing is lost: everybody looks by themselves, a second later
        yield Trouble("redis", trouble)
    if rows.oldest_s > AGE_LIMIT_S:
        yield Trouble("late", f"{rows.oldest_s:.0f} s")
    if rows.parked:
        yield Trouble("parked", str(rows.parked))
    for name, kind, reason in rows.stopped:
        yield Trouble("channel_stopped", " ".join(part for part in (name if named else kind, reason) if part))
    for channel, problem in live.pollers.failing():
        if workspace_id in (None, channel.workspace_id):
            said = f"{channel.name}: {problem}" if named else f"{channel.kind.kind} {problem.reason}"
            yield Trouble("polling", said)
    if rows.stops:
        yield Trouble("stop", str(rows.stops))
