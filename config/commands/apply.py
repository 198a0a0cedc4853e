"""`apply`: makes the installation what a business file says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from config.commands.output import Json, perform, show, words


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("apply")(apply)


def apply(
    file: Annotated[Path, typer.Argument(help="A business file such as config/business.example.yaml.")],
    json: Json = False,
) -> None:
    """Make the installation what a business file says. Applying it twice changes nothing."""
    import msgspec

    from config import business
    from config.sentences import language, say
    from config.settings import environment

    found = business.read(file, environment())
    result = perform("apply", {"business": msgspec.to_builtins(found), "language": language()})
    unchanged = words("Era già tutto così.", "Everything was so already.")
    show(result, json, lambda: [say(change) for change in result["changes"]] or [unchanged])
