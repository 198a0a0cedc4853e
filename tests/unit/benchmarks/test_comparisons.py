"""Ratios are of one round and their median decides; never a timed test."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks import growth, pipeline
from benchmarks.calibration import REFERENCE_ECHO_US, Calibration
from benchmarks.options import Options, Skipped
from benchmarks.peers import side_by_side
from benchmarks.peers.side_by_side import MEMORY, NAMES, OURS, PTB, REDIS, SCALED, Seen
from benchmarks.rows import HOLDS, SHORT, Row
from benchmarks.script import Walk

FORM = Path(side_by_side.__file__).with_name("form.py")


def a_walk(*, per_s: float = 1_000.0, cpu_us: float = 500.0, p50: float = 5.0, p99: float = 20.0) -> Walk:
    """A thousand steps."""
    return Walk(1_000, 1_000 / per_s, cpu_us / 1_000, p50, p99)


def named(rows: list[Row], name: str) -> Row:
    """The one row of that name."""
    (found,) = [row for row in rows if row.name == name]
    return found


def seen(per_s: list[float], **given: float) -> Seen:
    """Rounds that differ in their rate alone."""
    walks = [a_walk(per_s=one, **given) for one in per_s]
    return Seen(full=walks, paced=walks, low=walks, slow_api=walks, memory=[100.0] * len(walks))


def test_a_walk_is_told_per_step() -> None:
    """Steps per second and CPU of a step, µs."""
    found = Walk(steps=200, elapsed_s=0.5, cpu_s=0.1, p50_ms=1, p99_ms=2)
    assert (found.per_s, found.cpu_us) == (400, 500)


def test_ratios_are_taken_round_by_round() -> None:
    """A round in which the machine was slow for both is no outlier."""
    we, they = seen([1_000, 100, 1_200]), seen([200, 20, 240])
    assert side_by_side.ratios(we.full, they.full, lambda w: w.per_s) == pytest.approx([5, 5, 5])


@pytest.mark.parametrize(("rate", "verdict"), [(1_000.0, HOLDS), (990.0, SHORT)])
def test_five_times_the_peer(rate: float, verdict: str) -> None:
    """The budget decides on SQLite; on PostgreSQL the ratio is only shown."""
    they = {name: seen([200.0] * 3) for name in (PTB, MEMORY, REDIS)}
    rows = side_by_side.rows({OURS: seen([rate] * 3), SCALED: seen([rate] * 3), **they})
    row = named(rows, f"steps per second: {OURS} ÷ {PTB}")
    assert (row.unit, row.budget, row.verdict) == ("×", "≥ 5 ×", verdict)
    assert named(rows, f"steps per second: {SCALED} ÷ {PTB}").verdict == ""
    slow = named(rows, f"steps per second, API of 50 ms: {OURS} ÷ {PTB}")
    assert (slow.budget, slow.verdict) == ("≥ 20 ×", SHORT)


def test_latency_is_compared_with_aiogram_in_memory() -> None:
    """p50 at most twice, p99 at most three times."""
    they = {name: seen([200.0], p50=5, p99=20) for name in (PTB, MEMORY, REDIS)}
    rows = side_by_side.rows({OURS: seen([1], p50=10, p99=61), SCALED: seen([1]), **they})
    p50, p99 = (named(rows, f"{p} at 50 steps/s: {OURS} ÷ {MEMORY}") for p in ("p50", "p99"))
    assert (p50.value, p50.verdict, p99.verdict) == (2.0, HOLDS, SHORT)
    assert named(rows, f"p50 at 50 steps/s: {OURS} ÷ {PTB}").verdict == ""


def test_every_row_has_a_name_of_its_own() -> None:
    """The JSON file has one object per row under its name."""
    rows = side_by_side.rows({name: seen([100.0]) for name in NAMES})
    assert len({row.name for row in rows}) == len(rows)


async def test_without_the_peers_it_is_said_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence, no failure."""
    monkeypatch.setattr(side_by_side, "PYTHON", tmp_path / "none")
    with pytest.raises(Skipped, match="make peers"):
        await side_by_side.run(Options(tmp_path))


def test_the_peers_processes_need_nothing_of_ours() -> None:
    """They run where our packages are not installed: what starts them imports late."""
    for name in ("__init__", "form", "ptb_form", "aiogram_form"):
        source = (FORM.parent / f"{name}.py").read_text()
        at_import = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
        ours = [
            line for line in at_import if "benchmarks" in line and "benchmarks.peers import form" not in line
        ]
        assert ours == []
    assert importlib.import_module("benchmarks.peers").run


def test_scaled_is_compared_with_embedded_and_absolute_budgets_are_scaled() -> None:
    """On a machine that is twice as fast 600 µs are 300."""
    calibration = cast(
        Calibration,
        SimpleNamespace(scale=0.5, echo_us=[REFERENCE_ECHO_US / 2], rates=[20_000.0], cold_us=[600.0]),
    )
    embedded = pipeline.Seen([a_walk(cpu_us=301)], [1.2], [a_walk()], [a_walk()], [100.0])
    scaled = pipeline.Seen([a_walk(cpu_us=440)], [1.2], [], [a_walk(cpu_us=999)], [110.0])
    rows = pipeline.rows(embedded, scaled, calibration)
    assert named(rows, "CPU per step at saturation").verdict == SHORT
    row = named(rows, "CPU per step at saturation on PostgreSQL + Redis")
    assert row.ratio == pytest.approx(440 / 301)
    assert row.verdict == HOLDS
    low = named(rows, "CPU per step at 10 steps/s on PostgreSQL + Redis")
    assert (low.limit, low.verdict) == (1_000, HOLDS)
    assert len({row.name for row in rows}) == len(rows)


@pytest.mark.parametrize(("largest", "verdict"), [(600.0, HOLDS), (610.0, SHORT)])
def test_a_step_may_cost_a_fifth_more_at_a_million(largest: float, verdict: str) -> None:
    """Only the largest size has a budget; it is compared with the smallest in the same round."""
    sizes = {size: growth.Seen([a_walk()], [1.0]) for size in growth.SIZES[:-1]}
    rows = growth.step_rows({**sizes, growth.SIZES[-1]: growth.Seen([a_walk(cpu_us=largest)], [1.0])}, "")
    assert named(rows, "CPU per step at 1,000,000 contacts and old messages").verdict == verdict
    assert [row.verdict for row in rows].count("") == len(rows) - 1


def test_a_part_of_a_campaign_is_projected() -> None:
    """So many of the people as have consented, at the measured speed."""
    rows = growth.dispatch_rows(growth.Dispatched(messages=10_000, elapsed_s=5, cpu_s=2), 1_200, "")
    values: dict[str, Any] = {row.name: row.value for row in rows}
    assert values["messages per second of a campaign to 1,200"] == 2_000
    assert values["CPU per message of a campaign to 1,200"] == pytest.approx(200)
    assert values["all 1,100 of it at that speed (projected)"] == pytest.approx(1_100 / 2_000 / 60)


def test_conversations_beside_a_campaign() -> None:
    """p99 at most twice the quiet one."""
    beside = growth.Beside([a_walk(p99=20)], [a_walk(p99=40)], [4.5])
    rows = growth.beside_rows(beside, 1_000, "")
    row = named(rows, "p99 of a reply at 50 steps/s while recipients of 1,000 are made")
    assert (row.ratio, row.verdict) == (2.0, HOLDS)
