"""One place makes the HTTP session: limits, proxy, certificates and the outgoing guard stand there once.

The shipped rooms may call `aiohttp.ClientSession(` in one file only. The simulators are a program of their
own and speak to the product and to nobody else, so they have theirs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from checks.house import ROOMS, modules


def problems(root: Path) -> Iterator[str]:
    rooms = [room for room in ROOMS if room != "simulators"]
    makers = [path for path, tree in modules(root, rooms) if any(map(_makes_session, ast.walk(tree)))]
    for path in makers[1:]:
        yield f"{path} makes an HTTP session of its own; use the one of {makers[0]}"


def _makes_session(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name == "ClientSession"
