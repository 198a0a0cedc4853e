"""From a definition of theirs to a document of ours.

Each node becomes a chain: one step (sometimes more) for each of its actions, then one for its router. A step's id is
made of what it does and a name or id of the source, so that reading the same flow again gives the same ids. Actions
are carried by the functions of `actions`, routers by `routers`; both get the `Flow` here, which knows translations,
keys of other flows and where everything leads.

What is not carried leaves a step that does nothing but lead on, with a comment that says what stood there, and an
entry in `unsupported`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from domain.errors import RejectedInput
from flows import excellent, languages
from flows.importers import Unsupported
from flows.importers.documents import Line, Names, Row, slug
from flows.importers.rapidpro import actions, routers
from flows.importers.rapidpro.definitions import MAX_NAME, Action, Definition, Node
from flows.importers.rapidpro.templates import literal, rewritten
from flows.importers.sources import Item
from flows.texts import MAX_TEXT

Data = dict[str, Any]
GLOBALS = re.compile(r"\bglobals\.", re.IGNORECASE)
END = "end"
EXPIRED = "expired"
FAILED = "failed"
MAX_SET = 50  # things that one step sets
MAX_MINUTES = 525_600  # a year: longer waits are a slip of the pen
ROW = 110  # between two steps of one node on the canvas
SOURCE = "RapidPro"


@dataclass(frozen=True, slots=True)
class To:
    """Where a step leads, until ids are known: to a node, or to the end."""

    node: str | None


@dataclass(slots=True)
class Made:
    """A step before it has its id. `ends`: nothing follows it; `word` and `name` make its id."""

    data: Data
    word: str
    name: str = ""
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a flow needs to know of the file it stands in."""

    keys: Mapping[str, str]  # flow's uuid → our key
    names: Mapping[str, str]  # flow's name → its uuid: references of old versions have no uuid
    called: frozenset[str]  # uuids of flows that others enter and come back from
    smart_groups: Mapping[str, str]  # uuid and name of groups that a query fills → uuid
    groups: Mapping[str, str]  # uuid → name

    def flow(self, reference: Item | None) -> str | None:
        """The uuid of a flow of the file that is meant, by uuid or else by name."""
        if reference is None:
            return None
        uuid, name = reference.text("uuid", ""), reference.text("name", "")
        return uuid if uuid in self.keys else None if uuid else self.names.get(name)


