"""Which open events a round takes, and what becomes of their rows: done, set back, parked.

Claiming looks at open events of the owned lanes, oldest first by state and never by a remembered position, past the
conversations that cannot give more to this round; it chooses fairly between workspaces and raises `attempts` before
anything is handled. An event that was tried before goes alone, by turns with rounds of fresh ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from bot.intake import DONE, OPEN, PARKED, WAITING
from bot.runtime import SLOTS_PER_LANE
from domain.errors import Conflict, RejectedInput
from storage.bulk_writes import BulkUpdate
from storage.database import dialect
from storage.statements import bulk, bulk_values, prepared

ROUND = 64  # events in one transaction: bounds its length and what a crash repeats
LOOK = 512  # open events looked at to choose them fairly
LOOKS = 8  # times at most, past the conversations that fill it: one person's flood does not hide the others
PER_CONVERSATION = 8  # so that one busy person does not fill a round
RETRY_MS = (1_000, 5_000, 30_000, 120_000)  # before attempts 2 to 5; after the fifth the event parks
MAX_ATTEMPTS = len(RETRY_MS) + 1
POSTPONED = "postponed"  # the problem of an event that only waits for the one before it
HELD_MS = 45_000  # more than the longest call and its grace: then it is looked at again
HELD = "held"  # the problem of an event that waits for the answer to a call of its session (`holding.py`)


@dataclass(frozen=True)
class Claimed:
    """An intake row in hand."""

    id: int
    workspace_id: int
    channel_id: int
    slot: int
    intake_key: str
    payload: str
    attempts: int
    received_at: int


class Claimer:
    """What one worker claims."""

    def __init__(self) -> None:
        self._retry_turn = False
        self.parked = 0
        self.more = False  # whether the last look saw more than it took

    def claim(self, connection: Connection, lanes: Sequence[int] | None, now: int) -> list[Claimed]:
        """Claims up to `ROUND` open events of these lanes (None: of all), in their order; one that never came to an
        end parks here."""
        of_lanes = "" if lanes is None else _OF_LANES
        parameters: dict[str, Any] = {"limit": LOOK, "after": 0}
        if lanes is not None:
            parameters["lanes"] = bulk_values(lanes)
        looked = _Looked(now)
        for _ in range(LOOKS):
            others = ""
            if looked.closed:
                others = "AND intake_key NOT IN (SELECT e.value ->> 'v' FROM json_each(:closed) e) "
                parameters["closed"] = bulk_values(key for _, key in looked.closed)
            rows = connection.execute(
                prepared(
                    "SELECT id, workspace_id, channel_id, intake_key, attempts, not_before FROM intake "
                    f"WHERE state = 0 AND id > :after {of_lanes}{others}ORDER BY id LIMIT :limit"
                ),
                parameters,
            ).all()
            looked.add(rows)
            if len(rows) < LOOK or looked.fresh_ones >= ROUND:
                break
            parameters["after"] = rows[-1].id  # all of it belongs to few conversations: others stand behind
        if looked.worn_out:
            changes = [_change(row.id, PARKED, row.attempts, 0, _WORN_OUT) for row in looked.worn_out]
            connection.execute(_SET_BACK, {"rows": bulk(changes)})
            self.parked += len(changes)
        chosen = self._choose(looked)
        self.more = len(chosen) < looked.seen
        if not chosen:
            return []
        raised = connection.execute(_CLAIM, {"ids": bulk_values(chosen)}).all()
        return sorted((Claimed(*row) for row in raised), key=lambda one: one.id)

    def claim_few(
        self, connection: Connection, lanes: Sequence[int] | None, now: int
    ) -> list[Claimed] | None:
        """`claim` by one statement, where no choice is to be made: few events are open, all of them fresh. None where
        one is to be made: nothing was done."""
        hurried = dialect(connection).hurried
        parameters: dict[str, Any] = {"now": now, "few": PER_CONVERSATION}
        if lanes is not None:
            parameters["lanes"] = bulk_values(lanes)
        of_lanes = _OF_LANES if lanes is not None else ""
        rows = connection.execute(
            prepared(_CLAIM_FEW.format(of_lanes=of_lanes, hurried=hurried)), parameters
        ).all()
        if rows[0].id is None and rows[0].looked:
            return None
        self.more = False
        return sorted((Claimed(*row[2:]) for row in rows if row.id is not None), key=lambda one: one.id)

    def _choose(self, looked: _Looked) -> list[int]:
        """Which open events this round takes: one that was tried before, alone, or fresh ones, fairly."""
        self._retry_turn = not self._retry_turn
        if looked.retries and (self._retry_turn or not looked.fresh):
            return [min(looked.retries)[1]]
        return _in_turns(list(looked.fresh.values()), ROUND)

    def set_back(
        self, connection: Connection, rows: Sequence[Claimed], problems: Mapping[int, str], now: int
    ) -> None:
        """Rows that were not handled, by their problem: again after a while, or parked."""
        changes = []
        for row in rows:
            problem = problems.get(row.id)
            if problem is None:
                continue
            if problem == POSTPONED:
                changes.append(_change(row.id, OPEN, row.attempts - 1, 0, ""))
            elif problem == HELD:
                changes.append(_change(row.id, WAITING, row.attempts - 1, now + HELD_MS, ""))
            elif row.attempts >= MAX_ATTEMPTS:
                changes.append(_change(row.id, PARKED, row.attempts, 0, problem))
                self.parked += 1
            else:
                changes.append(_change(row.id, OPEN, row.attempts, now + RETRY_MS[row.attempts - 1], problem))
        if changes:
            connection.execute(_SET_BACK, {"rows": bulk(changes)})


def close(connection: Connection, ids: Sequence[int]) -> None:
    """These are handled; what people wrote is not kept here any longer."""
    _done(connection, [{"id": one} for one in ids])


def reopen(connection: Connection, claimed: Sequence[Claimed], *, not_before: int = 0) -> None:
    """Nobody's fault: the attempts are given back. `not_before`: ms UTC."""
    if claimed:
        rows = [_change(row.id, OPEN, row.attempts - 1, not_before, "") for row in claimed]
        connection.execute(_SET_BACK, {"rows": bulk(rows)})


