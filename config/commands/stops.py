"""`stop` and `resume`: the stop button."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from config.commands.output import Json, perform, show, table, words

Channel = Annotated[str, typer.Option(help="Only this channel: its id or name.")]
Campaign = Annotated[str, typer.Option(help="Only this campaign: its id.")]
Installation = Annotated[bool, typer.Option("--installation", help="Every business of this installation.")]


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("stop")(stop)
    app.command("resume")(resume)


def stop(
    what: Annotated[str, typer.Option(help="marketing or everything.")] = "marketing",
    channel: Channel = "",
    campaign: Campaign = "",
    installation: Installation = False,
    json: Json = False,
) -> None:
    """Stop sending within a second; messages wait."""
    result = perform("stop", _arguments(channel, campaign, installation) | {"what": what})
    show(result, json, lambda: _lines(result))


def resume(
    channel: Channel = "",
    campaign: Campaign = "",
    installation: Installation = False,
    json: Json = False,
) -> None:
    """Let go of the stop button; what waits leaves."""
    result = perform("resume", _arguments(channel, campaign, installation))
    show(result, json, lambda: _lines(result))


def _arguments(channel: str, campaign: str, installation: bool) -> dict[str, Any]:
    if sum(map(bool, (channel, campaign, installation))) > 1:
        raise typer.BadParameter(
            words("uno solo tra canale, campagna e installazione", "one of channel, campaign, installation")
        )
    return {"channel": channel, "campaign": campaign, "installation": installation}


def _lines(result: dict[str, Any]) -> list[str]:
    rows = [[stop["scope"], stop["target"], stop["what"]] for stop in result["stops"]]
    return table(rows) or [words("Nessun pulsante di stop è premuto.", "No stop button is pressed.")]
