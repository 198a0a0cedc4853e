"""`campaign preview|start|pause|resume|status`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from config.commands.output import Json, pairs, perform, show, words

Campaign = Annotated[str, typer.Argument(help="The campaign's id: cam_…")]


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(help="Broadcasts.", rich_markup_mode=None)
    for name, told in (
        ("preview", "What would happen to everybody, if it began now; nothing is sent."),
        ("start", "Start a draft or a scheduled campaign."),
        ("pause", "Have nothing more of it leave."),
        ("resume", "Go on where it was paused."),
        ("status", "Where it stands."),
    ):
        group.command(name, help=told)(_command(f"campaign.{name}"))
    app.add_typer(group, name="campaign")


def _command(operation: str) -> Any:
    def command(campaign: Campaign, json: Json = False) -> None:
        result = perform(operation, {"campaign": campaign})
        show(result, json, lambda: _lines(result))

    return command


def _lines(result: dict[str, Any]) -> list[str]:
    """Every figure on its line; the progress of a run after its campaign."""
    progress = result.get("progress") or {}
    flat = {key: value for key, value in result.items() if key != "progress" and value not in ({}, None, "")}
    shown = {**flat, **{key: value for key, value in progress.items() if value not in ({}, None)}}
    return pairs({key: _flat(value) for key, value in shown.items()})


def _flat(value: Any) -> str:
    """`{"withdrawn": 2, "sent": {"x": 1}}` → `withdrawn 2, sent (x 1)`; true → yes."""
    if isinstance(value, bool):
        return words("sì", "yes") if value else "no"
    if not isinstance(value, dict):
        return str(value)
    parts = (
        f"{key} ({_flat(inner)})" if isinstance(inner, dict) else f"{key} {inner}"
        for key, inner in value.items()
    )
    return ", ".join(parts)
