"""JSON in and out of the control API, in one place so that every route reads and refuses alike."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from simulators.world import ControlError

# Made once: json.dumps with options makes a new encoder for every call. ASCII only, as Telegram writes it.
compact = json.JSONEncoder(separators=(",", ":")).encode

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answer(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=json.dumps(value).encode(), status=status, content_type="application/json")


async def body_of(request: web.Request) -> dict[str, Any]:
    """The request's JSON object; an empty body is an empty object."""
    raw = await request.read()
    if not raw.strip():
        return {}
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise ControlError(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ControlError("the body must be a JSON object")
    return value


def needed(spec: Mapping[str, Any], name: str, kind: type | tuple[type, ...] = str) -> Any:
    """A field that must be there, of the given type."""
    value = spec.get(name)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        wanted = kind.__name__ if isinstance(kind, type) else " or ".join(each.__name__ for each in kind)
        raise ControlError(f"{name}: {wanted} expected, got {value!r}")
    return value


def query_int(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    try:
        return min(high, max(low, int(text)))
    except ValueError as error:
        raise ControlError(f"{name}: a whole number expected, got {text!r}") from error


def whole(spec: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """A whole number, also as text; `default` when absent, if there is one."""
    value = spec.get(name)
    if value is None and default is not None:
        return default
    try:
        return int(value)  # type: ignore[arg-type]  # None is refused like everything else
    except (TypeError, ValueError, OverflowError) as error:
        raise ControlError(f"{name}: a whole number expected, got {value!r}") from error


def decimal(spec: Mapping[str, Any], name: str) -> float:
    """A finite number that must be there, also as text."""
    try:
        value = float(spec[name])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ControlError(f"{name}: a number expected, got {spec.get(name)!r}") from error
    if not math.isfinite(value):
        raise ControlError(f"{name}: a number expected, got {value}")
    return value
