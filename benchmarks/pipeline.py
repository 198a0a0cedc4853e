"""`pipeline`: Telegram webhook → durable → flow → reply received by the simulator, on a five-step form.

Two installations stand side by side on one core: embedded (SQLite) and scaled (PostgreSQL and Redis, which work on the
other core). Scripted people walk through the form in the simulator: all at once (saturation), then ten a second (50
steps a second, at which nothing batches and latency is what counts), and then two a second (10 steps a second, at
which code runs cold). Rounds alternate with the bare echo on the same core, at full speed and ten a second.
"""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks import redis_server, world
from benchmarks.calibration import Calibration, calibrated
from benchmarks.children import Child, child
from benchmarks.machine import cores
from benchmarks.options import Options
from benchmarks.rows import Row, measured
from benchmarks.script import CROWD, STEPS, WARM_S, Walk, walk, warm
from simulators.control import SimulatorControl

RATE, RATE_S = 50.0, 2.0  # steps a second of the moderate load, and for how long in a round
LOW_RATE, LOW_RATE_S = 10.0, 2.0
STEP_US = 600.0
SCALED_RATIO = 1.5
LOW_RATE_US = 2_000.0
EMBEDDED, SCALED = "", " on PostgreSQL + Redis"


@dataclass
class Seen:
    """What one installation showed, by round. `calls` of the platform's API a step."""

    full: list[Walk] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    paced: list[Walk] = field(default_factory=list)
    low: list[Walk] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Served:
    token: str
    server: Child
    seen: Seen


async def run(options: Options) -> list[Row]:
    """Rows of both installations."""
    folder = options.folder / "pipeline"
    seen = {EMBEDDED: Seen(), SCALED: Seen()}
    async with (
        calibrated(folder / "echo") as calibration,
        _simulator(folder / "simulators") as control,
        redis_server.server(folder / "redis") as redis,
        options.store("postgresql", "pipeline") as postgresql,
        _served(control, folder / "embedded", 0, {}, seen[EMBEDDED]) as embedded,
        _served(
            control,
            folder / "scaled",
            1,
            {"DATABASE_URL": postgresql, "REDIS_URL": redis},
            seen[SCALED],
        ) as scaled,
    ):
        crowd = options.amount(CROWD, least=50)
        await warm(
            [partial(walk, control, one.server, one.token, people=crowd) for one in (embedded, scaled)],
            seconds=WARM_S * options.scale,
        )
        for _ in range(options.rounds):
            await calibration.echo()
            for one in (embedded, scaled):
                await _saturated(options, control, one)
            await _paced(options, control, one=embedded)
            for one in (embedded, scaled):
                await _slowly(options, control, one=one)
            await calibration.cold()
    return rows(seen[EMBEDDED], seen[SCALED], calibration)


async def _saturated(options: Options, control: SimulatorControl, one: _Served) -> None:
    calls = await _calls(control)
    found = await walk(control, one.server, one.token, people=options.amount(CROWD, least=50))
    one.seen.full.append(found)
    one.seen.calls.append((await _calls(control) - calls) / found.steps)
    one.seen.memory.append(one.server.resident_mb())


async def _paced(options: Options, control: SimulatorControl, *, one: _Served) -> None:
    people = options.amount(int(RATE * RATE_S / STEPS), least=10)
    one.seen.paced.append(await walk(control, one.server, one.token, people=people, steps_per_s=RATE))


async def _slowly(options: Options, control: SimulatorControl, *, one: _Served) -> None:
    people = options.amount(int(LOW_RATE * LOW_RATE_S / STEPS), least=4)
    one.seen.low.append(await walk(control, one.server, one.token, people=people, steps_per_s=LOW_RATE))


async def _calls(control: SimulatorControl) -> int:
    return int((await control.counters())["telegram.calls"])


