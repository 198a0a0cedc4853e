"""What is inspected, and with what: a flow, those beside it, the channels, the business."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from flows.business import BusinessView
from flows.inspection.graph import ALONE, ANY, AT_ONCE, Graph, Node
from flows.inspection.limits import Limits
from flows.versions import CompiledFlow, CompiledStep


@dataclass(frozen=True)
class Scene:
    """`flows`: the one that is inspected and those that it may call or go to. `beside`: those that are published with
    it. `business` and `secrets` (names) None: not known here; `now` (ms UTC) None: no time is."""

    flow: CompiledFlow
    flows: Mapping[str, CompiledFlow]
    channels: Mapping[str, Limits]
    beside: Mapping[str, CompiledFlow]
    business: BusinessView | None
    secrets: Collection[str] | None
    now: int | None

    @property
    def steps(self) -> Collection[CompiledStep]:
        """The steps of the flow, in the document's order."""
        return self.flow.steps.values()

    @cached_property
    def others(self) -> Mapping[str, CompiledFlow]:
        """The flows but for the one that is inspected."""
        return {key: flow for key, flow in self.flows.items() if key != self.flow.key}

    @cached_property
    def graph(self) -> Graph:
        """The ways between steps."""
        return Graph(self.flows)

    def node(self, step: CompiledStep) -> Node:
        """A step of the flow in the graph."""
        return (self.flow.key, step.id)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """All steps of the flow in the graph."""
        return tuple(self.node(step) for step in self.steps)

    @cached_property
    def reached(self) -> Collection[str]:
        """The steps that somebody may get to: from the start, or from a `goto` of another flow."""
        starts = [(self.flow.key, self.flow.start), *self.doors]
        return {step for key, step in self.graph.reached(starts) if key == self.flow.key}

    @cached_property
    def doors(self) -> Collection[Node]:
        """The steps to which other flows lead directly."""
        return {
            (self.flow.key, exit.target)
            for other in self.others.values()
            for step in other.steps.values()
            for exit in step.exits
            if exit.flow == self.flow.key and exit.target is not None
        }


__all__ = ["ALONE", "ANY", "AT_ONCE", "Scene"]
