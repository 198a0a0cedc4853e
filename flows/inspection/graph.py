"""Which step leads to which, over all flows that a flow may get to: by exits, by calls of sub-flows, by `goto`.

A way has one of three conditions: `ANY` (it exists), `ALONE` (nobody has to write for it: time and services do), and
`AT_ONCE` (it is gone without waiting for anybody or anything but a service, which answers by itself).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from functools import cache

from flows.state import ANSWER, TIME
from flows.versions import CompiledFlow, CompiledStep, Exit

ANY, ALONE, AT_ONCE = "any", "alone", "at once"
END = "end"
MAX_DEPTH = 50  # sub-flows within sub-flows that are looked into; the engine stops far earlier
FAILED = "failed"  # the outcome of a sub-flow that broke off
Node = tuple[str, str]  # (flow's key, step's id)
Flows = Mapping[str, CompiledFlow]


class Graph:
    """The ways between the steps of some flows."""

    def __init__(self, flows: Flows) -> None:
        self._flows = flows
        self._inside: list[str] = []
        self.outcomes = cache(self._outcomes)
        self.following = cache(self._following)

    def step(self, node: Node) -> CompiledStep | None:
        """The step of a node, if there is one."""
        flow = self._flows.get(node[0])
        return None if flow is None else flow.steps.get(node[1])

    def reached(self, starts: Collection[Node], mode: str = ANY) -> set[Node]:
        """Everything that can be got to."""
        seen = {start for start in starts if self.step(start) is not None}
        ahead = deque(seen)
        while ahead:
            for target in self.following(ahead.popleft(), mode):
                if target not in seen:
                    seen.add(target)
                    ahead.append(target)
        return seen

    def _following(self, node: Node, mode: str) -> tuple[Node, ...]:
        """The steps that come next, those of a sub-flow that is called included."""
        step = self.step(node)
        if step is None:
            return ()
        found = [target for exit in self.ways(node[0], step, mode) if (target := self.target(node[0], exit))]
        called = self._flows.get(step.calls) if step.calls else None
        if called is not None:
            found.append((called.key, called.start))
        return tuple(one for one in dict.fromkeys(found) if self.step(one) is not None)

    def target(self, key: str, exit: Exit) -> Node | None:
        """Where an exit leads; None when the flow ends there, or it leads to nothing that we know."""
        if exit.flow is not None:
            other = self._flows.get(exit.flow)
            return None if other is None else (exit.flow, exit.target or other.start)
        return None if exit.target in (None, END) else (key, str(exit.target))

    def ways(self, key: str, step: CompiledStep, mode: str) -> Iterator[Exit]:
        """The exits that may be taken under a condition."""
        outcomes = self.outcomes(step.calls, mode) if step.calls in self._flows else None
        if outcomes is not None and mode == ANY:
            outcomes |= {FAILED}
        mapped = {exit.name for exit in step.exits}
        for exit in step.exits:
            if outcomes is not None and not _returns(exit.name, outcomes, mapped):
                continue
            if mode == ANY or _open(step, exit.name, mode):
                yield exit

    def _outcomes(self, key: str, mode: str) -> frozenset[str]:
        """How a flow may end under a condition. What calls itself is taken as never coming back: that is a fault of
        its own (`flows_in_circle`)."""
        flow = self._flows.get(key)
        if flow is None or key in self._inside or len(self._inside) > MAX_DEPTH:
            return frozenset()
        self._inside.append(key)
        try:
            return self._ends(flow, mode)
        finally:
            self._inside.pop()

    def _ends(self, flow: CompiledFlow, mode: str) -> frozenset[str]:
        found: set[str] = set()
        seen: set[Node] = {(flow.key, flow.start)}
        ahead = deque(seen)
        while ahead:
            node = ahead.popleft()
            step = self.step(node)
            if step is None:
                continue
            if step.ends is not None:
                found.add(step.ends)
            for exit in self.ways(node[0], step, mode):
                target = self.target(node[0], exit)
                if target is None:
                    found.add("completed")
                elif target not in seen:
                    seen.add(target)
                    ahead.append(target)
        return frozenset(found)

    # --- circles

    def circles(self, starts: Collection[Node], mode: str, without: Collection[Node] = ()) -> list[set[Node]]:
        """Groups of steps of which each leads to each other one (and back to itself), by Tarjan's way."""
        nodes = self.reached(starts, mode) - set(without)
        edges = {node: [one for one in self.following(node, mode) if one in nodes] for node in nodes}
        return [
            group for group in _components(edges) if len(group) > 1 or any(one in edges[one] for one in group)
        ]

    def circle(self, start: Node, among: Collection[Node], mode: str) -> list[Node]:
        """A shortest way from a step back to itself within a group."""
        before: dict[Node, Node] = {}
        ahead = deque([start])
        while ahead:
            current = ahead.popleft()
            for target in self.following(current, mode):
                if target == start:
                    way = [current]
                    while way[-1] != start:
                        way.append(before[way[-1]])
                    return way[::-1]
                if target in among and target not in before:
                    before[target] = current
                    ahead.append(target)
        return []


def _open(step: CompiledStep, exit: str, mode: str) -> bool:
    if step.waits == ANSWER:
        return exit in step.passes or (mode == ALONE and exit == "timeout")
    if step.waits == TIME:
        return mode == ALONE and exit != "on_message"
    return exit != "on_message"  # a service, too, answers by itself


def _returns(exit: str, outcomes: Collection[str], mapped: Collection[str]) -> bool:
    """Whether a call comes back by an exit when the sub-flow ends in one of these ways."""
    if exit == "next":
        return any(f"exit {outcome}" not in mapped for outcome in outcomes)
    return exit.removeprefix("exit ") in outcomes


def calls(key: str, wanted: str, flows: Flows) -> bool:
    """Whether a flow reaches another one by sub-flows; it reaches itself."""
    seen: set[str] = set()
    ahead = [key]
    while ahead:
        current = ahead.pop()
        if current == wanted:
            return True
        if current not in seen and current in flows:
            seen.add(current)
            ahead.extend(step.calls for step in flows[current].steps.values() if step.calls)
    return False


def _components(edges: Mapping[Node, list[Node]]) -> list[set[Node]]:
    """Strongly connected components, without recursion: a flow may have a thousand steps in a row."""
    index: dict[Node, int] = {}
    low: dict[Node, int] = {}
    open_: dict[Node, None] = {}
    found: list[set[Node]] = []
    for root in edges:
        if root in index:
            continue
        work = [(root, iter(edges[root]))]
        index[root] = low[root] = len(index)
        open_[root] = None
        while work:
            node, ahead = work[-1]
            target = next(ahead, None)
            if target is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    group = set()
                    while True:
                        one, _ = open_.popitem()
                        group.add(one)
                        if one == node:
                            break
                    found.append(group)
            elif target not in index:
                index[target] = low[target] = len(index)
                open_[target] = None
                work.append((target, iter(edges[target])))
            elif target in open_:
                low[node] = min(low[node], index[target])
    return found
