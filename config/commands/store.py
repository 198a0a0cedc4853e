"""`migrate` and `doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from config.commands.output import Json, perform, say, show, table, words


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("migrate")(migrate)
    app.command("doctor")(doctor)


def migrate(json: Json = False) -> None:
    """Bring the database's schema up to date; `serve` does it by itself."""
    from config import serving
    from config.settings import load_settings, secret_key
    from storage import schema

    settings = load_settings()
    secret_key(settings)  # before the database: without it the next start would look for a lost one
    done = serving.run(schema.migrate(settings.store_url))
    result = {
        "before": done.before,
        "after": done.after,
        "changed": done.before != done.after,
        "backup": str(done.backup) if done.backup else None,
    }

    def lines() -> list[str]:
        if done.before == done.after:
            return [words(f"Lo schema è già {done.after}.", f"The schema is {done.after} already.")]
        told = [words(f"Lo schema ora è {done.after}.", f"The schema is {done.after} now.")]
        if done.backup:
            told.append(words(f"Copia di prima: {done.backup}", f"A copy from before: {done.backup}"))
        return told

    show(result, json, lines)


def doctor(
    platforms: Annotated[
        bool, typer.Option("--platforms", help="Also ask every platform whether it knows us.")
    ] = False,
    json: Json = False,
) -> None:
    """Look at the installation and say what to mend."""
    result = perform("doctor", {"platforms": platforms})
    marks = {"good": "ok", "warning": "!", "bad": "!!"}
    show(
        result,
        json,
        lambda: table([[marks[p["state"]], p["name"], say(p["what"])] for p in result["points"]]),
    )
    if not result["well"]:
        raise typer.Exit(1)
