"""Reading a JSON body: bounded in size, time and depth, and nothing in it that a database could not hold."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from api.problems import Refused

MAX_BODY = 1_000_000  # bytes; the largest flow document is a tenth of it
MAX_DEPTH = 32
BODY_S = 15.0  # for the whole body

_decode = msgspec.json.Decoder().decode


async def read_json(request: web.Request) -> bytes:
    """The body, known to be one JSON object within the limits. Raises Refused with 400, 408, 413 or 415."""
    if request.content_type != "application/json":
        raise Refused(415, "send application/json", where="Content-Type")
    body = await read(request, MAX_BODY)
    try:
        data = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, f"this is not JSON: {_said(error)}") from None
    if not isinstance(data, dict):
        raise Refused(400, "the body is a JSON object")
    check(data, "")
    return body


async def read(request: web.Request, limit: int, *, seconds: float = BODY_S) -> bytes:
    """At most `limit` bytes of body within `seconds`. Raises Refused with 408, 413 or 415."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refused(415, "compressed bodies are not taken", where="Content-Encoding")
    too_large = Refused(413, f"at most {limit} bytes", headers={"Connection": "close"})
    if (request.content_length or 0) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.content.iter_chunked(65_536):
                body += chunk
                if len(body) > limit:
                    raise too_large
    except TimeoutError:
        raise Refused(408, f"the body did not arrive within {seconds:.0f} seconds") from None
    return bytes(body)


def check(value: Any, where: str, depth: int = 0) -> None:
    """Raises Refused(400) for what is too deep, too large a number, or text that a database cannot hold."""
    if depth > MAX_DEPTH:
        raise Refused(400, f"nested deeper than {MAX_DEPTH}", where=where[:200])
    if isinstance(value, dict):
        for key, item in value.items():
            check(key, where, depth)
            check(item, f"{where}.{key}" if where else str(key), depth + 1)
    elif isinstance(value, list):
        for n, item in enumerate(value):
            check(item, f"{where}.{n}", depth + 1)
    elif isinstance(value, str):
        if "\x00" in value:
            raise Refused(400, "must not hold the character NUL", where=where[:200])
    elif isinstance(value, int | float) and not -(1 << 63) <= value < 1 << 63:
        raise Refused(400, "this number is too large", where=where[:200])


def _said(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    return str(error).removeprefix("JSON is malformed: ")[:200]
