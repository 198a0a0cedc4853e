"""What stands in a Typebot export: groups of blocks, edges between them, variables.

The skeleton is checked: whatever of it is of the wrong type is refused with its path. Inside a block's options
anything may be missing, since the app writes only what its author changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from domain.errors import RejectedInput
from domain.events import storable
from flows.importers.documents import Names, slug
from flows.importers.sources import Item

MAX_BLOCKS = 900  # a flow of ours has at most a thousand steps
MAX_VARIABLES = 200  # what a session may hold
MAX_BOTS = 100


@dataclass(frozen=True, slots=True)
class Block:
    """A block. `edge` is the id of the way out, "" for the next block of its group."""

    id: str
    type: str
    edge: str
    data: dict[str, Any]

    @property
    def options(self) -> dict[str, Any]:
        """What its author set."""
        return mapping(self.data, "options")

    @property
    def content(self) -> dict[str, Any]:
        """What a bubble shows."""
        return mapping(self.data, "content")

    @property
    def items(self) -> list[dict[str, Any]]:
        """Choices, conditions, ways."""
        return objects(self.data, "items")


@dataclass(frozen=True, slots=True)
class Group:
    """A group of blocks that follow each other; `x`, `y` are its place on the canvas."""

    id: str
    title: str
    x: float
    y: float
    blocks: list[Block]


@dataclass(frozen=True, slots=True)
class Export:
    """A bot. `edges`: id → (group, block or ""); `start`: the edge of the start; `paths`: variable id → our path;
    `names`: variable name → our path; `events`: (type, id) of those beside the start."""

    name: str
    id: str
    groups: list[Group]
    edges: dict[str, tuple[str, str]]
    start: str
    paths: dict[str, str]
    names: dict[str, str]
    events: list[tuple[str, str]] = field(default_factory=list)


def exports(data: Any) -> list[Export]:
    """The bots in an export: one, or a list of them. Raises RejectedInput naming the place."""
    found = _storable(data if isinstance(data, list) else [data])
    if not 1 <= len(found) <= MAX_BOTS:
        raise RejectedInput(f"must hold 1 to {MAX_BOTS} bots", where="file")
    listed = isinstance(data, list)
    return [_export(Item(bot, f"[{number}]" if listed else "")) for number, bot in enumerate(found)]


def _storable(data: Any) -> Any:
    """The data with texts that every database holds; `sources.parse` has bounded its depth."""
    if isinstance(data, dict):
        return {storable(key): _storable(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_storable(value) for value in data]
    return storable(data) if isinstance(data, str) else data


def _export(bot: Item) -> Export:
    if "groups" not in bot.data:
        what = (
            "was made by a version that had no groups: open it in Typebot and export it again"
            if "steps" in bot.data or "blocks" in bot.data
            else "is no Typebot export: there are no groups"
        )
        raise RejectedInput(what, where=bot.where or "file")
    groups: list[Group] = []
    start = ""
    for number, one in enumerate(bot.objects("groups", MAX_BLOCKS), 1):
        blocks = [_block(block) for block in one.objects("blocks", MAX_BLOCKS)]
        if blocks and blocks[0].type == "start":
            start = blocks.pop(0).edge or start
            if not blocks:
                continue
        place = mapping(one.data, "graphCoordinates")
        title = one.text("title", "").strip() or f"group {number}"
        groups.append(Group(one.text("id"), title, _figure(place.get("x")), _figure(place.get("y")), blocks))
    if sum(len(group.blocks) for group in groups) > MAX_BLOCKS:
        raise RejectedInput(f"has more than {MAX_BLOCKS} blocks", where=bot.at("groups"))
    events = []
    for event in bot.objects("events", 100):
        if event.text("type", "") == "start":
            start = event.text("outgoingEdgeId", "") or start
        else:
            events.append((event.text("type", ""), event.text("id", "")))
    edges = {}
    for edge in bot.objects("edges"):
        to = edge.object("to")
        if to is not None:
            edges[edge.text("id")] = (to.text("groupId", ""), to.text("blockId", ""))
    paths, names = _variables(bot)
    return Export(
        bot.text("name", "") or "typebot", bot.text("id", ""), groups, edges, start, paths, names, events
    )


def _block(block: Item) -> Block:
    for key in ("options", "content"):
        block.object(key)
    block.objects("items", 500)
    return Block(block.text("id"), block.text("type", ""), block.text("outgoingEdgeId", ""), block.data)


def _variables(bot: Item) -> tuple[dict[str, str], dict[str, str]]:
    paths: dict[str, str] = {}
    names: dict[str, str] = {}
    taken = Names()
    for one in bot.objects("variables", MAX_VARIABLES):
        name = one.text("name", "").strip()
        key = slug(name)
        path = f"session.{taken.take(key if key[:1].isalpha() else f'value_{key}'.rstrip('_'))}"
        paths[one.text("id")] = path
        names.setdefault(name, path)
    return paths, names


def mapping(data: Any, key: str) -> dict[str, Any]:
    """The object at a key, else an empty one."""
    found = data.get(key) if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}


def objects(data: Any, key: str) -> list[dict[str, Any]]:
    """The objects in the list at a key."""
    found = data.get(key) if isinstance(data, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def text(data: Any, key: str) -> str:
    """The text at a key, else ""."""
    found = data.get(key) if isinstance(data, dict) else None
    return found if isinstance(found, str) else ""


def _figure(value: Any) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6
    return round(float(value)) if good else 0


def walk(groups: list[Group]) -> Iterator[tuple[Group, int, Block]]:
    """Every block with its group and place in it."""
    for group in groups:
        for number, block in enumerate(group.blocks):
            yield group, number, block
