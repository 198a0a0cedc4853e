"""Column shapes that all tables share.

On SQLite a single integer key is the table's own row number (INTEGER, not BIGINT: https://sqlite.org/rowidtable.html),
and a composite key is the table itself (`CLUSTERED`): one tree instead of two, half the pages that a commit writes.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ForeignKeyConstraint, Integer, SmallInteger, Text
from sqlmodel import Field

CLUSTERED = {"sqlite_with_rowid": False}  # for `__table_args__` of tables with a composite key
_KEY: Any = BigInteger().with_variant(Integer(), "sqlite")


def identifier() -> Any:
    """The row's own id, made by the process."""
    return Field(primary_key=True, sa_type=_KEY, sa_column_kwargs={"autoincrement": False})


def big(default: int | None = None, *, primary_key: bool = False, nullable: bool = False) -> Any:
    """A 64-bit integer: a reference, a time in ms UTC, a counter."""
    kwargs: dict[str, Any] = {}
    if primary_key:
        kwargs = {"primary_key": True, "sa_column_kwargs": {"autoincrement": False}}
    if default is None and not nullable:
        return Field(sa_type=BigInteger, nullable=False, **kwargs)
    return Field(default=default, sa_type=BigInteger, nullable=nullable, **kwargs)


def small(default: int = 0) -> Any:
    """A small number or a flag (0, 1)."""
    return Field(default=default, sa_type=SmallInteger, nullable=False)


def text(default: str | None = "", *, primary_key: bool = False, nullable: bool = False) -> Any:
    """Text of any length; lengths are limited where it is accepted."""
    if primary_key:
        return Field(sa_type=Text, primary_key=True)
    return Field(default=default, sa_type=Text, nullable=nullable)


def within_workspace(column: str, table: str) -> ForeignKeyConstraint:
    """Foreign key (workspace_id, `column`) → `table`: a row can only point into its own workspace."""
    return ForeignKeyConstraint(["workspace_id", column], [f"{table}.workspace_id", f"{table}.id"])
