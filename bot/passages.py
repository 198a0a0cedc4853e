"""How people got through a version of a flow: what `step_counts` has counted, read for the command and the API."""

from __future__ import annotations

from collections import Counter, defaultdict

from msgspec import Struct, field
from sqlalchemy import Connection

from bot.flow_history import FlowOf
from bot.step_counts import DAY_MS, seconds_of
from domain.errors import NotFound
from storage.statements import prepared


class StepView(Struct, frozen=True, kw_only=True):
    """A step over the days that were asked for. `median_s`: of the times until an answer, None: nobody answered."""

    step_id: str
    entered: int = 0
    answered: int = 0
    invalid: int = 0
    skipped: int = 0
    timeout: int = 0
    left: int = 0
    median_s: float | None = None


class Passage(Struct, frozen=True, kw_only=True):
    """How people got through a version: how they came (`starts` by trigger), how it ended (`ends` by outcome), and
    every step where something happened, those that most people entered first."""

    flow_version_id: int
    starts: dict[str, int] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    steps: tuple[StepView, ...] = ()


MAX_DAYS = 366  # that are looked at together: a year


def of_version(
    connection: Connection, workspace_id: int, flow: FlowOf, number: int, *, days: int, now: int
) -> tuple[int, Passage]:
    """The version's number (0 asks for the published one) and its counts of today and so many days before it. Raises
    NotFound."""
    wanted = number or flow.number
    version_id = connection.execute(
        prepared(
            "SELECT id FROM flow_version WHERE workspace_id = :workspace AND flow_id = :flow AND number = :number"
        ),
        {"workspace": workspace_id, "flow": flow.id, "number": wanted},
    ).scalar()
    if version_id is None:
        raise NotFound(f"the flow has no version {wanted}")
    today = now // DAY_MS
    return wanted, passage(
        connection, workspace_id, int(version_id), first_day=today - days + 1, last_day=today
    )


def passage(
    connection: Connection, workspace_id: int, version_id: int, *, first_day: int = 0, last_day: int = 1 << 40
) -> Passage:
    """The counts of a version from one day to another (days since 1970 UTC), deltas included."""
    rows = connection.execute(
        prepared(
            "SELECT step_id, what, bucket, CAST(sum(n) AS BIGINT) FROM ("
            "SELECT step_id, what, bucket, n FROM step_count WHERE workspace_id = :workspace "
            "AND flow_version_id = :version AND day BETWEEN :first AND :last UNION ALL "
            "SELECT step_id, what, bucket, n FROM step_count_delta WHERE workspace_id = :workspace "
            "AND flow_version_id = :version AND day BETWEEN :first AND :last) counted "
            "GROUP BY step_id, what, bucket"
        ),
        {"workspace": workspace_id, "version": version_id, "first": first_day, "last": last_day},
    ).all()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    times: dict[str, Counter[int]] = defaultdict(Counter)
    for step_id, what, bucket, n in rows:
        counts[step_id][what] += n
        if what == "answered":
            times[step_id][bucket] += n
    whole = counts.pop("", Counter())
    steps = [
        StepView(
            step_id=step_id,
            **{what: found[what] for what in _WHATS},
            median_s=_median(times[step_id]),
        )
        for step_id, found in counts.items()
    ]
    return Passage(
        flow_version_id=version_id,
        starts=_named(whole, "start:"),
        ends=_named(whole, "end:"),
        steps=tuple(sorted(steps, key=lambda step: (-step.entered, step.step_id))),
    )


_WHATS = ("entered", "answered", "invalid", "skipped", "timeout", "left")


def _named(found: Counter[str], prefix: str) -> dict[str, int]:
    return {what.removeprefix(prefix): n for what, n in sorted(found.items()) if what.startswith(prefix)}


def _median(times: Counter[int]) -> float | None:
    half, seen = sum(times.values()) / 2, 0
    for bucket in sorted(times):
        seen += times[bucket]
        if seen >= half:
            return round(seconds_of(bucket), 1)
    return None
