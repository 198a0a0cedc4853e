"""The town: simulators and the application in this process, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.town import Town


@pytest.fixture
async def town(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Town]:
    """A town on SQLite."""
    async with Town(tmp_path, sqlite_url) as running:
        yield running


@pytest.fixture
async def any_town(tmp_path: Path, any_database_url: str) -> AsyncIterator[Town]:
    """The same test on SQLite and on PostgreSQL."""
    async with Town(tmp_path, any_database_url) as running:
        yield running
