"""`demo`: the demo town."""

from __future__ import annotations

import typer

from config.starting import begin_to_serve


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("demo")(demo)


def demo() -> None:
    """Start everything with the demo town: simulated phones and a shop to play with. Nothing leaves this machine."""
    begin_to_serve()
    from config import demo, serving
    from config.settings import load_settings

    raise typer.Exit(serving.run(demo.run(load_settings())))
