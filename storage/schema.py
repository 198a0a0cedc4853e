"""The schema's version: what a database has, what this program needs, and the way from one to the other.

Versions are the numbers of the files in `storage/migrations/versions/` (`0001_first.py`). A start reads one row;
Alembic, whose import takes long, is loaded only when there is something to do. An upgrade is one transaction on both
databases: a failed one leaves the schema as it was; of several processes at once one upgrades, the others wait for it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, text

from domain.errors import Conflict
from storage.database import Database, parse_url, private_file, sqlite_engine
from storage.partitions import is_partition

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 7_290_412_226_001  # of PostgreSQL's advisory locks: any number that is only ours

_HAS_TABLE = {
    "sqlite": "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'",
    "postgresql": "SELECT 1 WHERE to_regclass('alembic_version') IS NOT NULL",
}


@dataclass(frozen=True)
class Migrated:
    """What an upgrade did. `before` None: the database was empty; `backup`: the copy made before (SQLite)."""

    before: str | None
    after: str
    backup: Path | None = None


@cache
def versions() -> tuple[str, ...]:
    """Every version that this program knows, oldest first."""
    return tuple(
        sorted(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))
    )


def head() -> str:
    """The version that this program needs."""
    return versions()[-1]


def current(connection: Connection) -> str | None:
    """The database's version; None when it is empty."""
    if connection.execute(text(_HAS_TABLE[connection.dialect.name])).first() is None:
        return None
    version: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return version


def refuse_newer(version: str | None) -> None:
    """Raises Conflict for a database that a newer program has upgraded: its rows may mean what we do not know."""
    if version is not None and version not in versions():
        raise Conflict(
            f"the database has schema {version}, made by a newer Passaparola; this one knows up to {head()}: "
            "install the newer version again, or restore a backup made before the upgrade"
        )


async def ensure(database: Database) -> Migrated | None:
    """Brings an open store's schema up to date before it is used; None when it is. What `serve` does at its start."""
    version = await database.read(current)
    refuse_newer(version)
    return None if version == head() else await migrate(database.url)


async def migrate(url: str | URL, *, target: str = "head") -> Migrated:
    """Upgrades a database to `target` in one transaction, on a connection of its own.

    An existing SQLite file is copied beside itself first. Raises Conflict for a newer schema.
    """
    parsed = parse_url(url.render_as_string(hide_password=False) if isinstance(url, URL) else url)
    if parsed.get_backend_name() == "sqlite":
        return _migrate_sqlite(parsed, target)
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    engine = create_async_engine(parsed, poolclass=NullPool)  # without the time limits of the message path
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(_migrate, target)
    finally:
        await engine.dispose()


def upgrade(connection: Connection, target: str = "head") -> None:
    """Runs the migrations up to `target` inside the connection's transaction."""
    from alembic import command

    command.upgrade(configuration(connection), target)


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's configuration for our migrations; what comes of it runs on the connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def ours(_object: Any, name: str | None, kind: str, reflected: bool, compare_to: Any) -> bool:
    """For Alembic's comparison: PostgreSQL's partitions are tables that the models do not name."""
    return not (kind == "table" and reflected and compare_to is None and is_partition(str(name)))


def _migrate(connection: Connection, target: str, backup: Path | None = None) -> Migrated:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    before = current(connection)  # again: another process may have upgraded while this one waited
    refuse_newer(before)
    if before != head():
        upgrade(connection, target)
    return Migrated(before, current(connection) or head(), backup)


def _migrate_sqlite(url: URL, target: str) -> Migrated:
    path = Path(str(url.database))
    private_file(path)
    engine = sqlite_engine(url)
    try:
        with engine.connect() as connection:
            before = current(connection)
            refuse_newer(before)
            connection.rollback()
            backup = _copy(path, before) if before not in (None, head()) else None
            with connection.begin():
                return _migrate(connection, target, backup)
    finally:
        engine.dispose()


def _copy(path: Path, version: str | None) -> Path:
    """A consistent copy of a SQLite database, its log included; an older copy of the same version is replaced."""
    copy = path.with_name(f"{path.name}.before-upgrade-from-{version}")
    half = copy.with_name(f"{copy.name}.half")
    half.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(half)) as target:
        half.chmod(0o600)
        source.backup(target)
    half.replace(copy)
    return copy
