"""`parked list|retry`: events that could not be handled."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from config.commands.output import Json, perform, show, table, words


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(help="Events that could not be handled and wait for a person.", rich_markup_mode=None)
    group.command("list")(list_all)
    group.command("retry")(retry)
    app.add_typer(group, name="parked")


def list_all(
    after: Annotated[str, typer.Option(help="Those after this event.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many at most.")] = 100,
    json: Json = False,
) -> None:
    """List them, oldest first."""
    result = perform("parked.list", {"after": after, "limit": limit})

    def lines() -> list[str]:
        rows = [
            [one["id"], _when(one["received_at"]), one["what"], str(one["attempts"]), one["problem"]]
            for one in result["parked"]
        ]
        return table(rows) or [words("Non c'è nulla da parte.", "Nothing is parked.")]

    show(result, json, lines)


def retry(
    events: Annotated[list[str] | None, typer.Argument(help="Their ids; none: all.")] = None,
    json: Json = False,
) -> None:
    """Have them handled again."""
    result = perform("parked.retry", {"events": events or []})
    opened = result["opened"]
    show(result, json, lambda: [words(f"Riprovati: {opened}", f"Tried again: {opened}")])


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
