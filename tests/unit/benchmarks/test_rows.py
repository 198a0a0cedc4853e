"""What a table and the JSON file say of values that are given: never a timed test."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.rows import HOLDS, SHORT, document, markdown, measured, number, table


def test_the_median_of_the_rounds_decides() -> None:
    """One bad round is not a verdict."""
    row = measured("step", [500.0, 520.0, 9_000.0], "µs", at_most=600)
    assert (row.value, row.low, row.high, row.verdict) == (520.0, 500.0, 9_000.0, HOLDS)


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        ({"at_most": 10.0}, HOLDS),
        ({"at_most": 9.9}, SHORT),
        ({"at_least": 10.0}, HOLDS),
        ({"at_least": 10.1}, SHORT),
        ({}, ""),
    ],
)
def test_bounds_on_the_value(bounds: dict[str, Any], verdict: str) -> None:
    """A value at its bound holds; without a bound nothing was promised."""
    assert measured("row", [10.0], "ms", **bounds).verdict == verdict


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [({"ratio_at_least": 0.55}, SHORT), ({"ratio_at_most": 1.5}, HOLDS), ({"ratio_at_least": 0.5}, HOLDS)],
)
def test_bounds_on_the_ratio(bounds: dict[str, Any], verdict: str) -> None:
    """A bound on the ratio looks at the ratio's own median."""
    row = measured("row", [100.0, 200.0, 300.0], "µs", ratios=[0.4, 0.5, 0.9], against="echo", **bounds)
    assert (row.ratio, row.verdict) == (0.5, verdict)


def test_a_table_has_every_row_with_its_words() -> None:
    """Name, value with unit, range, ratio, budget and verdict stand in the row's line."""
    row = measured(
        "CPU per step", [400.0, 420.0], "µs", at_most=600, ratios=[9.5], against="echo", budget="≤ 600 µs"
    )
    line = table([row]).splitlines()[1]
    for word in ("CPU per step", "410 µs", "400 – 420", "9.50 × echo", "≤ 600 µs", "holds"):
        assert word in line


def test_a_page_has_the_same_table() -> None:
    """In Markdown, what falls short in bold."""
    short, held = (
        measured("step", [610.0], "µs", at_most=600, budget="≤ 600 µs"),
        measured("echo", [60.0], "µs"),
    )
    assert markdown([short, held]).splitlines()[2:] == [
        "| step | 610 µs |  |  | ≤ 600 µs | **falls short** |",
        "| echo | 60.0 µs |  |  |  |  |",
    ]


def test_the_document_has_one_object_per_row_under_its_name() -> None:
    """Scripts find a row by the name in the table's first column."""
    found = document([measured("first", [1.0], "s", at_most=2), measured("second", [3.0], "MB")])
    assert list(found) == ["first", "second"]
    assert found["first"]["verdict"] == HOLDS
    assert (found["second"]["value"], found["second"]["unit"]) == (3.0, "MB")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (0.01234, "0.0123"), (4.5678, "4.57"), (78.91, "78.9"), (12_345.6, "12,346")],
)
def test_numbers_show_what_matters(value: float, shown: str) -> None:
    """Some three figures."""
    assert number(value) == shown
