"""Inspection: what is wrong, or will be, with a flow that reads well. Each finding has a place and a remedy.

`error` stops publishing; `warning` is worth a look. One file for each class of findings, each a function registered by
`@inspects` and found by a folder scan. What a step says, reads, writes and where it leads was noted by the compiler, so
hardly any of them knows a step type. When in doubt they are silent: a false alarm teaches people not to listen.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache

from flows.business import BusinessView
from flows.inspection.findings import Finding
from flows.inspection.limits import CHANNELS, TELEGRAM, WHATSAPP, Limits
from flows.inspection.scene import Scene
from flows.versions import CompiledFlow

Inspector = Callable[[Scene], Iterator[Finding]]
_inspectors: list[Inspector] = []


def inspects(inspector: Inspector) -> Inspector:
    """Registers a class of findings."""
    _inspectors.append(inspector)
    return inspector


@cache
def inspectors() -> tuple[Inspector, ...]:
    """Every class of findings; scans the folder once."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return tuple(_inspectors)


def check(
    flow: CompiledFlow,
    library: Mapping[str, CompiledFlow],
    *,
    channels: Mapping[str, Limits] = CHANNELS,
    business: BusinessView | None = None,
    beside: Mapping[str, CompiledFlow] | None = None,
    secrets: Collection[str] | None = None,
    now: int | None = None,
) -> list[Finding]:
    """All findings, in the order of lines. `library` holds the flows it may call; `channels` those it will run on;
    with `business` the purposes of consent steps are checked, too, with `secrets` (names) that those used are there,
    with `now` (ms UTC) that dates are still to come."""
    scene = Scene(flow, {**library, flow.key: flow}, channels, beside or {}, business, secrets, now)
    found: dict[tuple[str, str, str], Finding] = {}  # what says the same counts once
    for inspector in inspectors():
        for finding in inspector(scene):
            found.setdefault((finding.code, finding.step, finding.text["en"]), finding)
    return sorted(found.values(), key=lambda finding: (finding.line, finding.severity, finding.code))


__all__ = [
    "CHANNELS", "TELEGRAM", "WHATSAPP", "Finding", "Inspector", "Limits", "Scene", "check", "inspects",
]  # fmt: skip
