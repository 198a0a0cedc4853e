"""Fields of contacts and topics that look like a slip of the pen: nothing in any flow writes them, but something a
letter away is written. (Fields may also come from imports and programs, so an unknown name alone says nothing.)"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from flows.contents import changes
from flows.inspection import inspects
from flows.inspection.findings import Finding, at
from flows.inspection.scene import Scene
from flows.similarity import edits

MIN = 5  # letters: shorter names differ by one without being slips
FIELD = "contact.fields."


@inspects
def fields(scene: Scene) -> Iterator[Finding]:
    """What texts and conditions read."""
    known = {
        path.removeprefix(FIELD)
        for flow in {**scene.beside, **scene.flows}.values()
        for step in flow.steps.values()
        for path in (*step.writes, *step.clears)
        if path.startswith(FIELD)
    }
    for step in scene.steps:
        read = {path.split(".")[2] for path in (*step.reads, *step.decides) if path.startswith(FIELD)}
        for name in sorted(read - known):
            meant = _nearest(name, known)
            if meant:
                yield at(
                    step,
                    "warning",
                    "unknown_field",
                    it=f"nessun flusso scrive il campo {name}; forse intendi {meant}",
                    en=f"no flow writes the field {name}; perhaps you mean {meant}",
                    fix_it="correggi il nome, o scrivi il campo prima",
                    fix_en="correct the name, or write the field before",
                )


@inspects
def topics(scene: Scene) -> Iterator[Finding]:
    """Topics that are ended and never begun."""
    begun = {
        topic
        for flow in {**scene.beside, **scene.flows}.values()
        for one in flow.document.steps.values()
        if getattr(one, "state", "") == "on"
        for topic in getattr(one, "subscribe", ())
    }
    for step in scene.steps:
        document = scene.flow.document.steps[step.id]
        ended = getattr(document, "subscribe", ()) if getattr(document, "state", "") == "off" else ()
        for topic in ended:
            meant = _nearest(topic, begun) if topic not in begun and not changes(topic) else ""
            if meant:
                yield at(
                    step,
                    "warning",
                    "unknown_topic",
                    it=f"nessun flusso iscrive a {topic}; forse intendi {meant}",
                    en=f"no flow subscribes to {topic}; perhaps you mean {meant}",
                    fix_it="correggi il nome dell'argomento",
                    fix_en="correct the topic's name",
                )


def _nearest(name: str, known: Collection[str]) -> str:
    """The known name one slip away; figures at the end number things and are no slips."""
    plain = name.rstrip("0123456789")
    for one in sorted(known):
        if min(len(name), len(one)) >= MIN and one.rstrip("0123456789") != plain and edits(name, one, 1) <= 1:
            return one
    return ""
