"""RapidPro and TextIt: exports and single definitions, of the specifications 11.x to 14.x.

A file is read (`sources`), each definition brought to the latest specification (`migrations`, one numbered step a
version), checked (`definitions`) and turned into a document of ours (`conversion`, `actions`, `routers`, `triggers`).
Flows behave as there: the same messages, categories, results and ways, in the language of the contact. Expressions
stay as their authors wrote them; the documents say `expressions: excellent`.

What is written here follows RapidPro's public documentation and the shapes of its exports; no code is taken from it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flows.document import MAX_PLACEHOLDERS, MAX_STEPS
from flows.importers import Imported, ImportedFlow, Unsupported, importer
from flows.importers.documents import Names, slug, written
from flows.importers.rapidpro.conversion import Flow, Surroundings
from flows.importers.rapidpro.definitions import Definition, definition
from flows.importers.rapidpro.migrations import Version, legacy, migrated, parsed
from flows.importers.rapidpro.names import rename_results
from flows.importers.rapidpro.triggers import MAX_TRIGGERS, triggers
from flows.importers.sources import Item, parse, refused
from flows.yaml_reader import MAX_SIZE

MAX_FLOWS = 500  # of a file
NEWEST = 14  # the major version whose shapes are known
ELSEWHERE = ("campaigns",)  # parts of an export that are no flows and are not carried


@importer("rapidpro")
def read(text: str) -> Imported:
    """The flows of an export; see `flows.importers.read`."""
    data = parse(text)
    unsupported: list[Unsupported] = []
    newest = [(_newest(*each), each[1]) for each in _found(data)]
    if not newest:
        raise refused("file", "holds no flow")
    rename_results(flow for flow, _ in newest)
    definitions = [definition(flow, where) for flow, where in newest]
    around = _surroundings(definitions, data)
    started = _triggers(data, around, unsupported)
    flows = []
    for each in definitions:
        flow = Flow(each, around)
        document = flow.convert(started.get(each.uuid, []))
        unsupported.extend(flow.unsupported)
        flows.append(ImportedFlow(around.keys[each.uuid], _written(each, document, flow.unsupported)))
    unsupported.extend(_other_parts(data))
    return Imported(flows, list(dict.fromkeys(unsupported)))


def _found(data: Any) -> list[tuple[dict[str, Any], str, Any]]:
    """Each definition of a file, its path, and the version that the file says: of an export, a list, or one flow."""
    if isinstance(data, list):
        flows, root, version = data, "", None
    elif isinstance(data, dict) and "flows" in data:
        flows, root, version = Item(data, "").entries("flows"), "flows", data.get("version")
    else:
        return [(_unwrapped(data, "flow"), "flow", None)]
    if len(flows) > MAX_FLOWS:
        raise refused(root or "file", f"holds {len(flows)} flows; at most {MAX_FLOWS}")
    paths = [f"{root}[{number}]" for number in range(len(flows))]
    return [(_unwrapped(flow, path), path, version) for flow, path in zip(flows, paths, strict=True)]


def _unwrapped(data: Any, where: str) -> dict[str, Any]:
    """A definition; older exports have it in `definition`, its name and expiry beside it."""
    item = Item(data, where)
    inner = item.object("definition")
    if inner is None:
        return item.data
    metadata = inner.data.get("metadata")
    beside = {key: item.data[key] for key in ("uuid", "name", "expires") if item.data.get(key) is not None}
    return {
        "flow_type": item.data.get("flow_type"),
        "version": item.data.get("version"),
        **inner.data,
        "metadata": {**beside, **(metadata if isinstance(metadata, dict) else {})},
    }


def _newest(data: dict[str, Any], where: str, exported: Any) -> dict[str, Any]:
    """A definition in the latest form."""
    if legacy.is_legacy(data):
        version = _version(data.get("version"), f"{where}.version", (11, 12, 0))
        if version[0] > 12:
            raise refused(f"{where}.version", "has action sets or rule sets, which 13 and later do not")
        return migrated(legacy.to_13(data, where), (13, 0, 0))
    if "nodes" not in data:
        raise refused(where, "is no flow definition: it has neither nodes nor action_sets")
    of_file = max(_version(exported, "version", (13, 0, 0)), (13, 0, 0))
    version = _version(data.get("spec_version"), f"{where}.spec_version", of_file)
    if version[0] < 12:  # 12.x was an early 13.0
        raise refused(f"{where}.spec_version", "has nodes, which versions before 12 do not")
    if version[0] > NEWEST:
        raise refused(f"{where}.spec_version", f"is newer than {NEWEST}.x, the newest that can be read")
    return migrated(data, version)


def _version(given: Any, where: str, default: Version) -> Version:
    return default if given is None or given == "" else parsed(given, where)


def _surroundings(definitions: list[Definition], data: Any) -> Surroundings:
    names = Names()
    keys: dict[str, str] = {}
    for each in definitions:
        if each.uuid in keys:
            raise refused("flows", f"two flows have the uuid {each.uuid}")
        keys[each.uuid] = names.take(slug(each.name) or slug(each.uuid) or "flow")
    named = {each.name: each.uuid for each in reversed(definitions)}
    around = Surroundings(keys, named, frozenset(), _smart_groups(data), _groups(definitions, data))
    called = {
        around.flow(action.item.object("flow")) or ""
        for each in definitions
        for node in each.nodes
        for action in node.actions
        if action.type == "enter_flow" and not action.item.flag("terminal")
    }
    return replace(around, called=frozenset(called))


def _smart_groups(data: Any) -> dict[str, str]:
    """Groups of the file that a query fills, by uuid and by name."""
    found: dict[str, str] = {}
    if isinstance(data, dict) and "flows" in data:
        for group in Item(data, "").objects("groups"):
            if group.text("query", ""):
                uuid, name = group.text("uuid", ""), group.text("name", "")
                found |= {each: uuid or name for each in (uuid, name) if each}
    return found


def _groups(definitions: list[Definition], data: Any) -> dict[str, str]:
    """The names of groups by their uuid: as the file lists them, else as some action or test calls them."""
    found: dict[str, str] = {}
    listed = Item(data, "").objects("groups") if isinstance(data, dict) and "flows" in data else []
    for each in definitions:
        for node in each.nodes:
            for action in node.actions:
                if action.type in ("add_contact_groups", "remove_contact_groups"):
                    listed += action.item.objects("groups", 100)
            for case in node.router.cases if node.router is not None else ():
                if case.type == "has_group" and len(case.arguments) > 1:
                    listed.append(Item(dict(zip(("uuid", "name"), case.arguments, strict=False)), case.place))
    for group in listed:
        uuid, name = group.text("uuid", ""), group.text("name", "")
        if uuid and name:
            found.setdefault(uuid, name)
    return found


def _triggers(
    data: Any, around: Surroundings, unsupported: list[Unsupported]
) -> dict[str, list[dict[str, Any]]]:
    if not isinstance(data, dict) or "flows" not in data:
        return {}
    return triggers(Item(data, "").objects("triggers", MAX_TRIGGERS), around, unsupported)


def _other_parts(data: Any) -> list[Unsupported]:
    """Campaigns of the file: what they send on days around a date is set up here as campaigns."""
    if not isinstance(data, dict) or "flows" not in data:
        return []
    why = "messages around a date of the contact are campaigns with an audience here"
    return [
        Unsupported("campaign", item.text("uuid", "") or item.text("name", "") or item.where, why)
        for item in Item(data, "").objects("campaigns")
    ]


def _written(each: Definition, document: dict[str, Any], unsupported: list[Unsupported]) -> str:
    heading = [f"Imported from RapidPro: {each.name} ({each.uuid})."]
    heading += [f"Note: {note}" for note in each.notes]
    heading += [f"Not carried over: {one.what} ({one.where}): {one.why}." for one in unsupported[:50]]
    if len(document["steps"]) > MAX_STEPS:
        raise refused(
            each.name, f"becomes {len(document['steps'])} steps; a flow has at most {MAX_STEPS}: divide it"
        )
    text = written(document, heading)
    if len(text) > MAX_SIZE:
        raise refused(each.name, f"becomes {len(text)} characters; a flow has at most {MAX_SIZE}: divide it")
    expressions = sum(text.count(mark) for mark in ("@(", "{{", "{%"))
    if expressions > MAX_PLACEHOLDERS:
        raise refused(
            each.name, f"holds {expressions} expressions; a flow has at most {MAX_PLACEHOLDERS}: divide it"
        )
    return text
