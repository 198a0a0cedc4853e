"""`pipeline`: Telegram webhook → durable → flow → reply received by the simulator, on a five-step form.

Scripted people walk through the form in the simulator: all at once (saturation), then ten a second (50 steps a second,
at which nothing batches and latency is what counts). Rounds alternate with the bare echo on the same core.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from benchmarks import world
from benchmarks.calibration import Calibration, calibrated
from benchmarks.children import Child, child
from benchmarks.machine import cores
from benchmarks.options import Options
from benchmarks.rows import Row, measured
from simulators.control import SimulatorControl

PEOPLE = 500  # of one round at saturation
SLOW_S = 8.0  # of one round at 50 steps a second
STEP_US = 600.0
SCRIPT: list[dict[str, Any]] = [
    {"do": "say", "text": "hello"},
    {"wait_for": "your name", "do": "say", "text": "Anna Rossi"},
    {"wait_for": "e-mail", "do": "say", "text": "anna{n}@example.com"},
    {"wait_for": "number", "do": "say", "text": "+44 7700 900123"},
    {"wait_for": {"button": "Yes"}, "do": "tap", "text": "Yes"},
    {"wait_for": "all done"},
]
STEPS = len(SCRIPT) - 1


@dataclass
class _Rounds:
    """Values by round."""

    rate: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    slow_cpu_us: list[float] = field(default_factory=list)
    slow_p50: list[float] = field(default_factory=list)
    slow_p99: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)


async def run(options: Options) -> list[Row]:
    """Rows for each store that was asked for."""
    rows: list[Row] = []
    for store in options.stores:
        folder = options.folder / f"pipeline-{store}"
        async with (
            calibrated(folder / "echo") as calibration,
            options.store(store, f"pipeline-{store}") as url,
        ):
            rounds = await _rounds(options, store, url, calibration)
        rows += _rows(rounds, "" if store == "sqlite" else " on PostgreSQL", calibration)
    return rows


async def _rounds(options: Options, store: str, url: str, calibration: Calibration) -> _Rounds:
    folder = options.folder / f"pipeline-{store}"
    served, other = cores()
    rounds = _Rounds()
    simulated = child(
        ["simulators", "--print-url", "--no-limits", "--log-limit", "20000"],
        core=other,
        folder=folder / "simulators",
        plain_url=True,
    )
    async with simulated as simulators, SimulatorControl(f"http://127.0.0.1:{simulators.port}") as control:
        await control.telegram_bot(world.token(0), username="corner_bakery_bot")
        here = await world.prepare(folder, url=url)
        settings = here.environment(TELEGRAM_API_URL=f"http://127.0.0.1:{simulators.port}")
        async with child(
            ["benchmarks.serving", "app"], core=served, folder=folder / "app", environment=settings
        ) as app:
            await control.wait_for("call", method="setWebhook", timeout_s=30)
            await _walk(control, app, rounds=None, people=20)  # warm: connections, templates, statements
            for _ in range(options.rounds):
                echo = await calibration.echo()
                await _walk(control, app, rounds, people=options.amount(PEOPLE, least=50))
                rounds.ratio.append(rounds.cpu_us[-1] / echo)
                await _stroll(control, app, rounds, people=int(options.amount(int(SLOW_S * 10), least=20)))
                rounds.memory.append(app.resident_mb())
    return rounds


async def _walk(control: SimulatorControl, app: Child, rounds: _Rounds | None, *, people: int) -> None:
    """Everybody at once."""
    calls, cpu = await _calls(control), app.cpu_s()
    report = await _play(control, people=people)
    steps, elapsed = people * STEPS, report["elapsed_s"]
    if rounds is not None:
        used = app.cpu_s() - cpu
        rounds.rate.append(steps / elapsed)
        rounds.cpu_us.append(used / steps * 1e6)
        rounds.busy.append(used / elapsed * 100)
        rounds.p50.append(report["answers"]["p50_ms"])
        rounds.p99.append(report["answers"]["p99_ms"])
        rounds.calls.append((await _calls(control) - calls) / steps)


async def _stroll(control: SimulatorControl, app: Child, rounds: _Rounds, *, people: int) -> None:
    """Ten people a second, who think between their steps."""
    cpu = app.cpu_s()
    report = await _play(control, people=people, rate_per_s=10, think_s=[0.1, 0.5])
    rounds.slow_cpu_us.append((app.cpu_s() - cpu) / (people * STEPS) * 1e6)
    rounds.slow_p50.append(report["answers"]["p50_ms"])
    rounds.slow_p99.append(report["answers"]["p99_ms"])


async def _play(control: SimulatorControl, **spec: Any) -> dict[str, Any]:
    number = await control.play("telegram", world.token(0), SCRIPT, timeout_s=30, **spec)
    report = await control.play_finished(number, timeout_s=90)
    assert not report["failed"], f"people who got no answer: {report['failures'][:3]}"
    return report


async def _calls(control: SimulatorControl) -> int:
    return int((await control.counters())["telegram.calls"])


def _rows(rounds: _Rounds, suffix: str, calibration: Calibration) -> list[Row]:
    limit = STEP_US * calibration.scale if not suffix else None
    return [
        measured(f"steps per second at saturation{suffix}", rounds.rate, "steps/s"),
        measured(
            f"CPU per step at saturation{suffix}",
            rounds.cpu_us,
            "µs",
            at_most=limit,
            ratios=rounds.ratio,
            against="echo",
            budget=f"≤ 600 µs, here {limit:.0f} µs" if limit else "",
        ),
        measured(f"p50 of a reply at saturation{suffix}", rounds.p50, "ms"),
        measured(f"p99 of a reply at saturation{suffix}", rounds.p99, "ms"),
        measured(f"core of the server busy at saturation{suffix}", rounds.busy, "%"),
        measured(f"API calls per step{suffix}", rounds.calls, "calls"),
        measured(f"p50 of a reply at 50 steps/s{suffix}", rounds.slow_p50, "ms"),
        measured(f"p99 of a reply at 50 steps/s{suffix}", rounds.slow_p99, "ms"),
        measured(f"CPU per step at 50 steps/s{suffix}", rounds.slow_cpu_us, "µs"),
        measured(f"memory of the server under load{suffix}", rounds.memory, "MB"),
        measured(f"bare echo beside the pipeline{suffix}", calibration.echo_us, "µs"),
        measured(
            f"bare echo, rate beside the pipeline{suffix}",
            [statistics.median(calibration.rates)],
            "requests/s",
        ),
    ]