def rows(embedded: Seen, scaled: Seen, calibration: Calibration) -> list[Row]:
    """Absolute budgets are scaled by the calibration; scaled is compared with embedded in the same round."""
    step, low = STEP_US * calibration.scale, LOW_RATE_US * calibration.scale
    cpu, scaled_cpu = [w.cpu_us for w in embedded.full], [w.cpu_us for w in scaled.full]
    return [
        measured(
            "CPU per step at saturation",
            cpu,
            "µs",
            at_most=step,
            ratios=[used / echo for used, echo in zip(cpu, calibration.echo_us, strict=True)],
            against="echo",
            budget=f"≤ 600 µs, here {step:.0f} µs",
        ),
        *_saturation_rows(embedded, EMBEDDED),
        measured("p50 of a reply at 50 steps/s", [w.p50_ms for w in embedded.paced], "ms"),
        measured("p99 of a reply at 50 steps/s", [w.p99_ms for w in embedded.paced], "ms"),
        measured("CPU per step at 50 steps/s", [w.cpu_us for w in embedded.paced], "µs"),
        measured("CPU per step at 10 steps/s", [w.cpu_us for w in embedded.low], "µs"),
        measured(
            f"CPU per step at saturation{SCALED}",
            scaled_cpu,
            "µs",
            ratios=[one / other for one, other in zip(scaled_cpu, cpu, strict=True)],
            against="embedded",
            ratio_at_most=SCALED_RATIO,
            budget=f"≤ {SCALED_RATIO} × embedded",
        ),
        *_saturation_rows(scaled, SCALED),
        measured(
            f"CPU per step at 10 steps/s{SCALED}",
            [w.cpu_us for w in scaled.low],
            "µs",
            at_most=low,
            budget=f"≤ 2 ms, here {low:.0f} µs",
        ),
        measured(f"p50 of a reply at 10 steps/s{SCALED}", [w.p50_ms for w in scaled.low], "ms"),
        measured("bare echo beside the pipeline", calibration.echo_us, "µs"),
        measured("bare echo, ten a second beside the pipeline", calibration.cold_us, "µs"),
        measured("bare echo, rate beside the pipeline", [statistics.median(calibration.rates)], "requests/s"),
    ]


def _saturation_rows(seen: Seen, suffix: str) -> list[Row]:
    busy: Sequence[float] = [w.cpu_s / w.elapsed_s * 100 for w in seen.full]
    return [
        measured(f"steps per second at saturation{suffix}", [w.per_s for w in seen.full], "steps/s"),
        measured(f"p50 of a reply at saturation{suffix}", [w.p50_ms for w in seen.full], "ms"),
        measured(f"p99 of a reply at saturation{suffix}", [w.p99_ms for w in seen.full], "ms"),
        measured(f"core of the server busy at saturation{suffix}", busy, "%"),
        measured(f"API calls per step{suffix}", seen.calls, "calls"),
        measured(f"memory of the server under load{suffix}", seen.memory, "MB"),
    ]


@asynccontextmanager
async def _simulator(folder: Path) -> AsyncIterator[SimulatorControl]:
    arguments = ["simulators", "--print-url", "--no-limits", "--log-limit", "20000"]
    async with (
        child(arguments, core=cores()[1], folder=folder, plain_url=True) as running,
        SimulatorControl(f"http://127.0.0.1:{running.port}") as control,
    ):
        yield control


@asynccontextmanager
async def _served(
    control: SimulatorControl, folder: Path, number: int, settings: Mapping[str, str], seen: Seen
) -> AsyncIterator[_Served]:
    """A running installation with a bot of its own in the simulator."""
    token = world.token(number)
    await control.telegram_bot(token, username=f"corner_bakery_{number}_bot")
    here = await world.prepare(folder, url=settings.get("DATABASE_URL", ""), first_bot=number)
    environment = here.environment(TELEGRAM_API_URL=control.base_url, **settings)
    arguments = ["benchmarks.serving", "app"]
    async with child(arguments, core=cores()[0], folder=folder / "app", environment=environment) as server:
        await control.wait_for("call", method="setWebhook", timeout_s=30, token=token)
        yield _Served(token, server, seen)
