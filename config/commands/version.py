"""`version`."""

from __future__ import annotations

import platform
from importlib import metadata

import typer

from config.commands.output import Json, show


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("version")(version)


def version(json: Json = False) -> None:
    """Which Passaparola, schema and Python this is."""
    from storage import schema

    result = {
        "version": metadata.version("passaparola"),
        "schema": schema.head(),
        "python": platform.python_version(),
    }
    show(
        result,
        json,
        lambda: [f"passaparola {result['version']} (schema {result['schema']}, Python {result['python']})"],
    )
