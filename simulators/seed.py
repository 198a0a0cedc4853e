"""A world to begin with, from one JSON object, so that the demo starts with its people and chats in place.

    {"telegram": {"bots": [{"token": …}], "people": [{"id": 1, "first_name": …}], "chats": [{"type": "channel", …}]},
     "whatsapp": {…}}

Each network's part is handed to its own `seed` as it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulators.world import ControlError, World


def plant(world: World, seed: Mapping[str, Any]) -> None:
    """Make what the seed names; raises ControlError naming what is wrong."""
    for name, spec in seed.items():
        network = world.networks.get(name)
        if network is None:
            raise ControlError(f"{name}: no such network")
        if not isinstance(spec, dict):
            raise ControlError(f"{name}: an object expected")
        network.seed(spec)
