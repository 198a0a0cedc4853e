"""13.0 → 13.6.1."""

from __future__ import annotations

import uuid

from flows.importers.rapidpro import templates
from flows.importers.rapidpro.migrations import Flow, to
from flows.importers.rapidpro.migrations.shapes import (
    actions,
    items,
    object_at,
    objects,
    rewrite_templates,
    routers,
    text,
    translations,
)

MAX_RESULT_NAME, MAX_CATEGORY_NAME, MAX_RESULT_KEY = 64, 36, 64


def derived(seed: str) -> str:
    """An id that the source lacks, the same each time it is read."""
    name = f"rapidpro:{seed}".encode(errors="backslashreplace")  # a file may hold halves of characters
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name.decode()))


@to("13.1.0")
def templating_has_an_id(flow: Flow) -> Flow:
    """The message template of an action becomes an item that can be translated."""
    for action in actions(flow, "send_msg"):
        templating = object_at(action, "templating")
        if templating is not None:
            templating["uuid"] = derived(f"{text(action, 'uuid')}:templating")
    return flow


@to("13.2.0")
def base_is_undetermined(flow: Flow) -> Flow:
    """The language `base` is `und`, the standard's word for texts in no known language."""
    if len(text(flow, "language")) != 3:
        flow["language"] = "und"
        localization = object_at(flow, "localization")
        if localization is not None:
            localization.pop("und", None)
    return flow


@to("13.3.0")
def webhook_is_an_object(flow: Flow) -> Flow:
    """`@webhook`, the body of the last answer, is now its part `json`, beside `status` and `headers`."""

    def path(found: str) -> str:
        root, dot, rest = found.partition(".")
        return f"@{root}.json{dot}{rest}"

    def expression(inside: str) -> str:
        changed = templates.references(
            inside, lambda name, _: "webhook.json" if name.lower() == "webhook" else None
        )
        return f"@({changed})"

    rewrite_templates(
        flow,
        lambda template: templates.rewritten(template, {"webhook"}, path=path, expression=expression),
    )
    return flow


@to("13.4.0")
def templating_has_components(flow: Flow) -> Flow:
    """The variables of a message template belong to its parts, of which the body was the only one."""
    for action in actions(flow, "send_msg"):
        templating = object_at(action, "templating")
        if templating is None:
            continue
        old, body = text(templating, "uuid"), derived(f"{text(action, 'uuid')}:body")
        variables = templating.pop("variables", None)
        templating.pop("uuid", None)
        templating["components"] = [{"uuid": body, "name": "body", "params": variables or []}]
        for language in translations(flow):
            item = object_at(language, old)
            if item is not None and "variables" in item:
                language.setdefault(body, {})["params"] = item.pop("variables")
    return flow


@to("13.5.0")
def templating_is_flat(flow: Flow) -> Flow:
    """A message template and the variables of all its parts in one list."""
    for action in actions(flow, "send_msg"):
        templating = object_at(action, "templating")
        if templating is None:
            continue
        components = objects(templating, "components")
        action["template"] = templating.get("template")
        action["template_variables"] = [one for part in components for one in items(part, "params")]
        del action["templating"]
        for language in translations(flow):
            said = [(object_at(language, text(part, "uuid")) or {}).get("params") for part in components]
            if any(isinstance(params, list) for params in said):
                own = [
                    one
                    for part, params in zip(components, said, strict=True)
                    for one in (params if isinstance(params, list) else items(part, "params"))
                ]
                language.setdefault(text(action, "uuid"), {})["template_variables"] = own
                for part in components:
                    (object_at(language, text(part, "uuid")) or {}).pop("params", None)
    return flow


@to("13.6.0")
def names_are_short(flow: Flow) -> Flow:
    """Names of results have at most 64 characters, those of categories 36."""
    for action in actions(flow, "set_run_result"):
        _shorten(action, "name", MAX_RESULT_NAME)
        _shorten(action, "category", MAX_CATEGORY_NAME)
    for router in routers(flow):
        _shorten(router, "result_name", MAX_RESULT_NAME)
        for category in objects(router, "categories"):
            _shorten(category, "name", MAX_CATEGORY_NAME)
    return flow


def _shorten(data: Flow, key: str, most: int) -> None:
    name = text(data, key)
    if len(name) > most:
        data[key] = name[:most].strip()


@to("13.6.1")
def lookups_are_short(flow: Flow) -> Flow:
    """`@results.…` reads results by the keys that the shortened names have."""

    def short(key: str) -> str:
        return key[:MAX_RESULT_KEY].rstrip("_") if len(key) > MAX_RESULT_KEY else key

    def path(found: str) -> str:
        return "@" + ".".join(
            short(part) if number == 1 else part for number, part in enumerate(found.split("."))
        )

    def expression(inside: str) -> str:
        pieces: list[str] = []
        rest = inside

        def change(name: str, behind: str) -> str | None:
            if name.lower() == "results" and len(behind) > MAX_RESULT_KEY:
                pieces.append(behind)
            return None

        templates.references(inside, change)
        for long in pieces:
            rest = rest.replace(long, short(long))
        return f"@({rest})"

    rewrite_templates(
        flow,
        lambda template: templates.rewritten(template, {"results"}, path=path, expression=expression),
    )
    return flow
