"""A run's totals: append-only deltas, folded by the scheduler; nobody counts over recipients (I4, DESIGN 2.8).

Whoever changes recipients appends what that means for the totals in the same transaction, so the sum of the folded
totals and the deltas that still lie there is exact at every commit. Names: `total`; the outcomes `pending`, `sent`,
`failed`, `skipped`, `unknown`, whose sum the total always is; `delivered` and `read`; and for the groups that people
look at `failed:<reason>`, `skipped:<reason>`. Batches only insert, so no two of them wait for one row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from storage.database import dialect
from storage.statements import bulk, bulk_values, insert_rows, prepared

FOLD_LIMIT = 1_000  # deltas in one transaction: a bulk unit
SAMPLE_EVERY_MS = 2_000  # a run's speed is measured between samples …
SAMPLES_MS = 60_000  # … of the last minute

_encode = msgspec.json.Encoder().encode
_DELTA = {"id": "BIGINT", "workspace_id": "BIGINT", "run_id": "BIGINT", "name": "TEXT", "amount": "BIGINT"}
_INSERT = text(insert_rows("run_delta", _DELTA))


class Deltas:
    """Changes of totals that one transaction collects and appends at its end."""

    def __init__(self) -> None:
        self._amounts: dict[tuple[int, int], Counter[str]] = {}

    def add(self, workspace_id: int, run_id: int, name: str, amount: int = 1) -> None:
        """Counts `amount` more (or, negative, less) under `name`."""
        self._amounts.setdefault((workspace_id, run_id), Counter())[name] += amount

    def move(self, workspace_id: int, run_id: int, before: tuple[str, str], to: tuple[str, str]) -> None:
        """One person goes from one (outcome, reason) to another."""
        for (outcome, reason), amount in ((before, -1), (to, 1)):
            self.add(workspace_id, run_id, outcome, amount)
            if reason and outcome != "pending":
                self.add(workspace_id, run_id, f"{outcome}:{reason}", amount)

    def append(self, connection: Connection, *, new_id: Callable[[], int]) -> None:
        """Writes them, one row for each name of each run."""
        rows = [
            {"id": new_id(), "workspace_id": workspace, "run_id": run, "name": name, "amount": amount}
            for (workspace, run), amounts in self._amounts.items()
            for name, amount in amounts.items()
            if amount
        ]
        if rows:
            connection.execute(_INSERT, {"rows": bulk(rows)})


def fold(connection: Connection, *, now: int) -> bool:
    """Folds deltas into their runs' totals, at most FOLD_LIMIT of them. True: there may be more."""
    rows = connection.execute(
        prepared(
            "DELETE FROM run_delta WHERE id IN (SELECT id FROM run_delta ORDER BY id LIMIT :limit "
            f"{_skip_locked(connection)}) RETURNING run_id, name, amount"
        ),
        {"limit": FOLD_LIMIT},
    ).all()
    changes: dict[int, Counter[str]] = {}
    for row in rows:
        changes.setdefault(row.run_id, Counter())[row.name] += row.amount
    for run in _locked_runs(connection, changes):
        folded = plus(msgspec.json.decode(run.totals), changes[run.id])
        connection.execute(
            prepared("UPDATE campaign_run SET totals = :totals, samples = :samples WHERE id = :run"),
            {
                "totals": _encode(folded).decode(),
                "samples": _encode(sampled(msgspec.json.decode(run.samples), done(folded), now)).decode(),
                "run": run.id,
            },
        )
    return len(rows) == FOLD_LIMIT


def plus(totals: Mapping[str, int], changes: Mapping[str, int]) -> dict[str, int]:
    """Totals after changes; names that come to nothing go."""
    summed = {name: totals.get(name, 0) + changes.get(name, 0) for name in [*totals, *changes]}
    return {name: amount for name, amount in summed.items() if amount}


def done(totals: Mapping[str, int]) -> int:
    """How many people of a run need nothing more."""
    return totals.get("total", 0) - totals.get("pending", 0)


def sampled(samples: list[list[int]], people: int, now: int) -> list[list[int]]:
    """Samples `[ms, people done]` with a new one, if the last is old enough; those past a minute go."""
    if samples and now - samples[-1][0] < SAMPLE_EVERY_MS:
        return samples
    return [sample for sample in samples if now - sample[0] <= SAMPLES_MS] + [[now, people]]


def current(connection: Connection, workspace_id: int, run_ids: list[int]) -> dict[int, dict[str, int]]:
    """Each run's totals with what is not folded yet, read in one statement and so at one moment."""
    rows = connection.execute(
        prepared(
            "SELECT r.id, r.totals, d.name, d.amount FROM campaign_run r LEFT JOIN "
            "(SELECT run_id, name, CAST(sum(amount) AS BIGINT) AS amount FROM run_delta WHERE run_id IN "
            "(SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:runs) e) GROUP BY run_id, name) d "
            "ON d.run_id = r.id WHERE r.workspace_id = :workspace AND r.id IN "
            "(SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:runs) e)"
        ),
        {"runs": bulk_values(run_ids), "workspace": workspace_id},
    ).all()
    found: dict[int, dict[str, int]] = {}
    for row in rows:
        totals = found.get(row.id) or msgspec.json.decode(row.totals, type=dict[str, int])
        found[row.id] = plus(totals, {row.name: row.amount}) if row.name else totals
    return found


def _locked_runs(connection: Connection, runs: Mapping[int, Any]) -> list[Any]:
    if not runs:
        return []
    rows = connection.execute(
        prepared(
            "SELECT id, totals, samples FROM campaign_run WHERE id IN "
            "(SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:runs) e) "
            f"ORDER BY id {dialect(connection).for_update}"
        ),
        {"runs": bulk_values(runs)},
    ).all()
    return list(rows)


def _skip_locked(connection: Connection) -> str:
    """Two folding at once take different deltas."""
    lock = dialect(connection).for_update
    return f"{lock} SKIP LOCKED" if lock else ""
