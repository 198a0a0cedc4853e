"""Walking a definition whose shape is not certain yet: what is not of the expected type is passed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Flow = dict[str, Any]


def objects(data: Any, key: str) -> list[dict[str, Any]]:
    """The objects in a list that should be at `key`."""
    found = data.get(key) if isinstance(data, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def items(data: Any, key: str) -> list[Any]:
    """The list that should be at `key`."""
    found = data.get(key) if isinstance(data, dict) else None
    return found if isinstance(found, list) else []


def object_at(data: Any, key: str) -> dict[str, Any] | None:
    """The object that should be at `key`."""
    found = data.get(key) if isinstance(data, dict) else None
    return found if isinstance(found, dict) else None


def text(data: Any, key: str) -> str:
    """The text that should be at `key`; empty when it is none."""
    found = data.get(key) if isinstance(data, dict) else None
    return found if isinstance(found, str) else ""


def nodes(flow: Flow) -> list[dict[str, Any]]:
    return objects(flow, "nodes")


def actions(flow: Flow, *types: str) -> Iterator[dict[str, Any]]:
    """Every action, or those of some types."""
    for node in nodes(flow):
        for action in objects(node, "actions"):
            if not types or text(action, "type") in types:
                yield action


def routers(flow: Flow) -> Iterator[dict[str, Any]]:
    """Every router."""
    for node in nodes(flow):
        router = object_at(node, "router")
        if router is not None:
            yield router


def split_on(flow: Flow, *types: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Nodes that do one action of these types and then split: (the action, the switch router)."""
    for node in nodes(flow):
        found, router = objects(node, "actions"), object_at(node, "router")
        if (
            len(found) == 1
            and text(found[0], "type") in types
            and router
            and text(router, "type") == "switch"
        ):
            yield found[0], router


def translations(flow: Flow) -> Iterator[dict[str, Any]]:
    """For each language its `{item's uuid: {property: [texts]}}`."""
    localization = object_at(flow, "localization") or {}
    for language in localization.values():
        if isinstance(language, dict):
            yield language


# Which parts of actions and routers hold templates; the paths are keys, `*` stands for every entry.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "add_contact_groups": ("groups.*.name_match",),
    "add_contact_urn": ("path",),
    "add_input_labels": ("labels.*.name_match",),
    "call_classifier": ("input",),
    "call_llm": ("input", "instructions"),
    "call_webhook": ("body", "headers.*", "url"),
    "open_ticket": ("assignee.email_match", "body", "note"),
    "play_audio": ("audio_url",),
    "remove_contact_groups": ("groups.*.name_match",),
    "say_msg": ("text",),
    "send_broadcast": (
        "attachments.*",
        "contact_query",
        "groups.*.name_match",
        "legacy_vars.*",
        "quick_replies.*",
        "text",
    ),
    "send_email": ("addresses.*", "body", "subject"),
    "send_msg": (
        "attachments.*",
        "quick_replies.*",
        "template_variables.*",
        "text",
        "templating.variables.*",
        "templating.components.*.params.*",
    ),
    "set_contact_field": ("value",),
    "set_contact_language": ("language",),
    "set_contact_name": ("name",),
    "set_contact_timezone": ("timezone",),
    "set_run_local": ("value",),
    "set_run_result": ("value",),
    "start_session": ("contact_query", "groups.*.name_match", "legacy_vars.*"),
}
_ROUTER = ("operand", "cases.*.arguments.*")


def rewrite_templates(flow: Flow, change: Callable[[str], str]) -> None:
    """Changes every template of a definition, translations included, in place."""
    for action in actions(flow):
        for path in TEMPLATES.get(text(action, "type"), ()):
            _change(action, path.split("."), change)
    for router in routers(flow):
        for path in _ROUTER:
            _change(router, path.split("."), change)
    for language in translations(flow):
        for item in language.values():
            _change(item, ["*", "*"], change)


def _change(data: Any, path: list[str], change: Callable[[str], str]) -> None:
    first, *rest = path
    if isinstance(data, list):
        keys: list[Any] = list(range(len(data))) if first == "*" else []
    elif isinstance(data, dict):
        keys = list(data) if first == "*" else [first] if first in data else []
    else:
        return
    for key in keys:
        if rest:
            _change(data[key], rest, change)
        elif isinstance(data[key], str):
            data[key] = change(data[key])
