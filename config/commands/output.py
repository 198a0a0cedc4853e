"""What commands share: asking for an operation, showing progress, printing results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from config.sentences import say

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

_shown = 0  # characters of the progress line


def perform(command: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Has an operation done, by the running server or directly."""
    from config import serving
    from config.settings import load_settings

    try:
        return serving.run(serving.perform(load_settings(), command, arguments, progress))
    finally:
        end_progress()


def progress(done: int, total: int, what: str) -> None:
    """Long work shows how far it is, on a terminal only."""
    global _shown
    if sys.stderr.isatty():
        line = f"{done}/{total} {what}" if total else f"{done} {what}"
        print("\r" + line.ljust(_shown), end="", file=sys.stderr, flush=True)
        _shown = len(line)


def end_progress() -> None:
    """Clears the progress line."""
    global _shown
    if _shown:
        print("\r" + " " * _shown, end="\r", file=sys.stderr, flush=True)
        _shown = 0


def show(result: Mapping[str, Any], as_json: bool, lines: Callable[[], list[str]]) -> None:
    """Prints a result: as one JSON document, or as lines for people."""
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        for line in lines():
            print(line)


def table(rows: list[list[str]]) -> list[str]:
    """Rows as columns of equal width."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))] if rows else []
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def pairs(result: Mapping[str, Any]) -> list[str]:
    """`key  value` lines."""
    return table([[str(key), str(value)] for key, value in result.items()])


def words(italian: str, english: str) -> str:
    """One of two texts, in the person's language."""
    from config.sentences import language

    return italian if language() == "it" else english


__all__ = ["Json", "end_progress", "pairs", "perform", "progress", "say", "show", "table", "words"]