def problem_of(error: BaseException) -> str:
    """What a person who looks at a parked event is told; never the event's content."""
    detail = str(error) if isinstance(error, RejectedInput | Conflict) else ""
    return f"{type(error).__name__}: {detail}".rstrip(": ")


class _Looked:
    """What looking at open events, in their order, has found: retries that are due, fresh ones by workspace, and the
    conversations of which nothing more can go in this round."""

    def __init__(self, now: int) -> None:
        self._now = now
        self._counts: dict[tuple[int, str], int] = {}
        self.retries: list[tuple[int, int]] = []  # (not before, id): who waits longest goes first
        self.fresh: dict[int, list[int]] = {}
        self.fresh_ones = 0
        self.seen = 0  # open events, also those that cannot go now
        self.closed: set[tuple[int, str]] = set()
        self.worn_out: list[Any] = []

    def add(self, rows: Sequence[Any]) -> None:
        """Takes more open events in, each later than those before."""
        self.seen += len(rows)
        for row in rows:
            key = (row.channel_id, row.intake_key)
            if key in self.closed:
                continue
            if row.attempts >= MAX_ATTEMPTS and row.not_before <= self._now:
                self.worn_out.append(
                    row
                )  # a failure would have parked it: what ended the process left no word
            elif row.attempts > 0 or row.not_before > self._now:
                self.closed.add(key)
                if row.not_before <= self._now and key not in self._counts:  # else fresh ones stand before it
                    self.retries.append((row.not_before, row.id))
            else:
                self._fresh(row, key)

    def _fresh(self, row: Any, key: tuple[int, str]) -> None:
        self.fresh.setdefault(row.workspace_id, []).append(row.id)
        self.fresh_ones += 1
        self._counts[key] = self._counts.get(key, 0) + 1
        if self._counts[key] >= PER_CONVERSATION:
            self.closed.add(key)


def _in_turns(queues: list[list[int]], limit: int) -> list[int]:
    """The heads of all queues, then their seconds, and so on, up to the limit."""
    chosen: list[int] = []
    depth = 0
    while len(chosen) < limit and any(depth < len(queue) for queue in queues):
        chosen += [queue[depth] for queue in queues if depth < len(queue)]
        depth += 1
    return chosen[:limit]


_WORN_OUT = "handling it never came to an end: a crash each time, or the store went away"
_OF_LANES = (
    f"AND slot / {SLOTS_PER_LANE} IN (SELECT CAST(e.value ->> 'v' AS INTEGER) FROM json_each(:lanes) e) "
)
# One row with no event says how many were looked at when none was taken.
_CLAIM_FEW = (
    "WITH looked AS MATERIALIZED (SELECT id, attempts, not_before FROM intake WHERE state = 0 {of_lanes}"
    "ORDER BY id LIMIT CAST(:few AS BIGINT) + 1), "
    "plain AS (SELECT count(*) AS looked, count(*) <= CAST(:few AS BIGINT) AND "
    "COALESCE(max(attempts), 0) = 0 AND COALESCE(max(not_before), 0) <= CAST(:now AS BIGINT) AS fresh FROM looked), "
    "raised AS (UPDATE intake SET attempts = attempts + 1 WHERE state = 0 AND attempts = 0 "
    "AND id IN (SELECT id FROM looked) AND (SELECT fresh FROM plain) "
    "RETURNING id, workspace_id, channel_id, slot, intake_key, payload, attempts, received_at) "
    "SELECT plain.looked, {hurried} AS hurried, raised.* FROM plain LEFT JOIN raised ON true"
)
_CLAIM = text(
    "UPDATE intake SET attempts = attempts + 1 WHERE state = 0 AND id IN "
    "(SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e) "
    "RETURNING id, workspace_id, channel_id, slot, intake_key, payload, attempts, received_at"
)
_done = BulkUpdate("intake", {"id": "BIGINT"}, sets=f"state = {DONE}, payload = ''", where="intake.id = v.id")
_SET_BACK = text(
    "UPDATE intake SET state = v.state, attempts = v.attempts, not_before = v.not_before, problem = v.problem FROM "
    "(SELECT CAST(e.value ->> 'id' AS BIGINT) AS id, CAST(e.value ->> 'state' AS SMALLINT) AS state, "
    "CAST(e.value ->> 'attempts' AS SMALLINT) AS attempts, CAST(e.value ->> 'not_before' AS BIGINT) AS not_before, "
    "e.value ->> 'problem' AS problem FROM json_each(:rows) e) v WHERE intake.id = v.id AND intake.state = 0"
)


def _change(row_id: int, state_: int, attempts: int, not_before: int, problem: str) -> dict[str, Any]:
    return {
        "id": row_id,
        "state": state_,
        "attempts": attempts,
        "not_before": not_before,
        "problem": problem[:500],
    }
