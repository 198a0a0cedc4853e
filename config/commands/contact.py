"""`contact erase`."""

from __future__ import annotations

from typing import Annotated

import typer

from config.commands.output import Json, perform, show, words


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(help="People.", rich_markup_mode=None)
    group.callback()(_group)
    group.command("erase")(erase)
    app.add_typer(group, name="contact")


def _group() -> None:
    """People."""


def erase(
    contact: Annotated[str, typer.Argument(help="The contact's id: con_…")],
    json: Json = False,
) -> None:
    """Delete everything about a person, as /forget does; it cannot be undone."""
    result = perform("contact.erase", {"contact": contact})
    show(result, json, lambda: [words(f"Cancellato: {result['contact']}", f"Erased: {result['contact']}")])
