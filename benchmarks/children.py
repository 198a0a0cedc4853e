"""The processes of a measurement: each on its core, in a folder of its own, ended by whoever started it.

A child prints one JSON object when it is ready (`{"port": …}`) and ends when it is told to, or when its standard input
closes: so nothing is left behind when a measurement dies. What it writes to standard error is shown if it fails.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks import machine

ROOT = Path(__file__).resolve().parent.parent
READY_S = 60.0
STOP_S = 30.0


class ChildFailed(Exception):
    """A process ended, or was not ready in time; the message has the end of its standard error."""


class Child:
    """A running process. `ready` is what it said when it was; `started_s` how long that took."""

    def __init__(self, process: subprocess.Popen[bytes], ready: Mapping[str, Any], started_s: float) -> None:
        self.process = process
        self.pid = process.pid
        self.ready = ready
        self.started_s = started_s

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return int(self.ready["port"])

    def cpu_s(self) -> float:
        """CPU seconds so far."""
        return machine.cpu_s(self.pid)

    def resident_mb(self) -> float:
        """Resident memory now."""
        return machine.resident_mb(self.pid)


@asynccontextmanager
async def child(
    arguments: Sequence[str],
    *,
    core: int,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    plain_url: bool = False,
    python: Path | str = sys.executable,
) -> AsyncIterator[Child]:
    """Runs `python -m <arguments>` on a core. `plain_url`: it prints a URL instead of JSON."""
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 (nothing else runs here meanwhile)
    errors = folder / "stderr.log"
    begun = time.perf_counter()
    with errors.open("ab") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 (its pipes are read in a thread)
            [str(python), "-m", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            cwd=folder,  # no .env of the folder that we are started in
            env={**inherited(), "PYTHONPATH": str(ROOT), **(environment or {})},
        )
    try:
        machine.pin(process.pid, core)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(READY_S):
                line = (await asyncio.to_thread(process.stdout.readline)).decode().strip()
        except TimeoutError:
            raise ChildFailed(
                f"{arguments[0]} was not ready within {READY_S:.0f} s\n{_tail(errors)}"
            ) from None
        if not line:
            raise ChildFailed(f"{arguments[0]} ended at once\n{_tail(errors)}")
        ready = {"port": int(line.rpartition(":")[2])} if plain_url else json.loads(line)
        yield Child(process, ready, time.perf_counter() - begun)
    finally:
        await _end(process)


def inherited() -> dict[str, str]:
    """A child's environment: nobody's settings but ours, and modules stay compiled, as an installation has them."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PASSAPAROLA_") and name != "PYTHONDONTWRITEBYTECODE"
    }


async def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        await asyncio.to_thread(process.wait, STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        await asyncio.to_thread(process.wait)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _tail(errors: Path) -> str:
    return errors.read_text(errors="replace")[-2_000:]
