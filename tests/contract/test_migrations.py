"""A database made by any version before this one moves forward with all its rows, on both databases.

`tests/fixtures/schemas/` holds a filled database of every version, written when the version was new
(`make dump`).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, text

from checks.schema_dump import FOLDER, ROWS, rows_of
from checks.tables import mapped
from storage import schema
from storage.database import Database
from storage.partitions import is_partition
from tests.contract.test_schema import differences

ENGINES = ("sqlite", "postgresql")
DUMPS = sorted(path.name.removesuffix(".sql").split(".") for path in FOLDER.glob("*.sql"))
Load = Callable[[str, str], str]  # engine, version → URL of the database that the version left


@pytest.fixture
def load(request: pytest.FixtureRequest) -> Load:
    """Makes the database of a version from its dump."""

    def work(engine: str, version: str) -> str:
        url: str = request.getfixturevalue("sqlite_url" if engine == "sqlite" else "postgres_url")
        script = (FOLDER / f"{version}.{engine}.sql").read_text()
        if engine == "sqlite":
            path = Path(url.removeprefix("sqlite:///"))
            with sqlite3.connect(path) as raw:
                raw.executescript(script)
            raw.close()
        else:
            asyncio.run(_postgresql(url, script))
        return url

    return work


async def _postgresql(url: str, script: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        await connection.execute(script)
    finally:
        await connection.close()


def rows(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """Everything that is in the database, by table."""
    real = getattr(connection, "real", connection)
    found = {}
    for table in sorted(set(inspect(real).get_table_names()) - {"alembic_version"}):
        if not is_partition(table):
            got = connection.execute(text(f'SELECT * FROM "{table}"')).all()
            found[table] = sorted((dict(row._mapping) for row in got), key=str)
    found["revision"] = [row for row in found["revision"] if row["subject"] != "schema_floor"]
    return found


def shape(connection: Connection) -> dict[str, Any]:
    """What a table is, whatever way it was made: columns in any order, keys, indexes."""
    found = inspect(getattr(connection, "real", connection))
    return {
        table: {
            "columns": sorted(
                (one["name"], str(one["type"]), one["nullable"], one["default"])
                for one in found.get_columns(table)
            ),
            "key": found.get_pk_constraint(table)["constrained_columns"],
            "indexes": sorted(
                (str(one["name"]), one["column_names"], bool(one["unique"]), _where(one))
                for one in found.get_indexes(table)
            ),
            "unique": sorted(one["column_names"] for one in found.get_unique_constraints(table)),
            "references": sorted(
                (one["constrained_columns"], one["referred_table"], one["referred_columns"])
                for one in found.get_foreign_keys(table)
            ),
        }
        for table in found.get_table_names()
        if not is_partition(table)
    }


def _where(index: Any) -> list[str]:
    """The condition of a partial index."""
    return [str(value) for name, value in index.get("dialect_options", {}).items() if name.endswith("_where")]


async def at_head(url: str, look: Callable[[Connection], Any]) -> Any:
    """What `look` sees after an upgrade."""
    database = await Database.open(url)
    try:
        await schema.ensure(database)
        assert await database.read(schema.current) == schema.head()
        return await database.read(look)
    finally:
        await database.close()


async def before(url: str) -> dict[str, list[dict[str, Any]]]:
    database = await Database.open(url)
    try:
        return await database.read(rows)
    finally:
        await database.close()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("version", schema.versions())
def test_every_version_has_its_dump(version: str, engine: str) -> None:
    """A migration without one: run `make dump` and commit what it writes."""
    assert (FOLDER / f"{version}.{engine}.sql").exists()


@pytest.mark.parametrize(("version", "engine"), DUMPS)
def test_moves_forward_with_all_its_rows(version: str, engine: str, load: Load) -> None:
    url = load(engine, version)
    had = asyncio.run(before(url))
    assert all(len(found) == ROWS for found in had.values() if found), "the dump has two rows of everything"
    assert [table for table, found in had.items() if not found] == []
    has = asyncio.run(at_head(url, rows))
    for table, found in had.items():
        kept = [{name: row[name] for name in found[0] if name in row} for row in has[table]]
        # Columns may go once no release uses them any more (`contract`); what is left is as it was.
        assert [{name: row[name] for name in kept[0]} for row in found] == kept[: len(found)], table
    assert asyncio.run(at_head(url, differences)) == []


@pytest.mark.parametrize(("version", "engine"), DUMPS)
def test_is_then_what_a_new_one_is(
    version: str, engine: str, load: Load, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Types, keys, indexes, references: nobody can tell how old the database is."""
    old = asyncio.run(at_head(load(engine, version), shape))
    if engine == "sqlite":
        new_url = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    else:
        new_url = request.getfixturevalue("migrated_postgres_url")
    assert old == asyncio.run(at_head(new_url, shape))


def test_rows_of_the_dump_fill_every_column() -> None:
    """What the next dump will hold: two rows for every table, the first without an empty column."""
    for table in mapped().sorted_tables:
        first, second = rows_of(table)
        assert None not in first.values()
        keys = [column.name for column in table.primary_key.columns]
        assert [first[key] for key in keys] != [second[key] for key in keys]
