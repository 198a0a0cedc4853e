"""Photos, videos, documents and the like: by file_id, by URL or uploaded, alone or as an album."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from simulators.telegram import places, text
from simulators.telegram.calls import Call, method
from simulators.telegram.errors import bad
from simulators.telegram.files import (
    PHOTO_LIMIT,
    PHOTO_URL_LIMIT,
    PREFIX,
    UPLOAD_LIMIT,
    URL_LIMIT,
    Stored,
    image_size,
)
from simulators.telegram.methods.sending import (
    CAPTION_LIMIT,
    replied_to,
    reply_parameters,
    send,
    spend,
    topic_of,
)
from simulators.telegram.params import Upload
from simulators.telegram.posting import post
from simulators.telegram.state import Wire

ALBUM_LIMIT = 10
PHOTO_EDGES_LIMIT = 10_000
PHOTO_RATIO_LIMIT = 20
FETCH_TIMEOUT_S = 5
# Which kinds may stand together in an album.
ALBUM_KINDS = ("photo", "video", "document", "audio")
KINDS = ("photo", "video", "animation", "audio", "document", "voice", "video_note", "sticker")


@dataclass(slots=True)
class Caption:
    """A checked caption; `over` is measured late, as the server does."""

    content: Wire
    length: int


def read_caption(values: Mapping[str, Any], call: Call) -> Caption:
    """`caption`, `parse_mode`, `caption_entities` of a call or of one album item."""
    raw = values.get("caption")
    if raw is None or raw == "":
        return Caption({}, 0)
    entities = values.get("caption_entities")
    if isinstance(entities, str):
        entities = call.params.json("caption_entities", "can't parse caption entities JSON object")
    result = text.formatted(str(raw), str(values.get("parse_mode") or ""), entities)
    content: Wire = {"caption": result.text} if result.text else {}
    if result.entities:
        content["caption_entities"] = result.entities
    if str(values.get("show_caption_above_media", "")).lower() in ("true", "1", "yes"):
        content["show_caption_above_media"] = True
    return Caption(content, len(result.text))


async def read_file(call: Call, kind: str, given: Any, field: str) -> Stored:
    """The file that a parameter names; `given` is a file_id, a URL, `attach://name`, or absent when uploaded."""
    upload = call.params.uploads.get(field)
    if isinstance(given, str) and given.startswith("attach://"):
        upload = call.params.uploads.get(given.removeprefix("attach://"))
        if upload is None:
            raise bad(f"there is no {_called(kind)} in the request")
    if upload is not None:
        return _from_upload(call, kind, upload)
    if not isinstance(given, str) or not given:
        raise bad(f"there is no {_called(kind)} in the request")
    if given.lower().startswith(("http://", "https://")):
        return await _from_url(call, kind, given)
    known = call.tg.files.known(call.bot, given)
    if known is None:
        if given.startswith(tuple(PREFIX.values())):
            raise bad("wrong file identifier/HTTP URL specified")
        raise bad(
            "wrong remote file identifier specified: Wrong string length"
            if "." not in given
            else "wrong file identifier/HTTP URL specified"
        )
    if known.kind != kind and {known.kind, kind} not in ({"photo", "sticker"}, {"video", "animation"}):
        raise bad(f"can't use file of type {known.kind.capitalize()} as {kind.capitalize()}")
    return known


def _called(kind: str) -> str:
    return kind.replace("_", " ")


def _from_upload(call: Call, kind: str, upload: Upload) -> Stored:
    if len(upload.content) > UPLOAD_LIMIT:
        raise bad("file is too big")
    if not upload.content:
        raise bad("file must be non-empty")
    call.tg.limits.upload(call.bot, len(upload.content))
    return _stored(call, kind, upload.content, upload.name, upload.mime_type, PHOTO_LIMIT)


def _stored(
    call: Call, kind: str, content: bytes, name: str, mime_type: str | None, photo_limit: int
) -> Stored:
    width, height = image_size(content) or (0, 0)
    if kind == "photo":
        if len(content) > photo_limit:
            raise bad("file is too big")
        if not width or not height:
            raise bad("IMAGE_PROCESS_FAILED")
        if width + height > PHOTO_EDGES_LIMIT or max(width, height) > PHOTO_RATIO_LIMIT * min(width, height):
            raise bad("PHOTO_INVALID_DIMENSIONS")
    known_mime = None if mime_type in (None, "application/octet-stream") else mime_type
    duration = (
        call.params.integer("duration")
        if kind in ("video", "audio", "voice", "animation", "video_note")
        else 0
    )
    return call.tg.files.keep(
        kind,
        content,
        name,
        known_mime,
        width=width or call.params.integer("width"),
        height=height or call.params.integer("height"),
        duration=duration,
    )


async def _from_url(call: Call, kind: str, url: str) -> Stored:
    """A page of the simulated web, or one on this machine; nothing else can be reached."""
    found = call.tg.files.from_web(url)
    if found is None:
        found = await _fetched(call, url)
    if found is None:
        raise bad("failed to get HTTP URL content")
    content, mime_type = found
    limit = PHOTO_URL_LIMIT if kind == "photo" else URL_LIMIT
    if len(content) > limit:
        raise bad("failed to get HTTP URL content")
    if mime_type.startswith("text/html") or (kind == "photo" and not mime_type.startswith("image/")):
        raise bad("wrong type of the web page content")
    name = urlsplit(url).path.rpartition("/")[2]
    return _stored(call, kind, content, name, mime_type, limit)


async def _fetched(call: Call, url: str) -> tuple[bytes, str] | None:
    host = urlsplit(url).hostname or ""
    try:
        if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
            return None
    except ValueError:
        return None
    try:
        async with asyncio.timeout(FETCH_TIMEOUT_S), call.tg.world.session.get(url) as response:
            if response.status != 200:
                return None
            return await response.content.read(URL_LIMIT + 1), response.content_type
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None


async def _send(call: Call, kind: str) -> Wire:
    values = call.params.values
    stored = await read_file(call, kind, values.get(kind), kind)
    caption = read_caption(values, call) if kind not in ("sticker", "video_note") else Caption({}, 0)
    reply = reply_parameters(call)
    markup = call.markup()
    place = call.place()
    places.check_send(call.bot, place, kind)
    if caption.length > CAPTION_LIMIT:
        raise bad("message caption is too long")
    return send(
        call,
        place,
        kind,
        {**content_of(call, kind, stored, values), **caption.content},
        markup=markup,
        reply=reply,
    )


def content_of(call: Call, kind: str, stored: Stored, values: Mapping[str, Any]) -> Wire:
    """The message fields of one file."""
    wire = call.tg.files.wire(call.bot, stored)
    content: Wire = {kind: wire}
    if kind == "audio":
        wire |= {name: str(values[name]) for name in ("performer", "title") if values.get(name)}
    if kind == "animation":
        content["document"] = {
            name: wire[name] for name in ("file_name", "mime_type", "file_id", "file_unique_id", "file_size")
        }
    if kind in ("photo", "video", "animation") and str(values.get("has_spoiler", "")).lower() in (
        "true",
        "1",
    ):
        content["has_media_spoiler"] = True
    return content


@method("sendPhoto")
async def send_photo(call: Call) -> Wire:
    return await _send(call, "photo")


@method("sendVideo")
async def send_video(call: Call) -> Wire:
    return await _send(call, "video")


@method("sendAnimation")
async def send_animation(call: Call) -> Wire:
    return await _send(call, "animation")


@method("sendAudio")
async def send_audio(call: Call) -> Wire:
    return await _send(call, "audio")


@method("sendDocument")
async def send_document(call: Call) -> Wire:
    return await _send(call, "document")


@method("sendVoice")
async def send_voice(call: Call) -> Wire:
    return await _send(call, "voice")


@method("sendVideoNote")
async def send_video_note(call: Call) -> Wire:
    return await _send(call, "video_note")


@method("sendSticker")
async def send_sticker(call: Call) -> Wire:
    return await _send(call, "sticker")


@method("sendMediaGroup")
async def send_media_group(call: Call) -> list[Wire]:
    """2–10 items with one media_group_id; no buttons; documents and audios only among their own kind."""
    items = call.params.json("media", "can't parse media JSON object")
    if items is None:
        raise bad("there are no messages to send as an album")
    if not isinstance(items, list):
        raise bad("expected an Array of InputMedia")
    if len(items) > ALBUM_LIMIT:
        raise bad("too many messages to send as an album")
    if not items:
        raise bad("there are no messages to send as an album")
    contents = [await album_item(call, item) for item in items]
    kinds = {kind for kind, _, _ in contents}
    if len(kinds) > 1 and not kinds <= {"photo", "video"}:
        raise bad(
            "document can't be mixed with other media types"
            if "document" in kinds
            else "audio can't be mixed with other media types"
        )
    reply = reply_parameters(call)
    place = call.place()
    for kind, _, caption in contents:
        places.check_send(call.bot, place, kind)
        if caption.length > CAPTION_LIMIT:
            raise bad("message caption is too long")
    answered = replied_to(place, reply)
    spend(call, place, len(contents))
    group_id = str(call.tg.world.rng.randrange(10**16, 10**17))
    head = ({"media_group_id": group_id} if len(contents) > 1 else {}) | topic_of(call, place)
    return [
        post(
            call.tg,
            call.bot,
            place,
            {**content, **caption.content},
            reply_to=answered,
            protected=call.params.flag("protect_content"),
            head=head,
        ).wire
        for _, content, caption in contents
    ]


async def album_item(
    call: Call, item: Any, kinds: tuple[str, ...] = ALBUM_KINDS
) -> tuple[str, Wire, Caption]:
    """One InputMedia: its kind, message fields and caption."""
    if not isinstance(item, dict):
        raise bad("can't parse InputMedia: expected an Object")
    kind = item.get("type")
    if not isinstance(kind, str) or kind not in KINDS:
        raise bad(
            "can't parse InputMedia: media type is unsupported"
            if kind
            else "can't parse InputMedia: Can't find field \"type\""
        )
    if kind not in kinds:
        raise bad(f'type "{kind}" can\'t be used in sendMediaGroup')
    if "media" not in item:
        raise bad("can't parse InputMedia: media not found")
    stored = await read_file(call, kind, item["media"], "media")
    return kind, content_of(call, kind, stored, item), read_caption(item, call)
