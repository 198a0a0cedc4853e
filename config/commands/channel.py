"""`channel add|list|test`. The options of `add` come from each kind's own settings."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from config.commands.output import Json, pairs, perform, show, table, words


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    from bot.channels.base import registry

    group = typer.Typer(help="Connected bots and numbers.", rich_markup_mode=None)
    adding = typer.Typer(help="Connect a bot or a number; the platform is not called.", rich_markup_mode=None)
    for kind, channel in registry().items():
        adding.command(kind, help=channel.label["en"])(_add(kind, channel.config))
    group.add_typer(adding, name="add")
    group.command("list")(list_all)
    group.command("test")(ask)
    app.add_typer(group, name="channel")


def _add(kind: str, model: Any) -> Any:
    """The command that adds a channel of a kind: an option for each setting."""

    def add(**given: Any) -> None:
        as_json, name, mode = given.pop("json"), given.pop("name"), given.pop("mode", None) or ""
        values = {key: str(value) for key, value in given.items() if value is not None}
        result = perform("channel.add", {"kind": kind, "name": name, "values": values, "mode": mode})
        show(result, as_json, lambda: pairs(result))

    options = [_option("name", ..., "How you call it."), _option("mode", None, "webhook or polling.")]
    for name, field in model.model_fields.items():
        if name != "mode":
            told = field.description or field.title or ""
            options.append(_option(name, ... if field.is_required() else None, told))
    options.append(inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json))
    add.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    add.__annotations__ = {option.name: option.annotation for option in options}
    return add


def _option(name: str, default: Any, told: str) -> inspect.Parameter:
    form: Any = str | None if default is None else str
    option: Any = Annotated[form, typer.Option("--" + name.replace("_", "-"), help=told)]
    empty = inspect.Parameter.empty if default is ... else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=empty, annotation=option)


def list_all(json: Json = False) -> None:
    """List the channels."""
    result = perform("channel.list", {})

    def lines() -> list[str]:
        rows = [
            [c["id"], c["kind"], c["name"], c["mode"], c["state"], c["state_reason"]]
            for c in result["channels"]
        ]
        return table(rows) or [words("Non ci sono ancora canali.", "There are no channels yet.")]

    show(result, json, lines)


def ask(
    channel: Annotated[str, typer.Argument(help="Its id or name.")],
    json: Json = False,
) -> None:
    """Ask the platform whether it knows us."""
    result = perform("channel.test", {"channel": channel})

    def lines() -> list[str]:
        account = result["account"]
        told = [
            words("La piattaforma ci conosce: ", "The platform knows us: ")
            + f"{account['name']} {account['username']}".strip()
        ]
        if "webhook" in result:
            told += _deliveries(result["webhook"])
        return told

    show(result, json, lines)


def _deliveries(webhook: Mapping[str, Any]) -> list[str]:
    """How the platform's deliveries fare, in sentences."""
    url, ours = webhook["url"], webhook["expected_url"]
    if webhook["registered"]:
        told = [words(f"Le consegne arrivano a {url}", f"Deliveries go to {url}")]
    elif url:
        told = [words(f"Le consegne vanno a {url}, non a {ours}", f"Deliveries go to {url}, not to {ours}")]
    else:
        told = [words(f"Le consegne non arrivano ancora a {ours}", f"Deliveries do not go to {ours} yet")]
    if webhook["last_error"]:
        told.append(
            words("In attesa: {}; ultimo errore: {}", "Waiting: {}; the last error: {}").format(
                webhook["pending"], webhook["last_error"]
            )
        )
    return told
