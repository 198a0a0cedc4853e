"""The schema's version: what a database has, what this program needs, and the way from one to the other.

Versions are the numbers of the files in `storage/migrations/versions/` (`0001_first.py`). A start reads two rows;
Alembic, whose import takes long, is loaded only when there is something to do. An upgrade is one transaction on both
databases: a failed one leaves the schema as it was; of several processes at once one upgrades, the others wait for it.

Programs of several versions work side by side on one PostgreSQL (a rolling restart). So a migration only adds, and what
it adds may be left out (`checks/migrations.py` refuses anything else); a later one, marked `contract = "<version>"`,
takes away what no program uses that knows that version. The oldest version that a program must know to work with the
schema is stored beside it, the *floor*, and a program that does not reach it refuses to start. On PostgreSQL no
statement of an upgrade waits longer than `LOCK_TIMEOUT_MS` for its table, because all messages would wait behind it:
then the whole upgrade is given up and tried again a little later.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, text

from domain.errors import Conflict, Unavailable
from storage.database import Database, parse_url
from storage.partitions import is_partition
from storage.sqlite import private_file, sqlite_engine

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy.ext.asyncio import AsyncEngine

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK_TIMEOUT_MS = 2_000  # how long messages may wait behind a statement that waits for its table
TRY_FOR_S = 300.0  # an upgrade that never finds its tables free: something else is wrong, a person must look
TRY_EVERY_S = 2.0  # as long as messages were held up at most, so that they catch up
TURN_TIMEOUT_MS = 900_000  # for the other process that upgrades: large tables take minutes
_LOCK = 7_290_412_226_001  # of PostgreSQL's advisory locks: any number that is only ours
_FLOOR = "schema_floor"  # the subject of the row of `revision` that holds the floor

_IN_USE = ("55P03", "40P01")  # lock_not_available, deadlock_detected
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


def reaches(version: str | None) -> bool:
    """Whether a schema has all that this program needs; a newer one that was not refused has it, too."""
    return version is not None and version >= head()


def floor(connection: Connection) -> int:
    """The oldest version that a program must know to work with this schema: 1 until something was taken away."""
    number: int | None = connection.execute(
        text(f"SELECT number FROM revision WHERE workspace_id = 0 AND subject = '{_FLOOR}'")
    ).scalar()
    return number or 1


def refuse_newer(connection: Connection) -> str | None:
    """Gives the database's version. Raises Conflict for one that a newer program has upgraded so far that this one may
    not work with it any more: its rows may mean what we do not know."""
    version = current(connection)
    if version is not None and version not in versions() and floor(connection) > int(head()):
        raise Conflict(
            f"the database has schema {version}, made by a newer Passaparola; this one knows up to {head()}: "
            "install the newer version again, or restore a backup made before the upgrade"
        )
    return version


async def ensure(database: Database) -> Migrated | None:
    """Brings an open store's schema up to date before it is used; None when it is, or when a newer program has brought
    it further and this one may still work with it. What `serve` does at its start."""
    try:
        version = await database.read(refuse_newer)
    except Unavailable as error:
        raise _unreachable(database.url, error) from error
    return None if reaches(version) else await migrate(database.url)


def _unreachable(url: URL, error: Unavailable) -> Unavailable:
    """What a person is told at the start: with PostgreSQL, where it was looked for."""
    if url.get_backend_name() == "sqlite":
        return error
    from storage.postgresql import place

    return Unavailable(
        f"{error}: PASSAPAROLA_DATABASE_URL leads to {place(url)}; mend the server or the setting"
    )


async def migrate(url: str | URL, *, target: str = "head") -> Migrated:
    """Upgrades a database to `target` in one transaction, on a connection of its own.

    An existing SQLite file is copied beside itself first. Raises Conflict for a schema that is too new, Unavailable
    when PostgreSQL does not answer, or its tables were in use all the time.
    """
    parsed = parse_url(url.render_as_string(hide_password=False) if isinstance(url, URL) else url)
    if parsed.get_backend_name() == "sqlite":
        return _migrate_sqlite(parsed, target)
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    from storage.postgresql import translate

    engine = create_async_engine(parsed, poolclass=NullPool)  # without the time limits of the message path
    try:
        return await _until_tables_are_free(engine, target)
    except (DBAPIError, OSError) as error:
        known = translate(error)
        raise (_unreachable(parsed, known) if isinstance(known, Unavailable) else known) from error
    finally:
        await engine.dispose()


async def _until_tables_are_free(engine: AsyncEngine, target: str) -> Migrated:
    from sqlalchemy.exc import DBAPIError

    give_up = time.monotonic() + TRY_FOR_S
    while True:
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(_migrate, target)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", "") not in _IN_USE:
                raise
            if time.monotonic() > give_up:
                raise Unavailable(
                    f"the schema was not upgraded: its tables were in use for {TRY_FOR_S:.0f} s. Look for long "
                    "transactions (pg_stat_activity) and try again"
                ) from error
        await asyncio.sleep(TRY_EVERY_S)


def upgrade(connection: Connection, target: str = "head") -> None:
    """Runs the migrations up to `target` inside the connection's transaction."""
    from alembic import command

    command.upgrade(configuration(connection), target)
    _keep_floor(connection)


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


def contract_of(version: str) -> str | None:
    """What a migration takes away is unused by programs that know this version; None: it takes nothing away."""
    path = next((MIGRATIONS / "versions").glob(f"{version}_*.py"))
    found = importlib.util.spec_from_file_location(f"_migration_{version}", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    named: str | None = getattr(module, "contract", None)
    return named


def _keep_floor(connection: Connection) -> None:
    """Stores what the migrations up to the schema's version ask of a program."""
    reached = [version for version in versions() if version <= (current(connection) or "")]
    needed = max((int(contract_of(version) or 1) for version in reached), default=1)
    if needed == 1:
        return
    connection.execute(
        text(
            "INSERT INTO revision (workspace_id, subject, number) VALUES (0, :subject, :needed) "
            "ON CONFLICT (workspace_id, subject) DO UPDATE SET number = excluded.number"
        ),
        {"subject": _FLOOR, "needed": needed},
    )


def _migrate(connection: Connection, target: str, backup: Path | None = None) -> Migrated:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL lock_timeout = {TURN_TIMEOUT_MS}"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
    before = refuse_newer(connection)  # again: another process may have upgraded while this one waited
    if not reaches(before):
        upgrade(connection, target)
    return Migrated(before, current(connection) or head(), backup)


def _migrate_sqlite(url: URL, target: str) -> Migrated:
    path = Path(str(url.database))
    private_file(path)
    engine = sqlite_engine(url)
    try:
        with engine.connect() as connection:
            before = refuse_newer(connection)
            connection.rollback()
            backup = _copy(path, before) if before is not None and not reaches(before) else None
            # SQLite changes a key or a column's type by making the table anew; meanwhile rows that point to it point
            # nowhere (https://sqlite.org/lang_altertable.html, "Making Other Kinds Of Table Schema Changes").
            raw: Any = connection.connection.driver_connection
            raw.execute("PRAGMA foreign_keys=OFF")
            raw.execute(
                "PRAGMA temp_store=FILE"
            )  # a large table's new indexes are sorted; memory may be small
            with connection.begin():
                done = _migrate(connection, target, backup)
                if lost := connection.execute(text("PRAGMA foreign_key_check")).first():
                    raise RuntimeError(f"the upgrade would leave rows of {lost[0]} that point to nothing")
                return done
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
