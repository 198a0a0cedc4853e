"""What was asked for on the command line, as the measurements need it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.postgresql import PostgreSQL


class Skipped(Exception):
    """A measurement needs what is not there; the sentence says what, and how to get it."""


@dataclass(frozen=True)
class Options:
    """`rounds` per row; `scale` of the amounts (1, or a tenth with `--quick`); `stores`: sqlite, postgresql.

    `long`: also what does not fit into ten minutes.
    """

    folder: Path
    rounds: int = 5
    scale: float = 1.0
    stores: tuple[str, ...] = ("sqlite", "postgresql")
    long: bool = False
    postgresql: PostgreSQL | None = None

    def amount(self, full: int, *, least: int = 1) -> int:
        """So many of something, fewer with `--quick`."""
        return max(least, int(full * self.scale))

    @asynccontextmanager
    async def store(self, kind: str, name: str) -> AsyncIterator[str]:
        """The URL of an empty database: a file of its own, or a database of the run's server until this ends."""
        if kind == "sqlite":
            folder = self.folder / name
            folder.mkdir(parents=True, exist_ok=True)
            yield f"sqlite:///{folder / 'passaparola.sqlite3'}"
            return
        if self.postgresql is None:
            raise Skipped("no PostgreSQL server was prepared for this run")
        async with self.postgresql.database(name) as url:
            yield url