@dataclass
class Flow:
    """A flow on its way. `document` is complete after `convert`."""

    definition: Definition
    around: Surroundings
    unsupported: list[Unsupported] = field(default_factory=list)
    carried: set[str] = field(
        default_factory=set
    )  # locals that an action of the node before its router has set

    def convert(self, triggers: list[Data]) -> Data:
        """The document, ready to be written."""
        definition = self.definition
        kind = definition.type
        if kind in ("voice", "messaging_offline"):
            why = "flows for calls and for the Surveyor app are carried as conversations in writing"
            self.lost(kind, definition.uuid, why)
        elif kind not in ("messaging", "messaging_background"):
            self.lost(kind, definition.uuid, "there is no such kind of flow; it is carried as a conversation")
        chains = {node.uuid: self._chain(node) for node in definition.nodes}
        steps, entries, canvas = self._placed(chains)
        if not steps:
            steps["empty"] = {"goto": END, "comment": "This flow has no nodes."}
        start = entries[definition.nodes[0].uuid] if definition.nodes else "empty"
        resolved = {step_id: _resolved(data, entries) for step_id, data in steps.items()}
        if any(EXPIRED in _targets(data) for data in resolved.values()):
            resolved[EXPIRED] = {"end": EXPIRED, "comment": "Nobody answered for as long as the flow allows."}
        if any(data.get("otherwise") == FAILED for data in resolved.values()):
            resolved[FAILED] = {"end": FAILED, "comment": "No case fitted, and there was no default way."}
        document: Data = {
            "format": 2,
            "flow": self.around.keys[definition.uuid],
            "title": definition.name[:200],
            "languages": Row(self.languages()),
            "expressions": "excellent",
        }
        if definition.expires > 0:
            document["expires"] = span(min(definition.expires, MAX_MINUTES) * 60)
        if definition.ignores_triggers:
            document["interruptible"] = False
        if triggers:
            document["triggers"] = triggers
        return document | {"start": start, "steps": resolved} | ({"canvas": canvas} if canvas else {})

    # --- what actions and routers use

    def languages(self) -> list[str]:
        """The flow's languages, its own first."""
        translated = [code for each in self.definition.translations if (code := _code(each))]
        return list(dict.fromkeys([self.base(), *translated]))

    def text(self, uuid: str, name: str, base: str, number: int = 0, most: int = MAX_TEXT) -> Any:
        """A text of an item with its translations, as a document has it; None when there is nothing to say."""
        texts = {self.base(): base}
        for language, items in self.definition.translations.items():
            translated = items.get(uuid, {}).get(name, [])
            if len(translated) > number and translated[number].strip():
                texts.setdefault(_code(language), translated[number])
        short = {code: self._short(text, uuid, most) for code, text in texts.items() if code and text.strip()}
        said = {code: text for code, text in short.items() if text.strip()}
        if not said:
            return None
        return said if len(said) > 1 or not base.strip() else next(iter(said.values()))

    def translations(self, uuid: str, name: str) -> dict[str, list[str]]:
        """The translations of a list of an item: our code of the language → texts."""
        found = {}
        for language, items in self.definition.translations.items():
            texts = items.get(uuid, {}).get(name)
            if texts and any(text.strip() for text in texts):
                found[_code(language)] = texts
        return found

    def names(self, uuid: str, name: str) -> dict[str, str]:
        """What an item is called in other languages."""
        found = self.translations(uuid, name).items()
        return {language: texts[0].strip()[:MAX_NAME] for language, texts in found if texts[0].strip()}

    def base(self) -> str:
        """Our code of the flow's own language."""
        return _code(self.definition.language) or "und"

    def lost(self, what: str, where: str, why: str) -> None:
        """Something is not carried."""
        entry = Unsupported(what, where, why)
        if entry not in self.unsupported:
            self.unsupported.append(entry)

    def left_out(self, what: str, where: str, why: str) -> Made:
        """The same, with a step that stands where it was."""
        self.lost(what, where, why)
        return Made({"goto": None, "comment": comment(what, where, why)}, "not_carried", what)

    def tags(self, groups: Iterable[Any]) -> list[str]:
        """Groups as tags: their names, or the expressions that find them."""
        tags = []
        for group in groups:
            uuid = group.text("uuid", "")
            name = self.around.groups.get(uuid) or group.text("name", "")
            match = group.text("name_match", "")
            if self.is_smart(uuid, name):
                self.lost(
                    "group", uuid or name, "a group that a query fills is a segment; its members get no tag"
                )
            tag = match or literal(name or uuid)
            if tag.strip():
                tags.append(tag[:100])
        return list(dict.fromkeys(tags))

    def is_smart(self, uuid: str, name: str) -> bool:
        """Whether a query fills the group."""
        return uuid in self.around.smart_groups or name in self.around.smart_groups

    def flow_key(self, reference: Item | None, action: Action) -> str:
        """Our key of another flow."""
        uuid = reference.text("uuid", "") if reference is not None else ""
        name = reference.text("name", "") if reference is not None else ""
        known = self.around.flow(reference)
        key = self.around.keys[known] if known is not None else ""
        if not key:
            key = slug(name) or slug(uuid) or "missing"
            self.lost(action.named, action.place, f"the flow {name or uuid} is not in this file")
        return key

    def waits_out(self) -> Data | None:
        """The timeout of a wait that has none: a flow that others call gives up after its own time, so that they can
        go on; others are ended by the document's `expires`."""
        if self.definition.uuid not in self.around.called or self.definition.expires <= 0:
            return None
        return Line(after=span(min(self.definition.expires, MAX_MINUTES) * 60), goto=EXPIRED, category=None)

    def without_default(self) -> str | To:
        """Where a router without a default way leads: RapidPro's run has failed, which a caller must not take for
        completed."""
        return FAILED if self.definition.uuid in self.around.called else To(None)

    def template(self, text: str, uuid: str) -> str:
        """A template without the expressions that nobody can read: RapidPro says nothing in their place."""
        if "@" not in text:
            return text

        def checked(source: str) -> str:
            try:
                excellent.template(source, where="")
            except RejectedInput as error:
                self.lost("expression", uuid, f"{source[:100]}: {error.what}")
                return ""
            if GLOBALS.search(source):
                self.lost("globals", uuid, f"{source[:100]}: values of the workspace are not in the file")
            return source

        return rewritten(
            text,
            excellent.ROOTS,
            path=lambda path: checked(f"@{path}"),
            expression=lambda inside: checked(f"@({inside})"),
        )

    def _short(self, text: str, uuid: str, most: int) -> str:
        if len(text) > most:
            self.lost("text", uuid, f"{len(text)} characters; the first {most} are carried")
        return self.template(text[:most], uuid)

    # --- chains

    def _chain(self, node: Node) -> list[Made]:
        """The steps of a node, in order; never empty."""
        self.carried = set()
        chain: list[Made] = []
        entering = [action for action in node.actions if action.type == "enter_flow"]
        others = [action for action in node.actions if action.type != "enter_flow"]
        for action in [*others, *entering]:  # RapidPro enters the other flow when the node's actions are done
            for made in actions.carry(self, action, node):
                if not (chain and _joined(chain[-1], made)):
                    chain.append(made)
        if node.router is not None:
            chain.extend(routers.carry(self, node, node.router))
        elif chain and not chain[-1].ends:
            _lead(chain[-1], To(node.target))
        elif not chain:
            chain.append(Made({"goto": To(node.target)}, "node", ends=True))
        return chain

    def _placed(self, chains: Mapping[str, list[Made]]) -> tuple[Data, dict[str, str], Data]:
        """Steps with their ids, each node's first step, and places on the canvas."""
        names = Names(END, EXPIRED, FAILED)
        steps: Data = {}
        entries: dict[str, str] = {}
        canvas: Data = {}
        for node in self.definition.nodes:
            chain = chains[node.uuid]
            ids = [names.take(_id(made, node.uuid)) for made in chain]
            entries[node.uuid] = ids[0]
            for number, (step_id, made) in enumerate(zip(ids, chain, strict=True)):
                if not made.ends and number + 1 < len(chain):
                    _lead(made, ids[number + 1])
                steps[step_id] = made.data
                place = self.definition.positions.get(node.uuid)
                if place is not None:
                    canvas[step_id] = Row([int(place[0]), int(place[1]) + ROW * number])
        return steps, entries, canvas


