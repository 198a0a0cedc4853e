"""`/media`: files to be sent. The body is the file; the same bytes give the same id."""

from __future__ import annotations

import asyncio
import re

from pydantic import Field

from api import bodies
from api.models import MediaId, Output, Query
from api.problems import Refused
from api.routing import Call, route
from bot.media import MAX_FILE, MAX_NAME

AT_ONCE = 2  # uploads in memory at a time: 100 MB; more are told to come back
UPLOAD_S = 300.0  # for the whole file: 50 MB over a slow line

_MIME = re.compile(r"[a-z]+/[a-z0-9][a-z0-9.+-]{0,100}")
_room = asyncio.Semaphore(AT_ONCE)


class Media(Output):
    """A stored file."""

    id: MediaId


class MediaQuery(Query):
    """How the file is called; folders in the name are dropped."""

    filename: str = Field("file", min_length=1, max_length=MAX_NAME)


@route("POST", "/media", scope="media:write", query=MediaQuery, out=Media, status=201, streams=True)
async def upload_media(call: Call[None, MediaQuery]) -> Media:
    """Stores a file of at most 50 MB; `Content-Type` says what it is."""
    mime = call.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if not _MIME.fullmatch(mime):
        raise Refused(415, "say what the file is, such as image/jpeg", where="Content-Type")
    if _room.locked():
        raise Refused(503, "other files are being stored", headers={"Retry-After": "2"})
    async with _room:
        data = await bodies.read(call.request, MAX_FILE, seconds=UPLOAD_S)
        if not data:
            raise Refused(400, "the file is empty")
        media_id = await call.live.media.save(
            call.workspace_id, data, filename=call.query.filename, mime=mime
        )
    return Media(id=media_id)
