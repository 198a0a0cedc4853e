"""Steps that go round: without ever waiting, or without anybody asking for it while each round costs money.

A circle that counts is none: a step in it decides by something that is written in it, and one of its ways leads out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from flows.inspection import inspects
from flows.inspection.findings import Finding, at
from flows.inspection.graph import ALONE, ANY, AT_ONCE, Node
from flows.inspection.scene import Scene
from flows.versions import CompiledStep


@inspects
def without_input(scene: Scene) -> Iterator[Finding]:
    """Found once each, at the step that comes first in the document."""
    for circle in _circles(scene, AT_ONCE):
        step = next(one for one in scene.steps if scene.node(one) in circle)
        way = scene.graph.circle(scene.node(step), circle, AT_ONCE)
        shown = _shown(scene, [*way, way[0]])
        yield at(
            step,
            "error",
            "loop_without_input",
            it=f"questi passi girano in tondo senza mai aspettare: {shown}",
            en=f"these steps go round without ever waiting: {shown}",
            fix_it="metti una domanda o un'attesa nel giro",
            fix_en="put a question or a wait into the circle",
        )


@inspects
def paid(scene: Scene) -> Iterator[Finding]:
    """Steps that cost money each time, in a circle that goes on by itself."""
    endless = {node for circle in _circles(scene, AT_ONCE) for node in circle}
    for circle in _circles(scene, ALONE):
        for step in scene.steps:
            node = scene.node(step)
            if step.costs is None or node not in circle or node in endless:
                continue
            way = scene.graph.circle(node, circle, ALONE)
            if not way:
                continue
            shown = _shown(scene, [*way, way[0]])
            yield at(
                step,
                "warning",
                "paid_in_loop",
                it=f"costa denaro ({step.costs}) a ogni giro, anche se nessuno scrive: {shown}",
                en=f"it costs money ({step.costs}) in every round, even if nobody writes: {shown}",
                fix_it="conta i giri (set con add) e con branch esci dopo qualcuno, o chiedi prima di ripetere",
                fix_en="count the rounds (set with add) and leave after a few by a branch, or ask before repeating",
            )


def _circles(scene: Scene, mode: str) -> list[set[Node]]:
    """The groups of steps that go round for ever, of those that hold a step of this flow."""
    graph = scene.graph
    deciders = {
        node for group in graph.circles(scene.nodes, mode) for node in group if _decides(scene, node, group)
    }
    found = graph.circles(scene.nodes, mode, without=deciders)
    return [group for group in found if any(key == scene.flow.key for key, _ in group)]


def _decides(scene: Scene, node: Node, group: Collection[Node]) -> bool:
    """Whether a step leaves its circle some day: by a way out that depends on what changes in the circle."""
    step = scene.graph.step(node)
    if step is None or not step.decides:
        return False
    changing = {"node.visit_count"} if step.counts else set()
    for one in group:
        inside = scene.graph.step(one)
        changing |= _changed(inside) if inside is not None else set()
    if changing.isdisjoint(_key(path) for path in step.decides):
        return False
    targets = [scene.graph.target(node[0], exit) for exit in scene.graph.ways(node[0], step, ANY)]
    return any(target is None or target not in group for target in targets)


def _changed(step: CompiledStep) -> set[str]:
    own = {f"result.{step.result}"} if step.result else set()
    return {_key(path) for path in (*step.writes, *step.clears)} | own


def _key(path: str) -> str:
    """The variable of a path: `session.order.total` → `session.order`."""
    parts = path.split(".")
    return ".".join(parts[: 3 if path.startswith("contact.fields.") else 2])


def _shown(scene: Scene, way: list[Node]) -> str:
    names = [step if key == scene.flow.key else f"{key}.{step}" for key, step in way]
    return " → ".join(names if len(names) <= 12 else [*names[:11], "…", names[-1]])
