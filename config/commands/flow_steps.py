"""`flow steps`: how people get through a flow."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from config.commands.flow_versions import Key
from config.commands.output import Json, perform, show, table, words

MINUTE, HOUR, DAY = 60, 3_600, 86_400


def steps(
    key: Key,
    version: Annotated[
        int, typer.Option(help="The version, by its number; the published one if left out.")
    ] = 0,
    days: Annotated[int, typer.Option(help="Today and so many days before it.")] = 30,
    json: Json = False,
) -> None:
    """How many people came to each step, answered, gave up, and how long they took."""
    result = perform("flow.steps", {"flow": key, "number": version, "days": days})
    show(result, json, lambda: _lines(result))


def _lines(result: dict[str, Any]) -> list[str]:
    head = [
        words("passo", "step"),
        words("arrivi", "entered"),
        words("risposte", "answered"),
        words("non valide", "invalid"),
        words("saltate", "skipped"),
        words("scadute", "timed out"),
        words("abbandoni", "left"),
        words("tempo", "time"),
    ]
    rows = [
        [
            one["step_id"],
            *(str(one[what]) for what in ("entered", "answered", "invalid", "skipped", "timeout", "left")),
            _span(one["median_s"]),
        ]
        for one in result["steps"]
    ]
    return [
        f"{result['flow']}, {words('versione', 'version')} {result['version']}",
        f"{words('inizi', 'starts')}: {_counts(result['starts'])}",
        f"{words('esiti', 'ends')}: {_counts(result['ends'])}",
        *(table([head, *rows]) if rows else []),
    ]


def _counts(found: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in found.items()) or "0"


def _span(seconds: float | None) -> str:
    """A time as people say it: 45 s, 3 min, 2 h, 4 d."""
    if seconds is None:
        return "-"
    for unit, name in ((DAY, words("g", "d")), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
