"""Versions of RapidPro's flow specification, as numbered pure steps: 11.x → 13.0 → 13.1 … → 14.4.2.

Each step takes a definition of the version before (plain JSON data, a copy that it may change) and gives the next.
Steps touch only what they know and leave what has another shape alone: `definitions` refuses that later, with its
place. What each version changed: https://github.com/nyaruka/goflow, `CHANGELOG.md` and `flows/definition/migrations`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

from flows.importers.sources import refused

Flow = dict[str, Any]
Version = tuple[int, int, int]
Step = Callable[[Flow], Flow]

LATEST: Version = (14, 4, 2)
_NUMBER = re.compile(r"(\d{1,3})(?:\.(\d{1,3}))?(?:\.(\d{1,3}))?\Z")
_steps: dict[Version, Step] = {}


def to(version: str) -> Callable[[Step], Step]:
    """Registers the step that leads to a version."""

    def registered(step: Step) -> Step:
        _steps[parsed(version, "version")] = step
        return step

    return registered


def parsed(version: Any, where: str) -> Version:
    """`13.6.1`, `13`, 13 → (13, 6, 1), (13, 0, 0). Raises RejectedInput."""
    found = _NUMBER.match(str(version)) if isinstance(version, (str, int, float)) else None
    if found is None:
        raise refused(where, "is not a version such as 13.6.1")
    return int(found[1]), int(found[2] or 0), int(found[3] or 0)


def steps() -> list[tuple[Version, Step]]:
    """Every step, in order."""
    from flows.importers.rapidpro.migrations import v13, v14  # noqa: F401  they register

    return sorted(_steps.items())


def migrated(flow: Flow, version: Version) -> Flow:
    """A definition of 13.0 or later, as the latest version writes it. The argument is not changed."""
    flow = copy.deepcopy(flow)
    for number, step in steps():
        if number > version:
            flow = step(flow)
    return flow
