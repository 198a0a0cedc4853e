"""`serve`: runs the server."""

from __future__ import annotations

from typing import Annotated

import typer

from config.starting import begin_to_serve


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("serve")(serve)


def serve(
    roles: Annotated[
        str, typer.Option(help="all, or some of web, worker, sender, scheduler, joined by commas.")
    ] = "all",
) -> None:
    """Serve until a signal comes."""
    begin_to_serve()
    from bot.live import ROLES
    from config import serving
    from config.settings import load_settings
    from domain.errors import RejectedInput

    chosen = list(ROLES) if roles == "all" else [role.strip() for role in roles.split(",")]
    if unknown := [role for role in chosen if role not in ROLES]:
        raise RejectedInput(f"must be one of all, {', '.join(ROLES)}", where=f"--roles {unknown[0]}")
    raise typer.Exit(serving.run(serving.serve(load_settings(), chosen)))
