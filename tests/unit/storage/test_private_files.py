"""What lies on disk is the owner's alone, and one file is one database, whatever leads to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.errors import Conflict
from storage.database import Database
from storage.schema import ensure


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


async def test_nobody_else_can_read_the_database(tmp_path: Path) -> None:
    """The file and those beside it, from their first moment, and the folder where it is made."""
    folder = tmp_path / "data"
    database = await Database.open(f"sqlite:///{folder / 'shop.sqlite3'}", exclusive=True)
    await ensure(database)
    modes = {one.name: one.stat().st_mode & 0o077 for one in folder.iterdir() if "lock" not in one.name}
    assert "shop.sqlite3-wal" in modes
    assert set(modes.values()) == {0}
    assert folder.stat().st_mode & 0o077 == 0
    await database.close()


async def test_a_link_to_the_file_is_no_second_database(tmp_path: Path) -> None:
    """A second server is refused, by whatever name it finds the file."""
    first = await Database.open(f"sqlite:///{tmp_path / 'shop.sqlite3'}", exclusive=True)
    (tmp_path / "link.sqlite3").symlink_to(tmp_path / "shop.sqlite3")
    with pytest.raises(Conflict):
        await Database.open(f"sqlite:///{tmp_path / 'link.sqlite3'}", exclusive=True)
    await first.close()
