"""`secret set|list|remove`: values that flows use by their names. A value never stands on the command line: it would be
in the shell's history and in the list of processes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from config.commands.output import Json, pairs, perform, show, table, words

MAX_READ = 10_000  # characters read from standard input: more than any value


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(help="Keys that flows use for services, by name.", rich_markup_mode=None)
    group.command("set")(set_secret)
    group.command("list")(list_secrets)
    group.command("remove")(remove)
    app.add_typer(group, name="secret")


def set_secret(
    name: Annotated[str, typer.Argument(help="Small letters, figures and _, as flows write it.")],
    from_env: Annotated[
        str,
        typer.Option("--from-env", help="The environment variable that holds the value; else it is read."),
    ] = "",
    json: Json = False,
) -> None:
    """Set a secret. The value is read from standard input, or asked for without showing it."""
    result = perform("secret.set", {"name": name, "value": _value(from_env)})
    show(result, json, lambda: pairs({"name": result["name"]}))


def list_secrets(json: Json = False) -> None:
    """The names of all secrets."""
    result = perform("secret.list", {})

    def lines() -> list[str]:
        return table([[one["name"], one["by"]] for one in result["secrets"]]) or [
            words("Non ci sono segreti.", "There are no secrets.")
        ]

    show(result, json, lines)


def remove(name: Annotated[str, typer.Argument(help="The secret's name.")], json: Json = False) -> None:
    """Take a secret away."""
    result = perform("secret.remove", {"name": name})
    show(result, json, lambda: pairs({"name": result["name"]}))


def _value(variable: str) -> str:
    from config.settings import environment
    from domain.errors import RejectedInput

    if variable:
        value = environment().get(variable)
        if not value:
            raise RejectedInput("is not set, or empty", where=variable)
        return value
    if sys.stdin.isatty():
        return str(typer.prompt(words("Valore", "Value"), hide_input=True))
    return sys.stdin.read(MAX_READ).strip()