def _joined(before: Made, made: Made) -> bool:
    """Whether a step that sets something was put into the one before it, which sets other things."""
    if list(made.data) != ["set"] or list(before.data) != ["set"]:
        return False
    paths: Data = before.data["set"]
    if len(paths) >= MAX_SET or not paths.keys().isdisjoint(made.data["set"]):
        return False
    paths.update(made.data["set"])
    return True


def comment(what: str, where: str, why: str) -> str:
    """The remark that stays where something was not carried."""
    return f"Not carried over from {SOURCE}: {what} ({where}). {why}."[:2_000]


def span(seconds: int) -> str:
    """A span of time as our documents have it."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds // length} {unit}{'s' if seconds != length else ''}"
    return f"{seconds} second{'s' if seconds != 1 else ''}"


def _code(language: str) -> str:
    """Our code of a language of theirs; empty for what is none."""
    code = languages.short(language)
    return code if 2 <= len(code) <= 3 and code.isascii() and code.isalpha() else ""


def _id(made: Made, node: str) -> str:
    """`ask_age`, `send_1f2e3d4c`: the word, and a name of the source or the beginning of its id."""
    name = slug(made.name) or slug(node)[:8]
    return f"{made.word}_{name}"[:60].rstrip("_") if made.word else name


def _lead(made: Made, target: Any) -> None:
    """Where a step leads when it is done."""
    if "http" in made.data or "ai" in made.data:
        made.data["error"] = target  # the router behind it decides, by the status or the variable
    if "ai" in made.data:
        made.data["unavailable"] = target
    if "goto" in made.data:
        made.data["goto"] = target
    else:
        made.data["next"] = target


def _resolved(value: Any, entries: Mapping[str, str]) -> Any:
    """The data with every `To` replaced by the id of a step."""
    match value:
        case To(node):
            return END if node is None else entries[node]
        case dict():
            return type(value)((key, _resolved(item, entries)) for key, item in value.items())
        case list():
            return type(value)(_resolved(item, entries) for item in value)
        case _:
            return value


def _targets(data: Data) -> set[str]:
    timeout = data.get("timeout")
    return {timeout["goto"]} if isinstance(timeout, dict) else set()
