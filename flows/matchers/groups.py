"""Groups: tags of ours."""

from __future__ import annotations

from typing import Any

from flows.excellent.environment import Environment
from flows.excellent.values import MAX_ITEMS, Object, text
from flows.matchers import Match, register


@register("has_group", "any, text, [text]", it="è nel gruppo", en="is in the group")
def has_group(environment: Environment, groups: Any, wanted: str, name: str | None = None) -> Match | None:
    """One of the groups (objects with uuid and name, or texts) has that uuid or name."""
    found = groups if isinstance(groups, list) else [groups]
    for group in found[:MAX_ITEMS]:
        known = (
            {text(group.get("uuid")), text(group.get("name"))} if isinstance(group, Object) else {text(group)}
        )
        if wanted in known or (name and name in known):
            return Match(group)
    return None
