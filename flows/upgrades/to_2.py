"""Format 2: `sub_flow` says `outcomes` where it said `exits`.

What it maps are the outcomes of the flow it runs (`end: abroad`), which its own exits are not: `next` is one of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def upgrade(data: Mapping[str, Any]) -> dict[str, Any]:
    """A document of format 1 in format 2."""
    steps = data.get("steps")
    if not isinstance(steps, dict):
        return dict(data)
    return {**data, "steps": {step_id: _step(step) for step_id, step in steps.items()}}


def _step(step: Any) -> Any:
    if not isinstance(step, dict) or "sub_flow" not in step or "exits" not in step or "outcomes" in step:
        return step
    return {"outcomes" if key == "exits" else key: value for key, value in step.items()}
