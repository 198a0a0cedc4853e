"""How the process and the store fare, for `/readyz`, `/metrics` and the console: read from the rows and this process.

Degraded is what a person should look at: a part of the process that ended, a writer that cannot keep up, events that
wait long, parked events, stopped channels, a pressed stop button.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, text

from bot.live import Live
from domain.ids import made_at

WRITER_LIMIT = 2_000  # functions that wait: more is several seconds of work
AGE_LIMIT_S = 60.0  # of the oldest open event that nobody has tried yet


@dataclass(frozen=True)
class Rows:
    """What the store says, of one workspace or of all. Ages in seconds; `outbox` counts by (state, lane), `jobs` by
    state; `stopped`: (name, kind, reason) of channels."""

    open: int
    oldest_s: float
    parked: int
    outbox: Mapping[tuple[int, int], int]
    stopped: tuple[tuple[str, str, str], ...]
    jobs: Mapping[int, int]
    stops: int


class Trouble(NamedTuple):
    """One thing to look at. `code`: ended, writer, redis, late, parked, channel_stopped or stop; `detail`: which, how
    many."""

    code: str
    detail: str

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


def read(connection: Connection, *, now: int, workspace_id: int | None = None) -> Rows:
    """The numbers of a workspace, None: of the installation. By partial indexes over what is open, parked or due: none
    of it grows with contacts."""
    mine = "" if workspace_id is None else " AND workspace_id = :workspace"
    values = {} if workspace_id is None else {"workspace": workspace_id}
    # An event that is tried again later waits on purpose: it makes nobody else late.
    waiting = connection.execute(
        text(f"SELECT count(*), min(CASE WHEN attempts = 0 THEN id END) FROM intake WHERE state = 0{mine}"),
        values,
    ).one()
    parked = connection.execute(text(f"SELECT count(*) FROM intake WHERE state = 1{mine}"), values)
    queued = connection.execute(
        text(f"SELECT state, lane, count(*) FROM outbox WHERE state IN (0, 1, 3){mine} GROUP BY state, lane"),
        values,
    ).all()
    stopped = connection.execute(
        text(f"SELECT name, kind, state_reason FROM channel WHERE state = 'stopped'{mine} ORDER BY id"),
        values,
    ).all()
    jobs = connection.execute(
        text(f"SELECT state, count(*) FROM job WHERE state IN (0, 1){mine} GROUP BY state"), values
    ).all()
    stops = connection.execute(
        text(
            "SELECT count(*) FROM stop"
            + ("" if workspace_id is None else " WHERE workspace_id = :workspace OR scope = 'installation'")
        ),
        values,
    )
    return Rows(
        open=waiting[0],
        oldest_s=max(0, now - made_at(waiting[1])) / 1000 if waiting[1] is not None else 0.0,
        parked=parked.scalar_one(),
        outbox={(row[0], row[1]): row[2] for row in queued},
        stopped=tuple((row[0], row[1], row[2]) for row in stopped),
        jobs={row[0]: row[1] for row in jobs},
        stops=stops.scalar_one(),
    )


def troubles(live: Live, rows: Rows, *, named: bool = False) -> Iterator[Trouble]:
    """What a person should look at; `named`: with the names of channels, which only their workspace may see."""
    for part in live.failed():
        yield Trouble("ended", part)
    for queue, waiting in live.runtime.database.waiting().items():
        if waiting > WRITER_LIMIT:
            yield Trouble("writer", f"{queue} {waiting}")
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
    if rows.stops:
        yield Trouble("stop", str(rows.stops))
