"""How people get through flows: what happened at each step, on each day, and how long answers took.

The worker collects the ways that its turns took and appends them as deltas in the transaction that wrote them; the
scheduler adds the deltas up. So the counts are exact at every commit and no two workers wait for one row. No person is
in them: they stay when somebody is erased.

`what` at a step: `entered`, `answered`, `invalid`, `skipped`, `timeout`, and `left` (the session ended there although
it waited for something: replaced by another flow, stopped, expired, failed). With an empty step id, for the flow as a
whole: `start:<trigger>` and `end:<outcome>`. Times of answers fall into buckets of a quarter of a power of two, so a
median is right within a tenth.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from storage.bulk_writes import BulkInsert
from storage.database import dialect
from storage.statements import bulk, insert_rows, prepared

FOLD_LIMIT = 2_000  # deltas in one transaction: a bulk unit
DAY_MS = 86_400_000
TIMED = ("answered", "skipped")
MAX_BUCKET = 120  # 2^30 seconds

_COLUMNS = {
    "workspace_id": "BIGINT",
    "flow_version_id": "BIGINT",
    "step_id": "TEXT",
    "day": "BIGINT",
    "what": "TEXT",
    "bucket": "BIGINT",
    "n": "BIGINT",
}
_append = BulkInsert("step_count_delta", {"id": "BIGINT", **_COLUMNS})
_ADD = prepared(
    insert_rows(
        "step_count",
        _COLUMNS,
        conflict="ON CONFLICT (flow_version_id, step_id, day, what, bucket) "
        "DO UPDATE SET n = step_count.n + excluded.n",
    )
)


class Walked(NamedTuple):
    """Something that happened at a step."""

    workspace_id: int
    flow_version_id: int
    step_id: str
    what: str
    bucket: int = 0


def walked(
    workspace_id: int, path: Iterable[tuple[str, str, int]], *, asked_at: int, now: int
) -> list[Walked]:
    """The way of a turn: (step id, what, version). `asked_at`: since when the session waited, 0: it did not."""
    bucket = bucket_of(now - asked_at) if asked_at else 0
    return [
        Walked(workspace_id, version, step, what, bucket if what in TIMED else 0)
        for step, what, version in path
    ]


def bucket_of(ms: int) -> int:
    """The bucket of a time: seconds as a power of two, in quarters."""
    return min(MAX_BUCKET, round(4 * math.log2(ms / 1000))) if ms > 1000 else 0


def seconds_of(bucket: int) -> float:
    """The middle of a bucket, in seconds."""
    return float(2 ** (bucket / 4))


def append(connection: Connection, found: Sequence[Walked], *, new_id: Callable[[], int], now: int) -> None:
    """Writes what a batch has gathered, each kind once."""
    if not found:
        return
    day = now // DAY_MS
    rows = [{"id": new_id(), **one._asdict(), "day": day, "n": n} for one, n in Counter(found).items()]
    _append(connection, rows)


def fold(connection: Connection) -> bool:
    """Adds deltas up, at most FOLD_LIMIT of them. True: there may be more."""
    lock = dialect(connection).for_update
    rows = connection.execute(
        prepared(
            "DELETE FROM step_count_delta WHERE id IN (SELECT id FROM step_count_delta ORDER BY id LIMIT :limit "
            f"{lock and f'{lock} SKIP LOCKED'}) RETURNING workspace_id, flow_version_id, step_id, day, what, bucket, n"
        ),
        {"limit": FOLD_LIMIT},
    ).all()
    sums: Counter[tuple[int, int, str, int, str, int]] = Counter()
    for *key, n in rows:
        sums[tuple(key)] += n
    if sums:
        # In the order of the key: two that fold at once take the rows in one order.
        ordered = sorted(sums.items(), key=lambda item: item[0][1:])
        connection.execute(
            _ADD, {"rows": bulk(dict(zip(_COLUMNS, (*key, n), strict=True)) for key, n in ordered)}
        )
    return len(rows) == FOLD_LIMIT
