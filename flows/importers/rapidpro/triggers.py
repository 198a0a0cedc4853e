"""Triggers of an export: which flow each starts, as a trigger of ours in that flow's document."""

from __future__ import annotations

from typing import Any

from flows.importers import Unsupported
from flows.importers.documents import Line, Row
from flows.importers.rapidpro.conversion import Surroundings
from flows.importers.sources import Item
from flows.options import plain

MAX_TRIGGERS = 1_000  # of a file
MAX_A_FLOW = 50
MAX_KEYWORDS = 100

_NAMES = {
    "S": "a schedule names groups and a first date; a schedule trigger with a condition does this here",
    "R": "an advertisement is named by its platform's id; a referral trigger does this here",
    "T": "there are no tickets that close",
    "V": "calls are not taken",
    "M": "calls are not taken",
    "I": "consent is heard by the triggers consent_given and consent_withdrawn",
    "O": "consent is heard by the triggers consent_given and consent_withdrawn",
}


def triggers(
    items: list[Item], around: Surroundings, unsupported: list[Unsupported]
) -> dict[str, list[dict[str, Any]]]:
    """Our triggers by the uuid of the flow that they start. What is not carried is added to `unsupported`."""
    found: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        kind = item.text("trigger_type", "") or item.text("type", "")
        where = item.text("uuid", "") or item.where
        uuid = around.flow(item.object("flow"))
        if uuid is None:
            unsupported.append(Unsupported(f"trigger {kind}", where, "its flow is not in this file"))
            continue
        made = _made(kind, item)
        if made is None or len(found.get(uuid, ())) >= MAX_A_FLOW:
            why = (
                _NAMES.get(kind, "there is no such trigger")
                if made is None
                else "a flow has at most 50 triggers"
            )
            unsupported.append(Unsupported(f"trigger {kind}", where, why))
            continue
        if item.entries("groups") or item.entries("exclude_groups"):
            why = "it starts the flow for everybody, not for some groups; begin the flow with a branch on the tag"
            unsupported.append(Unsupported(f"trigger {kind}", where, why))
        if item.data.get("channel"):
            unsupported.append(
                Unsupported(f"trigger {kind}", where, "flows are given to channels when they are published")
            )
        found.setdefault(uuid, []).append(made)
    return found


def _made(kind: str, item: Item) -> dict[str, Any] | None:
    match kind:
        case "K":
            single = item.text("keyword", "")
            words = [word for word in [*item.texts("keywords", MAX_KEYWORDS), single] if plain(word)]
            if not words:
                return None
            first_word = item.text("match_type", "F") != "O"
            return Line(
                keyword=Row(dict.fromkeys(words)), match="prefix" if first_word else "exact", interrupts=True
            )
        case "C":
            return Line(fallback=True)
        case "N":
            return Line(first_message=True)
    return None
