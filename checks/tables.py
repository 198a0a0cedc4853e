"""Every mapped table has a `workspace_id` that is never empty: it is what keeps workspaces apart (I6)."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import MetaData


def problems(root: Path) -> Iterator[str]:
    yield from without_workspace(mapped())


def mapped() -> MetaData:
    """The metadata of all tables, after every module below storage/tables was imported."""
    from sqlmodel import SQLModel

    if (package := importlib.util.find_spec("storage.tables")) is not None:
        for module in pkgutil.walk_packages(package.submodule_search_locations, "storage.tables."):
            importlib.import_module(module.name)
    return SQLModel.metadata


def without_workspace(metadata: MetaData) -> Iterator[str]:
    for name, table in sorted(metadata.tables.items()):
        column = table.columns.get("workspace_id")
        if column is None:
            yield f"table {name} has no workspace_id"
        elif column.nullable:
            yield f"table {name} lets workspace_id be empty"
