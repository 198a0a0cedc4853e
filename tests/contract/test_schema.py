"""The migrations make exactly the tables that the program maps, on both databases, in one transaction."""

from __future__ import annotations

import asyncio
import io
import sqlite3
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlmodel import SQLModel

import storage.tables  # noqa: F401 (fills the metadata)
from domain.errors import Conflict
from storage import schema
from storage.database import Database


def differences(connection: Connection) -> list[object]:
    options = {"include_object": schema.ours, "compare_type": True}
    return list(
        compare_metadata(
            MigrationContext.configure(getattr(connection, "real", connection), opts=options),
            SQLModel.metadata,
        )
    )


def test_versions_are_those_that_alembic_finds() -> None:
    script = ScriptDirectory.from_config(schema.configuration())
    assert script.get_current_head() == schema.head()
    assert sorted(revision.revision for revision in script.walk_revisions()) == list(schema.versions())


async def test_an_empty_database_gets_the_tables_of_the_program(any_database_url: str) -> None:
    database = await Database.open(any_database_url)
    try:
        assert await database.read(schema.current) is None
        done = await schema.ensure(database)
        assert done == schema.Migrated(None, schema.head())
        assert await database.read(schema.current) == schema.head()
        assert await database.read(differences) == []
        assert await schema.ensure(database) is None
    finally:
        await database.close()


async def test_several_at_once_upgrade_once(any_database_url: str) -> None:
    done = await asyncio.gather(
        *(asyncio.to_thread(asyncio.run, schema.migrate(any_database_url)) for _ in range(3))
    )
    assert sorted(str(one.before) for one in done) == [*[schema.head()] * 2, "None"]


async def test_a_newer_schema_is_refused_and_untouched(any_database_url: str) -> None:
    database = await Database.open(any_database_url)
    try:
        await schema.ensure(database)
        await database.write(
            lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")) and None
        )
        for attempt in (schema.ensure(database), schema.migrate(any_database_url)):
            with pytest.raises(Conflict, match="schema 9999, made by a newer Passaparola"):
                await attempt
        assert await database.read(schema.current) == "9999"
    finally:
        await database.close()


async def test_a_failed_upgrade_leaves_nothing(
    any_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(connection: Connection, target: str = "head") -> None:
        schema_upgrade(connection, target)
        raise RuntimeError("power cut")

    schema_upgrade = schema.upgrade
    monkeypatch.setattr(schema, "upgrade", break_down)
    with pytest.raises(RuntimeError, match="power cut"):
        await schema.migrate(any_database_url)
    monkeypatch.undo()
    done = await schema.migrate(any_database_url)
    assert done.before is None


async def test_messages_and_intake_are_partitioned_on_postgresql(postgres_url: str) -> None:
    await schema.migrate(postgres_url)
    database = await Database.open(postgres_url)
    try:
        found = await database.read(
            lambda c: (
                c.execute(text("SELECT relname FROM pg_class WHERE relkind = 'p' ORDER BY relname"))
                .scalars()
                .all()
            )
        )
        assert list(found) == ["intake", "message"]
    finally:
        await database.close()


async def test_an_older_sqlite_file_is_copied_before(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await schema.migrate(sqlite_url)
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    with sqlite3.connect(path) as raw:  # as a release before this one would have left it
        raw.execute("UPDATE alembic_version SET version_num = '0000'")
        raw.execute("INSERT INTO revision (workspace_id, subject, number) VALUES (0, 'channels', 7)")
    raw.close()
    monkeypatch.setattr(schema, "versions", lambda: ("0000", "0001"))
    monkeypatch.setattr(schema, "upgrade", lambda connection, target: None)
    done = await schema.migrate(sqlite_url)
    assert done.before == "0000"
    assert done.backup is not None
    assert done.backup.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(done.backup) as raw:
        assert raw.execute("SELECT number FROM revision").fetchall() == [(7,)]
    raw.close()


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_the_statements_can_be_printed_without_a_database(dialect: str) -> None:
    config = schema.configuration()
    config.set_main_option("dialect", dialect)
    out = io.StringIO()
    config.output_buffer = out
    with redirect_stdout(out):
        command.upgrade(config, "head", sql=True)
    assert "CREATE TABLE message" in out.getvalue()
    assert ("PARTITION BY RANGE (id)" in out.getvalue()) == (dialect == "postgresql")
