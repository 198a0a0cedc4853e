"""The console's own files: a style sheet, a small script, an icon. Known by name, so no path can lead elsewhere."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from aiohttp import web

from domain.access import access

_FOLDER = Path(__file__).parent
_TYPES = {"console.css": "text/css", "live.js": "text/javascript", "icon.svg": "image/svg+xml"}


@access("public")
async def serve(request: web.Request) -> web.Response:
    """A file, asked for again by its hash."""
    name = request.match_info["name"]
    if name not in _TYPES:
        raise web.HTTPNotFound
    body, tag = _file(name)
    headers = {"Cache-Control": "no-cache", "ETag": f'"{tag}"'}
    if request.headers.get("If-None-Match") == f'"{tag}"':
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, content_type=_TYPES[name], charset="utf-8", headers=headers)


@cache
def _file(name: str) -> tuple[bytes, str]:
    body = (_FOLDER / name).read_bytes()
    return body, hashlib.sha256(body).hexdigest()[:16]
