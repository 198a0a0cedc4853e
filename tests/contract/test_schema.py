"""The migrations make exactly the tables that the program maps, on both databases, in one transaction."""

from __future__ import annotations

import asyncio
import io
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Table, text
from sqlmodel import SQLModel

import storage.tables  # noqa: F401 (fills the metadata)
from checks.schema_dump import ROWS, rows_of
from checks.tables import mapped
from domain.errors import Conflict, Unavailable
from storage import schema
from storage.database import Database

ROOT = Path(__file__).resolve().parent.parent.parent
VERSIONS = schema.MIGRATIONS / "versions"


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


def set_floor(connection: Connection, number: int) -> None:
    connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    connection.execute(
        text("INSERT INTO revision (workspace_id, subject, number) VALUES (0, 'schema_floor', :number)"),
        {"number": number},
    )


async def test_a_server_that_is_away_is_said() -> None:
    """`migrate` runs first of all when machines start together: a sentence, not a traceback's name."""
    with pytest.raises(Unavailable, match="the store does not answer"):
        await schema.migrate("postgresql+asyncpg://somebody@127.0.0.1:1/nowhere")


async def test_a_newer_schema_is_refused_and_untouched(any_database_url: str) -> None:
    """One that has lost what this program uses."""
    database = await Database.open(any_database_url)
    try:
        await schema.ensure(database)
        await database.write(lambda c: set_floor(c, 9999))
        with pytest.raises(Conflict, match="schema 9999, made by a newer Passaparola"):
            await schema.ensure(database)
        with pytest.raises(Conflict, match="schema 9999, made by a newer Passaparola"):
            await schema.migrate(any_database_url)
        assert await database.read(schema.current) == "9999"
    finally:
        await database.close()


async def test_a_newer_schema_that_only_added_is_served(any_database_url: str) -> None:
    """A rolling restart, the other way round: the new program has upgraded, the old one starts once more."""
    database = await Database.open(any_database_url)
    try:
        await schema.ensure(database)
        assert await database.read(schema.floor) == 1
        await database.write(lambda c: set_floor(c, int(schema.head())))
        assert await schema.ensure(database) is None
        assert (await schema.migrate(any_database_url)).after == "9999"
    finally:
        await database.close()


@pytest.fixture
def versions_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The migrations, in a copy to which a test may add."""
    folder = tmp_path / "migrations"
    shutil.copytree(schema.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(schema, "MIGRATIONS", folder)
    schema.versions.cache_clear()
    yield folder / "versions"
    schema.versions.cache_clear()


NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "{version}"
down_revision = "{before}"
branch_labels = None
depends_on = None
contract = {contract!r}


def upgrade() -> None:
    {statement}
"""


def write_next(folder: Path, statement: str, contract: str | None = None) -> str:
    """A migration after the last one; gives its version."""
    before = schema.head()
    version = f"{int(before) + 1:04d}"
    text_ = NEXT.format(version=version, before=before, contract=contract, statement=statement)
    (folder / f"{version}_next.py").write_text(text_)
    schema.versions.cache_clear()
    return version


def fill(table: Table, connection: Connection) -> None:
    connection.execute(table.insert(), list(rows_of(table)))


def count(table: Table, connection: Connection) -> int:
    return len(connection.execute(table.select()).all())


async def test_the_program_before_goes_on_with_what_was_added(
    any_database_url: str, versions_folder: Path
) -> None:
    """It runs, the new program adds a column to every table: what it writes and reads stays as it was."""
    database = await Database.open(any_database_url)
    try:
        await schema.ensure(database)
        known = schema.versions()
        tables = mapped().sorted_tables
        column = 'sa.Column("added", sa.Text(), nullable=False, server_default="")'
        write_next(
            versions_folder, "\n    ".join(f"op.add_column({table.name!r}, {column})" for table in tables)
        )
        await schema.migrate(any_database_url)
        shutil.rmtree(versions_folder)
        shutil.copytree(VERSIONS, versions_folder, ignore=shutil.ignore_patterns("__pycache__"))
        schema.versions.cache_clear()
        assert schema.versions() == known
        assert await schema.ensure(database) is None
        for table in tables:
            await database.write(partial(fill, table))
            found = await database.read(partial(count, table))
            assert found == ROWS, table.name
    finally:
        await database.close()


async def test_what_is_taken_away_raises_the_floor(any_database_url: str, versions_folder: Path) -> None:
    """Programs that know the version which stopped using it go on; those before refuse to start."""
    known = schema.versions()
    write_next(versions_folder, 'op.add_column("stop", sa.Column("why", sa.Text()))')
    database = await Database.open(any_database_url)
    try:
        await schema.ensure(database)
        assert await database.read(schema.floor) == 1
        write_next(versions_folder, 'op.drop_column("stop", "why")', contract=schema.head())
        await schema.ensure(database)
        assert await database.read(schema.floor) == int(known[-1]) + 1
    finally:
        await database.close()


