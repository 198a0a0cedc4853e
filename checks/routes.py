"""Every HTTP route states who may call it, with `@access(…)` from `domain.access`.

Read from the source, so that it holds for every way of registering a route. In the rooms that answer HTTP:

1. A handler (a function or method that takes a `web.Request` and gives a `web.Response` or one of its kin)
   stands under `@access(…)`. A name with a leading underscore is a part of a handler; middlewares are none.
2. What is registered is never a private name, a lambda or a static folder: they could carry no policy.

mypy --strict sees to the annotations that the first rule relies on.

`undeclared` asks the same of a built application.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from checks.house import modules
from domain.access import policy_of

HTTP_ROOMS = ("webhooks", "console", "api")
_METHODS = ("get", "post", "put", "patch", "delete", "head", "options", "view")
# Name of the registering call → where its handler stands among the arguments.
_REGISTER = {f"add_{method}": 1 for method in _METHODS} | {"add_route": 2}
_REGISTER_WEB = dict.fromkeys(_METHODS, 1) | {"route": 2}


def problems(root: Path) -> Iterator[str]:
    for path, tree in modules(root, HTTP_ROOMS):
        for node in ast.walk(tree):
            if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
                if _is_handler(node) and not _states_access(node):
                    yield f"{path}:{node.lineno} {node.name} states no access policy: add @access(…)"
            elif isinstance(node, ast.Call) and (reason := _bad_registration(node)):
                yield f"{path}:{node.lineno} registers {reason}, which cannot carry an access policy"


def undeclared(application: web.Application) -> Iterator[str]:
    """Routes of a built application whose handler states no policy, as "METHOD /path"."""
    for route in application.router.routes():
        if policy_of(route.handler) is None:
            yield f"{route.method} {route.resource.canonical if route.resource else '?'}"


def _is_handler(node: ast.AsyncFunctionDef | ast.FunctionDef) -> bool:
    takes = [_last_name(argument.annotation) for argument in node.args.args]
    gives = _last_name(node.returns)
    middleware = any(_last_name(decorator) == "middleware" for decorator in node.decorator_list)
    return (
        "Request" in takes and gives.endswith("Response") and not node.name.startswith("_") and not middleware
    )


def _states_access(node: ast.AsyncFunctionDef | ast.FunctionDef) -> bool:
    return any(
        isinstance(item, ast.Call) and _last_name(item.func) == "access" for item in node.decorator_list
    )


def _bad_registration(call: ast.Call) -> str | None:
    name = _last_name(call.func)
    if not isinstance(call.func, ast.Attribute):
        return None
    if name in ("add_static", "static"):
        return "a static folder"
    of_web = isinstance(call.func.value, ast.Name) and call.func.value.id == "web"
    place = (_REGISTER | (_REGISTER_WEB if of_web else {})).get(name)
    if place is None:
        return None
    handlers = [keyword.value for keyword in call.keywords if keyword.arg == "handler"] + call.args[
        place : place + 1
    ]
    if any(isinstance(handler, ast.Lambda) for handler in handlers):
        return "a lambda"
    if any(_last_name(handler).startswith("_") for handler in handlers):
        return f"the private {_last_name(handlers[0])}"
    return None


def _last_name(node: ast.AST | None) -> str:
    """`web.Request` → "Request"; also from a quoted annotation."""
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.rsplit(".", 1)[-1]
    return ""
