"""Two places make HTTP sessions, each with its rules: one for the platforms' addresses, which the owner has set, and
one for every other address, behind the outgoing guard. Nothing else in the shipped rooms asks the network by HTTP.

So no URL that a flow, a user or a webhook names can find a way around the guard: no other `ClientSession`, no other
client of aiohttp, the standard library or somebody else. The simulators are a program of their own and speak to the
product and to nobody else, so they have theirs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from checks.house import ROOMS, modules

PLATFORMS, OTHERS = "config/bootstrap.py", "bot/outgoing/client.py"
# Modules that are HTTP clients, and names that are one in modules that are more than that.
_CLIENTS = frozenset(("http.client", "httpx", "requests", "urllib3", "httpcore", "pycurl"))
_NAMES = {
    "urllib.request": frozenset(("urlopen", "urlretrieve", "build_opener", "Request", "OpenerDirector")),
    "aiohttp": frozenset(("request",)),
}


def problems(root: Path) -> Iterator[str]:
    rooms = [room for room in ROOMS if room != "simulators"]
    for path, tree in modules(root, rooms):
        for node in ast.walk(tree):
            if _makes_session(node) and str(path) not in (PLATFORMS, OTHERS):
                yield f"{path} makes an HTTP session of its own; ask through {OTHERS}"
            for client in _clients(node):
                yield f"{path} uses {client}; ask through {OTHERS}"


def _makes_session(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and _name(node.func) == "ClientSession"


def _clients(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (one.name for one in names if one.name in _CLIENTS)
        case ast.ImportFrom(module=str() as module, names=names):
            if module in _CLIENTS or module.split(".")[0] in _CLIENTS:
                yield module
            yield from (f"{module}.{one.name}" for one in names if one.name in _NAMES.get(module, ()))
        case ast.Attribute(attr="urlopen" | "urlretrieve" | "build_opener" as name):
            yield name
        case ast.Attribute(value=ast.Name(id="aiohttp"), attr="request"):
            yield "aiohttp.request"


def _name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
