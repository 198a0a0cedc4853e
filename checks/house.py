"""The rooms of the house and the files in them: what the rules look at."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

# Shipped in the wheel, from the top layer down; `simulators` stands beside them.
ROOMS = (
    "config",
    "webhooks",
    "console",
    "api",
    "campaigns",
    "bot",
    "crm",
    "flows",
    "storage",
    "gallery",
    "domain",
    "simulators",
)
WORKSHOPS = ("benchmarks", "checks", "tests")

# Made by tools or people beside the project, never part of it.
_NOT_OURS = {"__pycache__", "node_modules"}
_NOT_OURS_ON_TOP = {"data", "dist"}


def files(root: Path, folders: Iterable[str] = (".",), suffixes: Iterable[str] = ()) -> Iterator[Path]:
    """Files below the folders, in a fixed order, without hidden folders but `.ci`; no suffixes: all."""
    wanted = tuple(suffixes)
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            parts = path.relative_to(root).parts
            hidden = any(part.startswith(".") and part != ".ci" for part in parts[:-1])
            ours = _NOT_OURS.isdisjoint(parts) and parts[0] not in _NOT_OURS_ON_TOP
            if hidden or not ours or not path.is_file():
                continue
            if not wanted or path.suffix in wanted:
                yield path


def modules(root: Path, folders: Iterable[str]) -> Iterator[tuple[str, ast.Module]]:
    """Python files as (path below the root, syntax tree)."""
    for path in files(root, folders, (".py",)):
        yield path.relative_to(root).as_posix(), ast.parse(path.read_text())
