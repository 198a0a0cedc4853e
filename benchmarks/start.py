"""`start`: from the start of the process to its first 200 on an existing database, what imports are of it, and memory.

The server is started as an owner starts it, answers a webhook, and is stopped again: embedded, and on PostgreSQL and
Redis. Imports are the time that Python itself reports for all modules up to being ready, beside that for aiohttp and
sqlmodel alone.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import loading, redis_server, world
from benchmarks.accept import updates
from benchmarks.calibration import calibrated
from benchmarks.children import ROOT, child, inherited
from benchmarks.machine import cores
from benchmarks.options import Options
from benchmarks.rows import Row, measured

START_S = 2.0
IMPORT_RATIO = 1.5
MEMORY_MB = 130.0
SCALED_MEMORY_MB = 145.0
SETTLE_S = 1.0  # after the first answer: pools are open and caches filled before memory is read
LIMIT_S = 30.0


async def run(options: Options) -> list[Row]:
    """Times are scaled by the calibration, memory is not."""
    folder = options.folder / "start"
    seconds, memory, ours, bare = [], [], [], []
    scaled_seconds, scaled_memory = [], []
    async with (
        calibrated(folder / "echo") as calibration,
        options.store("postgresql", "start") as postgresql,
        redis_server.server(folder / "redis") as redis,
    ):
        here = await world.prepare(folder)
        scaled = await world.prepare(folder / "scaled", url=postgresql)
        await _started(here, 0)  # warm: compiled modules, the file in the page cache
        await _started(scaled, 0, REDIS_URL=redis)
        for number in range(options.rounds):
            await calibration.echo()
            took, resident = await _started(here, number + 1)
            seconds.append(took)
            memory.append(resident)
            took, resident = await _started(scaled, number + 1, REDIS_URL=redis)
            scaled_seconds.append(took)
            scaled_memory.append(resident)
            ours.append(await _imports_s(["-m", "benchmarks.serving", "app"], here))
            bare.append(await _imports_s(["-c", "import aiohttp, sqlmodel; print()"], here))
    limit = START_S * calibration.scale
    return [
        measured(
            "process start to first 200",
            seconds,
            "s",
            at_most=limit,
            budget=f"≤ 2 s, here {limit:.1f} s",
        ),
        measured(
            "imports until ready",
            ours,
            "s",
            ratios=[one / other for one, other in zip(ours, bare, strict=True)],
            against="aiohttp + sqlmodel",
            ratio_at_most=IMPORT_RATIO,
            budget=f"≤ {IMPORT_RATIO} × aiohttp + sqlmodel",
        ),
        measured("imports of aiohttp + sqlmodel alone", bare, "s"),
        measured("memory ready to serve", memory, "MB", at_most=MEMORY_MB, budget=f"≤ {MEMORY_MB:.0f} MB"),
        measured("process start to first 200 on PostgreSQL + Redis", scaled_seconds, "s"),
        measured(
            "memory ready to serve on PostgreSQL + Redis",
            scaled_memory,
            "MB",
            at_most=SCALED_MEMORY_MB,
            budget=f"≤ {SCALED_MEMORY_MB:.0f} MB",
        ),
    ]


async def _started(here: world.Installation, number: int, **given: str) -> tuple[float, float]:
    """Seconds until the first 200, and MB a moment later."""
    request = updates(here, 1, first=1_000_000 + number, people=1)
    settings = here.environment(PUBLIC_URL="", TELEGRAM_API_URL="http://127.0.0.1:9", **given)
    begun = time.perf_counter()
    app = child(
        ["benchmarks.serving", "app"], core=cores()[0], folder=here.folder / "app", environment=settings
    )
    async with app as server:
        fired = await loading.fire(here.port, request)
        took = time.perf_counter() - begun
        assert fired.accepted == 1, f"the first answer was {dict(fired.statuses)}"
        await asyncio.sleep(SETTLE_S)
        return took, server.resident_mb()


async def _imports_s(arguments: list[str], here: world.Installation) -> float:
    """Seconds that `-X importtime` counts until the process prints its first line."""
    report = here.folder / "imports.log"
    settings = here.environment(PUBLIC_URL="", TELEGRAM_API_URL="http://127.0.0.1:9")
    with report.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 (its pipe is read in a thread)
            [sys.executable, "-X", "importtime", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            cwd=here.folder,
            env={**inherited(), **settings, "PYTHONPATH": str(ROOT)},
        )
    try:
        os.sched_setaffinity(process.pid, {cores()[0]})
        assert process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            await asyncio.to_thread(process.stdout.readline)
        counted = _counted_s(report)
    finally:
        process.terminate()
        await asyncio.to_thread(process.communicate)
    return counted


def _counted_s(report: Path) -> float:
    """The sum of the first column: `import time: self [us] | cumulative | imported package`."""
    lines = report.read_text(errors="replace").splitlines()
    numbers = (
        line.partition(":")[2].partition("|")[0].strip() for line in lines if line.startswith("import time:")
    )
    return sum(int(number) for number in numbers if number.isdigit()) / 1e6