async def test_an_upgrade_waits_for_tables_in_use_without_holding_up_messages(
    postgres_url: str, versions_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody reads a table for long: the upgrade tries again and again; between, writers get through."""
    await schema.migrate(postgres_url)
    write_next(versions_folder, 'op.add_column("stop", sa.Column("why", sa.Text()))')
    monkeypatch.setattr(schema, "LOCK_TIMEOUT_MS", 100)
    monkeypatch.setattr(schema, "TRY_EVERY_S", 0.05)
    database = await Database.open(postgres_url)
    try:
        async with database._engine.connect() as reader:  # type: ignore[attr-defined]
            await reader.execute(text("SELECT 1 FROM stop"))
            upgrade = asyncio.create_task(schema.migrate(postgres_url))
            for n in range(5):
                await database.write(lambda c, n=n: press(c, n))  # type: ignore[misc]
            assert not upgrade.done()
        assert (await upgrade).after == schema.head()
        monkeypatch.setattr(schema, "TRY_FOR_S", 0.0)
        write_next(versions_folder, 'op.add_column("stop", sa.Column("until", sa.Text()))')
        async with database._engine.connect() as reader:  # type: ignore[attr-defined]
            await reader.execute(text("SELECT 1 FROM stop"))
            with pytest.raises(Unavailable, match="its tables were in use"):
                await schema.migrate(postgres_url)
    finally:
        await database.close()


def press(connection: Connection, n: int) -> None:
    connection.execute(
        text(
            "INSERT INTO stop (workspace_id, scope, target_id, what, by, set_at) "
            "VALUES (1, 'channel', :n, 'marketing', '', 0)"
        ),
        {"n": n},
    )


async def test_four_processes_that_start_at_once_upgrade_once(any_database_url: str) -> None:
    """Real processes: one makes the schema, the others wait for it and go on."""
    program = (
        "import asyncio, sys\nfrom storage import schema\nfrom storage.database import Database\n"
        "async def main():\n    database = await Database.open(sys.argv[1])\n"
        "    done = await schema.ensure(database)\n    await database.close()\n"
        "    print('upgraded' if done and done.before is None else 'waited')\n"
        "asyncio.run(main())"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, any_database_url, stdout=asyncio.subprocess.PIPE, cwd=ROOT
        )
        for _ in range(4)
    ]
    said = [(await process.communicate())[0].decode().strip() for process in processes]
    assert sorted(said) == ["upgraded", "waited", "waited", "waited"]
    assert [process.returncode for process in processes] == [0] * 4


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
    known = ("0000", *schema.versions())
    monkeypatch.setattr(schema, "versions", lambda: known)
    monkeypatch.setattr(schema, "upgrade", lambda connection, target: None)
    done = await schema.migrate(sqlite_url)
    assert done.before == "0000"
    assert done.backup is not None
    assert done.backup.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(done.backup) as raw:
        assert raw.execute("SELECT number FROM revision").fetchall() == [(7,)]
    raw.close()


async def test_an_upgrade_of_a_large_file_sorts_on_the_disk(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In memory the indexes of ten million rows would take gigabytes; the message path sorts little, and there."""
    kept = schema.upgrade
    stores: list[int] = []

    def noted(connection: Connection, target: str) -> None:
        stores.append(connection.execute(text("PRAGMA temp_store")).scalar_one())
        kept(connection, target)

    monkeypatch.setattr(schema, "upgrade", noted)
    await schema.migrate(sqlite_url)
    assert stores == [1], "1 is FILE"


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


def test_what_reaches_this_program() -> None:
    """What `doctor` asks: an older schema lacks something, a newer one has it all."""
    assert not schema.reaches(None)
    assert not schema.reaches("0000")
    assert schema.reaches(schema.head())
    assert schema.reaches("9999")


@pytest.mark.parametrize("start", ["migrate", "ensure"])
@pytest.mark.parametrize(
    ("wrong", "why"),
    [("database", 'database "nowhere" does not exist'), ("user", 'role "nobody_here" does not exist')],
)
async def test_what_postgresql_refuses_is_said(start: str, wrong: str, why: str, postgres_url: str) -> None:
    """A typing mistake in the URL: what the server says, and where it was looked for."""
    name = postgres_url.removeprefix("postgresql+asyncpg://postgres:@/").split("?")[0]
    url = (
        postgres_url.replace(name, "nowhere")
        if wrong == "database"
        else postgres_url.replace("postgres:@", "nobody_here:@")
    )
    database = await Database.open(url)
    try:
        with pytest.raises(Unavailable) as refused:
            await (schema.migrate(url) if start == "migrate" else schema.ensure(database))
    finally:
        await database.close()
    assert f"PostgreSQL does not let us in ({why}): PASSAPAROLA_DATABASE_URL leads to " in str(refused.value)
