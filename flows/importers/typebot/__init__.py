"""Typebot exports, versions 3 to 6 (https://docs.typebot.io/editor/import-export).

Every group's blocks become steps that follow each other; a text bubble right before an input becomes the question.
Variables become `session.…`; the value of a choice is its text, as there. A bot that names no language says the same
in all, so the flow's own words are English, then Italian.
"""

from __future__ import annotations

from typing import Any

from flows.importers import Imported, ImportedFlow, Unsupported, importer
from flows.importers.documents import Names, Row, slug, written
from flows.importers.sources import parse
from flows.importers.typebot.blocks import INPUTS, KINDS, Place, Step
from flows.importers.typebot.reading import Block, Export, Group, exports, walk
from flows.importers.typebot.texts import Untranslatable, literal, rich

STEP_HEIGHT = 120  # on the canvas, from one step of a group to the next


@importer("typebot")
def read(text: str) -> Imported:
    """The bots in an export. Raises RejectedInput naming the place."""
    bots = exports(parse(text))
    names = Names()
    keys = [names.take(slug(bot.name) or "typebot") for bot in bots]
    known = {bot.id: key for bot, key in zip(bots, keys, strict=True) if bot.id}
    flows: list[ImportedFlow] = []
    lost: list[Unsupported] = []
    for bot, key in zip(bots, keys, strict=True):
        made = _Flow(bot, key, known)
        flows.append(ImportedFlow(key, made.text()))
        lost.extend(made.lost)
    return Imported(flows, list(dict.fromkeys(lost)))


class _Flow:
    """One bot becoming a document."""

    def __init__(self, bot: Export, key: str, known: dict[str, str]) -> None:
        self._bot = bot
        self._key = key
        self._known = known
        self.lost: list[Unsupported] = []
        self._groups = {group.id: group for group in bot.groups}
        self._ids = self._named()

    def text(self) -> str:
        """The document."""
        self.lost += [Unsupported(f"{kind} event", where, _WHY) for kind, where in self._bot.events]
        steps: dict[str, Step] = {}
        canvas: dict[str, Row] = {}
        for group, number, block in walk(self._bot.groups):
            if self._is_question(group, number):
                continue
            step_id = self._ids[group.id, number]
            steps[step_id] = self._step(group, number, block)
            canvas[step_id] = Row([int(group.x), int(group.y) + STEP_HEIGHT * number])
        start = self._target(self._bot.start) or next(iter(steps), None)
        if start is None or start == "end":
            start = Names(*steps).take("nothing")
            steps[start] = {"end": True}
        document = {
            "flow": self._key,
            "title": self._bot.name[:200],
            "languages": Row(["en", "it"]),
            "start": start,
            "steps": steps,
            "canvas": canvas,
        }
        return written(document, [f"Imported from the Typebot {self._bot.name!r}."])

    def _named(self) -> dict[tuple[str, int], str]:
        """The step's id of every block: the group's name, numbered."""
        names = Names("end")
        ids: dict[tuple[str, int], str] = {}
        for group, number, _block in walk(self._bot.groups):
            if not self._is_question(group, number):
                ids[group.id, number] = names.take(slug(group.title) or "group")
        return ids

    def _is_question(self, group: Group, number: int) -> bool:
        """Whether it is a text bubble that the input behind it asks."""
        block = group.blocks[number]
        if block.type != "text" or block.edge or number + 1 == len(group.blocks):
            return False
        return group.blocks[number + 1].type in INPUTS and bool(self._words(block).strip())

    def _words(self, block: Block) -> str:
        try:
            return rich(block.content, self._bot.names, markup=False).text
        except Untranslatable:
            return ""

    def _step(self, group: Group, number: int, block: Block) -> Step:
        said = group.blocks[number - 1] if number and self._is_question(group, number - 1) else None
        place = Place(
            export=self._bot,
            block=block,
            step=self._ids[group.id, number],
            next=self._next(group, number),
            said=self._words(said) if said else "",
            target=self._target,
            group=self._entry,
            flow=self._known.get,
        )
        make = KINDS.get(block.type)
        step: Step | None = None
        if make is None:
            place.lose()
        else:
            try:
                step = make(block, place)
            except Untranslatable:
                place.lose()
        self.lost += [Unsupported(kind, where, _WHY) for kind, where in place.lost]
        if step is not None:
            return _commented(step, place.lost)
        if place.lost:
            what, where = place.lost[0]
            return {"note": literal(f"Typebot: {what} ({where}) {_WHY}"[:500]), "next": place.next}
        return {"goto": place.next}

    def _next(self, group: Group, number: int) -> str:
        return (
            self._target(group.blocks[number].edge)
            or (self._at(group, number + 1) if number + 1 < len(group.blocks) else None)
            or "end"
        )

    def _target(self, edge: str) -> str | None:
        """The step that an edge leads to; None when there is no such edge."""
        if edge not in self._bot.edges:
            return None
        return self._entry(*self._bot.edges[edge])

    def _entry(self, group_id: str, block_id: str) -> str | None:
        group = self._groups.get(group_id)
        if group is None:  # some exports name the block alone
            for other, number, block in walk(self._bot.groups):
                if block_id and block.id == block_id:
                    return self._at(other, number)
            return None
        places = [number for number, block in enumerate(group.blocks) if block.id == block_id]
        return self._at(group, places[0] if places else 0)

    def _at(self, group: Group, number: int) -> str:
        """The step of a block: a question stands in the step of its input."""
        if number >= len(group.blocks):
            return "end"
        return self._ids[group.id, number + 1 if self._is_question(group, number) else number]


_WHY = "has no counterpart"


def _commented(step: Step, lost: list[tuple[str, str]]) -> Step:
    """The step, with what it lacks."""
    if not lost:
        return step
    names = ", ".join(dict.fromkeys(f"{kind} {where}" for kind, where in lost))
    commented: dict[str, Any] = {**step, "comment": f"Not carried over from Typebot: {names}"[:2_000]}
    return commented
