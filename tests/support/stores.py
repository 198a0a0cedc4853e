"""Stores with the schema that production has: copied from a template that was migrated once per run.

store_url     the same test on a migrated SQLite file and on a migrated PostgreSQL database
store         that database, open
a_file        a migrated SQLite file alone, for what only it has
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from storage import schema
from storage.database import Database
from tests.support.databases import PostgresServer


def migrated(url: str) -> None:
    """Migrates in a thread of its own: the caller may stand inside a test's event loop."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(schema.migrate(url))).result()


@pytest.fixture
def quiet() -> Iterator[list[Any]]:
    """The log lines of the test."""
    with capture_logs() as lines:
        yield lines


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables and no rows; to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "template.sqlite3"
    migrated(f"sqlite:///{path}")
    return path


@pytest.fixture
def a_file(tmp_path: Path, migrated_file: Path) -> str:
    """URL of a migrated SQLite file for one test."""
    path = tmp_path / "passaparola.sqlite3"
    shutil.copy(migrated_file, path)
    return f"sqlite:///{path}"


@pytest.fixture
def migrated_postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """URL of a migrated PostgreSQL database for one test."""
    url = postgres.create(postgres.template(f"migrated_{schema.head()}", migrated))
    yield url
    postgres.drop(url)


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The same test on both."""
    name = "a_file" if request.param == "sqlite" else "migrated_postgres_url"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Database]:
    """The store, open."""
    database = await Database.open(store_url)
    yield database
    await database.close()
