"""A flow definition of the latest specification, read and checked once: what comes later meets no surprise.

```json
{"uuid": "…", "name": "Registration", "spec_version": "14.4.2", "language": "eng", "type": "messaging",
 "expire_after_minutes": 10080,
 "localization": {"spa": {"<uuid of an action, case or category>": {"text": ["Hola"]}}},
 "nodes": [{"uuid": "…", "actions": [{"uuid": "…", "type": "send_msg", "text": "Hi @contact.name"}],
            "router": {"type": "switch", "operand": "@input.text", "result_name": "Age",
                       "wait": {"type": "msg", "timeout": {"seconds": 300, "category_uuid": "…"}},
                       "cases": [{"uuid": "…", "type": "has_number", "arguments": [], "category_uuid": "…"}],
                       "categories": [{"uuid": "…", "name": "Has Number", "exit_uuid": "…"}],
                       "default_category_uuid": "…"},
            "exits": [{"uuid": "…", "destination_uuid": "…"}]}],
 "_ui": {"nodes": {"<uuid of a node>": {"position": {"left": 0, "top": 0}}}}}
```

References inside a definition (case → category → exit → node) are followed here; one that leads nowhere is refused
with its place, as RapidPro itself refuses to load such a flow. Actions keep their data: each is read by the function
that carries it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from domain.events import storable
from flows.importers.sources import Item, refused

MAX_NODES = 1_000  # RapidPro's own limit
MAX_ENTRIES = 500  # actions, cases, categories or exits of one node: RapidPro takes 100, older versions more
MAX_NAME = 128  # characters of a category
MAX_NOTES, MAX_NOTE = 50, 500  # notes that are kept, and characters of each
MAX_ID = 64  # characters of an id
MAX_LANGUAGES = 19  # besides the flow's own: a document of ours has twenty

Texts = Mapping[str, list[str]]  # property → texts


@dataclass(frozen=True, slots=True)
class Action:
    """`item` is the action's data; `named` and `place` are its type and id in the file, which older versions than 13
    call differently."""

    uuid: str
    type: str
    item: Item

    @property
    def named(self) -> str:
        return self.item.text("_type", self.type)

    @property
    def place(self) -> str:
        return self.item.text("_where", self.uuid)


@dataclass(frozen=True, slots=True)
class Category:
    """What an answer counts as, and where it leads: the uuid of a node, None for the end."""

    uuid: str
    name: str
    target: str | None


@dataclass(frozen=True, slots=True)
class Case:
    """One test of a switch router; `named` and `place` as with actions."""

    uuid: str
    type: str
    arguments: list[str]
    category: Category
    named: str
    place: str


@dataclass(frozen=True, slots=True)
class Wait:
    """`type` is msg or dial; `seconds` 0 means that nobody is waited for in vain."""

    type: str
    seconds: int
    timeout: Category | None
    hint: str


@dataclass(frozen=True, slots=True)
class Router:
    """`type` is switch or random; any other is nothing that RapidPro has today."""

    type: str
    operand: str
    cases: list[Case]
    categories: list[Category]
    default: Category | None
    wait: Wait | None
    result_name: str


@dataclass(frozen=True, slots=True)
class Node:
    """`target` is where a node without a router leads."""

    uuid: str
    actions: list[Action]
    router: Router | None
    target: str | None
    where: str


@dataclass(frozen=True, slots=True)
class Definition:
    """A flow. `translations` maps language → item's uuid → property → texts; `positions` node's uuid → (x, y)."""

    uuid: str
    name: str
    type: str
    language: str
    expires: int  # minutes; 0: never
    ignores_triggers: bool  # nobody inside is taken out by a keyword
    nodes: list[Node]
    translations: Mapping[str, Mapping[str, Texts]]
    positions: Mapping[str, tuple[float, float]]
    notes: list[str]  # what authors have stuck on the canvas


def definition(data: object, where: str) -> Definition:
    """The definition in plain data. Raises RejectedInput naming the first place that does not fit."""
    flow = Item(data, where)
    nodes = flow.objects("nodes", MAX_NODES)
    known = _ids(nodes)
    seen: dict[str, str] = {}
    kind = flow.text("type", "messaging") or "messaging"
    return Definition(
        uuid=_id(flow),
        name=flow.text("name", "").strip() or "Flow",
        type=kind,
        language=flow.text("language", "und") or "und",
        expires=int(flow.number("expire_after_minutes")),
        ignores_triggers=_ignores_triggers(flow),
        nodes=[_node(node, known, seen) for node in nodes],
        translations=_translations(flow),
        positions=_positions(flow),
        notes=_notes(flow),
    )


def _ignores_triggers(flow: Item) -> bool:
    metadata = flow.data.get("metadata")
    return flow.data.get("ignore_triggers") is True or (
        isinstance(metadata, dict) and metadata.get("ignore_triggers") is True
    )


def _id(item: Item, key: str = "uuid") -> str:
    found = item.text(key)
    if not 0 < len(found) <= MAX_ID or not found.isprintable():
        raise refused(item.at(key), f"must be an id of 1 to {MAX_ID} characters")
    return found


def _ids(items: list[Item]) -> set[str]:
    """The ids of items; two with the same one are refused."""
    ids: set[str] = set()
    for item in items:
        found = _id(item)
        if found in ids:
            raise refused(item.at("uuid"), f"{found} is there twice")
        ids.add(found)
    return ids


def _node(node: Item, known: set[str], seen: dict[str, str]) -> Node:
    exits = node.objects("exits", MAX_ENTRIES)
    _ids(exits)
    targets = {_id(exit): _target(exit, known) for exit in exits}
    actions = [_action(item, seen) for item in node.objects("actions", MAX_ENTRIES)]
    router = node.object("router")
    return Node(
        uuid=_id(node),
        actions=actions,
        router=_router(router, targets) if router is not None else None,
        target=next(iter(targets.values()), None),
        where=node.where,
    )


def _target(exit: Item, known: set[str]) -> str | None:
    target = exit.text("destination_uuid", "")
    if target and target not in known:
        raise refused(exit.at("destination_uuid"), f"there is no node {target}")
    return target or None


def _action(item: Item, seen: dict[str, str]) -> Action:
    uuid = _id(item)
    if uuid in seen:
        raise refused(item.at("uuid"), f"{uuid} is there twice, first at {seen[uuid]}")
    seen[uuid] = item.where
    kind = item.text("type")
    if not kind.isprintable() or not 0 < len(kind) <= MAX_ID:
        raise refused(item.at("type"), "must be the name of an action's type")
    return Action(uuid, kind, item)


def _router(item: Item, targets: Mapping[str, str | None]) -> Router:
    kind = item.text("type")
    if not kind.isprintable() or not 0 < len(kind) <= MAX_ID:
        raise refused(item.at("type"), "must be the name of a router's type")
    listed = item.objects("categories", MAX_ENTRIES)
    _ids(listed)
    categories = {_id(each): _category(each, targets) for each in listed}
    default = item.text("default_category_uuid", "")
    wait = item.object("wait")
    return Router(
        type=kind,
        operand=item.text("operand", ""),
        cases=[_case(case, categories) for case in item.objects("cases", MAX_ENTRIES)],
        categories=list(categories.values()),
        default=_known(item, "default_category_uuid", categories) if default else None,
        wait=_wait(wait, categories) if wait is not None else None,
        result_name=item.text("result_name", "").strip(),
    )


def _category(item: Item, targets: Mapping[str, str | None]) -> Category:
    exit = item.text("exit_uuid", "")
    if exit and exit not in targets:
        raise refused(item.at("exit_uuid"), f"there is no exit {exit} at this node")
    return Category(_id(item), item.text("name", "").strip()[:MAX_NAME] or "Match", targets.get(exit))


def _case(item: Item, categories: Mapping[str, Category]) -> Case:
    category = _known(item, "category_uuid", categories)
    arguments = item.texts("arguments", MAX_ENTRIES)
    uuid, kind = item.text("uuid", ""), item.text("type")
    place = item.text("_where", uuid) or item.where
    return Case(uuid, kind, arguments, category, item.text("_type", kind), place)


def _known(item: Item, key: str, categories: Mapping[str, Category]) -> Category:
    found = categories.get(item.text(key))
    if found is None:
        raise refused(item.at(key), f"there is no category {item.text(key)} at this router")
    return found


def _wait(item: Item, categories: Mapping[str, Category]) -> Wait:
    timeout, hint = item.object("timeout"), item.object("hint")
    seconds = int(timeout.number("seconds")) if timeout is not None else 0
    return Wait(
        type=item.text("type", "msg"),
        seconds=max(seconds, 0),
        timeout=_known(timeout, "category_uuid", categories) if timeout is not None and seconds > 0 else None,
        hint=hint.text("type", "") if hint is not None else "",
    )


def _translations(flow: Item) -> dict[str, dict[str, dict[str, list[str]]]]:
    localization = flow.object("localization")
    if localization is None:
        return {}
    if len(localization.data) > MAX_LANGUAGES:
        raise refused(localization.where, f"has {len(localization.data)} languages; at most {MAX_LANGUAGES}")
    found: dict[str, dict[str, dict[str, list[str]]]] = {}
    for language in localization.data:
        items = localization.object(language)
        if items is None:
            continue
        found[language] = {
            uuid: {
                name: item.texts(name) if isinstance(value, list) else [item.text(name)]
                for name, value in item.data.items()
                if isinstance(value, (list, str)) and name in LOCALIZED
            }
            for uuid in items.data
            if (item := items.object(uuid)) is not None
        }
    return found


LOCALIZED = (
    "text",
    "attachments",
    "quick_replies",
    "template_variables",
    "subject",
    "body",
    "audio_url",
    "arguments",
    "name",
    "category",
)


def _positions(flow: Item) -> dict[str, tuple[float, float]]:
    """Where nodes stand on the source's canvas. What is not there, or is no place, is not needed."""
    ui = flow.data.get("_ui")
    nodes = ui.get("nodes") if isinstance(ui, dict) else None
    found = {}
    for uuid, node in (nodes if isinstance(nodes, dict) else {}).items():
        place = node.get("position") if isinstance(node, dict) else None
        if isinstance(place, dict):
            left, top = _coordinate(place.get("left")), _coordinate(place.get("top"))
            if left is not None and top is not None:
                found[uuid] = (left, top)
    return found


def _notes(flow: Item) -> list[str]:
    """The notes on the source's canvas, each as a line. What is no note is not needed."""
    ui = flow.data.get("_ui")
    notes = ui.get("stickies") if isinstance(ui, dict) else None
    found = []
    for note in list(notes.values())[:MAX_NOTES] if isinstance(notes, dict) else []:
        parts = [note.get("title"), note.get("body")] if isinstance(note, dict) else []
        line = ": ".join(part.strip()[:MAX_NOTE] for part in parts if isinstance(part, str) and part.strip())
        if line:
            found.append(storable(line))
    return found


def _coordinate(value: object) -> float | None:
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e6
    return float(value) if fits and isinstance(value, (int, float)) else None
