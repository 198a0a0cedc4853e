"""docker-compose.yml, read as compose reads it: variables filled in, one `Service` for each.

Of the format only what this project uses is known; another key is an error, so that nothing is passed over in silence.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

_KEYS = frozenset(
    "build command depends_on deploy environment healthcheck image init ports restart shm_size stop_grace_period "
    "volumes".split()
)
_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<sign>:[-?])?(?P<rest>[^}]*)\})"
)


class Refused(ValueError):
    """What compose would refuse, with its place."""


@dataclass(frozen=True)
class Service:
    """One service, filled in. `built`: by the Dockerfile, else `image` as it is."""

    name: str
    built: bool
    image: str
    command: list[str]
    environment: dict[str, str]
    depends_on: dict[str, str]  # service → condition
    health: dict[str, Any] | None
    volumes: dict[str, str]  # name → path
    ports: list[str]
    restart: str
    grace_s: float
    replicas: int


@dataclass(frozen=True)
class Project:
    """The whole file. `asked` names the variables that it takes from `.env`."""

    services: dict[str, Service]
    volumes: set[str]
    asked: set[str]


def read(text: str, variables: Mapping[str, str]) -> Project:
    """The file with these variables. Raises Refused: a variable that must be set, an unknown key."""
    asked: set[str] = set()
    document = _filled(yaml.safe_load(text), variables, asked)
    if unknown := [
        key for key in document if key not in ("services", "volumes") and not key.startswith("x-")
    ]:
        raise Refused(f"{unknown[0]}: this part is not used in this project")
    services = {name: _service(name, body) for name, body in document["services"].items()}
    return Project(services, set(document.get("volumes") or {}), asked)


def _service(name: str, body: Mapping[str, Any]) -> Service:
    if unknown := sorted(set(body) - _KEYS):
        raise Refused(f"{name}.{unknown[0]}: this key is not used in this project")
    depends = body.get("depends_on", {})
    command = body.get("command", [])
    return Service(
        name=name,
        built="build" in body,
        image=body.get("image", ""),
        command=shlex.split(command) if isinstance(command, str) else list(command),
        environment={key: str(value) for key, value in body.get("environment", {}).items()},
        depends_on={key: value.get("condition", "service_started") for key, value in depends.items()},
        health=body.get("healthcheck"),
        volumes=dict(volume.split(":", 1) for volume in body.get("volumes", [])),
        ports=[str(port) for port in body.get("ports", [])],
        restart=body.get("restart", "no"),
        grace_s=float(str(body.get("stop_grace_period", "10s")).removesuffix("s")),
        replicas=int(body.get("deploy", {}).get("replicas", 1)),
    )


def _filled(value: Any, variables: Mapping[str, str], asked: set[str]) -> Any:
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: _value(match, variables, asked), value)
    if isinstance(value, dict):
        return {key: _filled(part, variables, asked) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, variables, asked) for part in value]
    return value


def _value(match: re.Match[str], variables: Mapping[str, str], asked: set[str]) -> str:
    if match["escaped"]:
        return "$"
    name = match["name"]
    asked.add(name)
    found = variables.get(name, "")
    if found or match["sign"] is None:
        return found
    if match["sign"] == ":?":
        raise Refused(f"required variable {name} is missing a value: {match['rest']}")
    return match["rest"]
