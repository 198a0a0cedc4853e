"""What a measurement says: a row with its unit, how far the rounds lay apart, the budget and the verdict."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

HOLDS, SHORT = "holds", "falls short"


class Row(Struct, frozen=True, kw_only=True):
    """One line of a table and one object of the JSON file, there under its `name`.

    `value` is the median of the rounds, `low` and `high` their ends. `ratio` compares with `against`, measured in the
    same run. `limit` is the budget in the row's unit (or the ratio's), scaled by the calibration where it is absolute.
    `verdict` is empty where nothing was promised.
    """

    name: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    rounds: int = 1
    ratio: float | None = None
    against: str = ""
    budget: str = ""
    limit: float | None = None
    verdict: str = ""


def measured(
    name: str,
    values: Sequence[float],
    unit: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    ratios: Sequence[float] = (),
    against: str = "",
    ratio_at_most: float | None = None,
    ratio_at_least: float | None = None,
    budget: str = "",
) -> Row:
    """The row of one value per round; at most one of the four bounds decides. Ratios are per round as well."""
    value = statistics.median(values)
    ratio = statistics.median(ratios) if ratios else None
    kept: bool | None = None
    limit: float | None = None
    if at_most is not None:
        kept, limit = value <= at_most, at_most
    elif at_least is not None:
        kept, limit = value >= at_least, at_least
    elif ratio_at_most is not None and ratio is not None:
        kept, limit = ratio <= ratio_at_most, ratio_at_most
    elif ratio_at_least is not None and ratio is not None:
        kept, limit = ratio >= ratio_at_least, ratio_at_least
    return Row(
        name=name,
        value=value,
        unit=unit,
        low=min(values),
        high=max(values),
        rounds=len(values),
        ratio=ratio,
        against=against,
        budget=budget,
        limit=limit,
        verdict="" if kept is None else HOLDS if kept else SHORT,
    )


def table(rows: Sequence[Row]) -> str:
    """The rows as text in columns: name, value with unit, range, ratio, budget, verdict."""
    lines = [("", "median", "range of rounds", "ratio", "budget", "")]
    lines += [_cells(row) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown(rows: Sequence[Row]) -> str:
    """The same table as in docs/benchmarks.md; a row that falls short is bold."""
    lines = ["| | median | range of rounds | ratio | budget | |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = list(_cells(row))
        cells[-1] = f"**{SHORT}**" if row.verdict == SHORT else row.verdict
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def document(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """One object per row under its name, for `--json`."""
    return {row.name: {key: value for key, value in _fields(row).items() if key != "name"} for row in rows}


def number(value: float) -> str:
    """Three figures that matter, no more: 0.0123, 4.56, 78.9, 12,345."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3g}"


def _cells(row: Row) -> tuple[str, str, str, str, str, str]:
    spread = "" if row.low is None or row.high is None else f"{number(row.low)} – {number(row.high)}"
    ratio = "" if row.ratio is None else f"{row.ratio:.2f} × {row.against}"
    value = f"{number(row.value)} {row.unit}"
    return row.name, value, spread if row.rounds > 1 else "", ratio, row.budget, row.verdict


def _fields(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__struct_fields__}
