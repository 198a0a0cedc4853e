"""`user add` and `apikey add`."""

from __future__ import annotations

from typing import Annotated

import typer

from config.commands.output import Json, pairs, perform, show


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    users = typer.Typer(help="The people who use the console.", rich_markup_mode=None)
    users.callback()(_users)
    users.command("add")(add_user)
    app.add_typer(users, name="user")
    keys = typer.Typer(help="The programs that use the API.", rich_markup_mode=None)
    keys.callback()(_keys)
    keys.command("add")(add_key)
    app.add_typer(keys, name="apikey")


def _users() -> None:
    """The people who use the console."""


def _keys() -> None:
    """The programs that use the API."""


def add_user(
    email: Annotated[str, typer.Option(help="The e-mail address.")],
    role: Annotated[str, typer.Option(help="owner, admin, marketer, agent or viewer.")],
    json: Json = False,
) -> None:
    """Add a team member; prints a link for the first sign-in."""
    result = perform("user.add", {"email": email, "role": role})
    show(result, json, lambda: pairs(result))


def add_key(
    name: Annotated[str, typer.Option(help="What it is for.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="contacts:read, campaigns:write, …; none: everything.")
    ] = None,
    json: Json = False,
) -> None:
    """Add an API key; it is shown only now."""
    result = perform("apikey.add", {"name": name, "scopes": scope or []})
    show(result, json, lambda: pairs(result))
