"""Every dependency is declared in pyproject.toml and pinned with hashes in requirements.lock.

Three questions: is each requirement of pyproject pinned, at a version that it allows, with a hash? Does the
shipped code import only what the project declares for itself (something that is merely there because another
package needs it disappears one day)? And does the rest (tests, checks, benchmarks) import only that or the
development group? What the benchmarks compare with has a group, a lock and an environment of its own: a peer's library
is imported only in that folder.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from checks.house import ROOMS, WORKSHOPS, modules

LOCK = "requirements.lock"
PEERS = "peers"  # the group of what is compared with
PEERS_ROOM = "benchmarks/peers"
PEERS_LOCK = f"{PEERS_ROOM}/requirements.lock"


def problems(root: Path) -> Iterator[str]:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    shipped = [Requirement(text) for text in project["project"]["dependencies"]]
    extras = project["project"].get("optional-dependencies", {}).values()
    shipped += [Requirement(text) for group in extras for text in group]
    groups = dict(project.get("dependency-groups", {}))
    peers = [Requirement(text) for text in groups.pop(PEERS, ())]
    development = [Requirement(text) for group in groups.values() for text in group if isinstance(text, str)]
    build = [Requirement(text) for text in project["build-system"]["requires"]]

    pins = _pins((root / LOCK).read_text())
    for requirement in shipped + development + build:
        yield from _unpinned(requirement, pins, LOCK)
    if peers:
        pins = _pins((root / PEERS_LOCK).read_text())
        for requirement in peers:
            yield from _unpinned(requirement, pins, PEERS_LOCK)
    yield from _undeclared(root, ROOMS, shipped)
    yield from _undeclared(root, WORKSHOPS, shipped + development, peers)


def _pins(lock: str) -> dict[str, list[tuple[Version, bool]]]:
    """Package name → (version, has a hash); a universal lock may pin one package for several systems."""
    pins: dict[str, list[tuple[Version, bool]]] = {}
    for entry in re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE):
        if match := re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", entry):
            pin = (Version(match[2]), "--hash=sha256:" in entry)
            pins.setdefault(canonicalize_name(match[1]), []).append(pin)
    return pins


def _unpinned(
    requirement: Requirement, pins: dict[str, list[tuple[Version, bool]]], lock: str
) -> Iterator[str]:
    found = pins.get(canonicalize_name(requirement.name), [])
    if not found:
        yield f"{requirement.name} is in pyproject.toml but not in {lock}: run `make lock`"
    for version, hashed in found:
        if not requirement.specifier.contains(version, prereleases=True):
            yield f"{lock} pins {requirement.name} {version}, not {requirement.specifier}: run `make lock`"
        if not hashed:
            yield f"{requirement.name} has no hash in {lock}: run `make lock`"


def _undeclared(
    root: Path, folders: Iterable[str], declared: list[Requirement], peers: Iterable[Requirement] = ()
) -> Iterator[str]:
    names = {canonicalize_name(requirement.name) for requirement in declared}
    compared = {canonicalize_name(requirement.name) for requirement in peers}
    distributions = metadata.packages_distributions()
    for path, tree in modules(root, folders):
        for module in sorted(_imported(tree) - sys.stdlib_module_names - {*ROOMS, *WORKSHOPS}):
            owners = {canonicalize_name(name) for name in distributions.get(module, [module])}
            allowed = names | compared if path.startswith(f"{PEERS_ROOM}/") else names
            if owners.isdisjoint(allowed):
                yield f"{path} imports {module}, which pyproject.toml does not declare"


def _imported(tree: ast.Module) -> set[str]:
    """Top-level names of all absolute imports in a file."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found
