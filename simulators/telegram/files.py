"""Files: what bots and people sent, under ids that hold for one bot each, and downloads.

`file_unique_id` is the same for everybody and follows the content; `file_id` follows the bot and the content, so the
same upload gives the same id, and another bot's id is no id.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from simulators.telegram.state import Bot, Wire
from simulators.world import World

DOWNLOAD_LIMIT = 20 * 1024 * 1024
UPLOAD_LIMIT = 50 * 1024 * 1024
PHOTO_LIMIT = 10 * 1024 * 1024
URL_LIMIT = 20 * 1024 * 1024
PHOTO_URL_LIMIT = 5 * 1024 * 1024
# Bytes kept in memory over all files; the oldest content is dropped first and then downloads as 404.
CONTENT_LIMIT = 256 * 1024 * 1024
LINK_HOLDS_S = 3600

# The first letters of a file_id tell its kind, as the real ones do; so do the folders of the download paths.
PREFIX = {
    "photo": "AgACAgQAAxk",
    "video": "BAACAgQAAxk",
    "document": "BQACAgQAAxk",
    "audio": "CQACAgQAAxk",
    "voice": "AwACAgQAAxk",
    "animation": "CgACAgQAAxk",
    "sticker": "CAACAgQAAxk",
    "video_note": "DQACAgQAAxk",
}
FOLDER = {
    "photo": "photos",
    "video": "videos",
    "document": "documents",
    "audio": "music",
    "voice": "voice",
    "animation": "animations",
    "sticker": "stickers",
    "video_note": "video_notes",
}
MIME = {
    "photo": "image/jpeg",
    "video": "video/mp4",
    "audio": "audio/mpeg",
    "voice": "audio/ogg",
    "animation": "video/mp4",
    "video_note": "video/mp4",
    "sticker": "image/webp",
    "document": "application/octet-stream",
}
PHOTO_SIZES = (("s", 90), ("m", 320), ("x", 800), ("y", 1280))


@dataclass(slots=True)
class Stored:
    """One file, or one size of a photo. `content` None: only its size is known."""

    unique_id: str
    kind: str
    size: int
    mime_type: str
    name: str
    width: int = 0
    height: int = 0
    duration: int = 0
    number: int = 0


class Files:
    """All files of the world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._by_id: dict[tuple[int, str], Stored] = {}
        self._content: OrderedDict[str, bytes] = OrderedDict()
        self._held = 0
        self._paths: dict[tuple[int, str], tuple[str, float]] = {}
        self._web: dict[str, tuple[bytes, str]] = {}
        self._numbers: dict[str, int] = {}

    def keep(
        self,
        kind: str,
        content: bytes,
        name: str,
        mime_type: str | None = None,
        *,
        size: int | None = None,
        width: int = 0,
        height: int = 0,
        duration: int = 0,
    ) -> Stored:
        """Take in a file. `size` pretends another length, for files too big to make up."""
        digest = hashlib.sha256(kind.encode() + content).digest()
        unique_id = f"Ag{base64.urlsafe_b64encode(digest[:10]).decode().rstrip('=')}"
        if unique_id not in self._content:
            self._content[unique_id] = content
            self._held += len(content)
            while self._held > CONTENT_LIMIT and len(self._content) > 1:
                self._held -= len(self._content.popitem(last=False)[1])
        number = self._numbers.setdefault(unique_id, len(self._numbers))
        return Stored(
            unique_id,
            kind,
            len(content) if size is None else size,
            mime_type or MIME[kind],
            name or f"file_{number}",
            width,
            height,
            duration,
            number,
        )

    def id_for(self, bot: Bot, stored: Stored, letter: str = "") -> str:
        """The file_id under which this bot knows the file."""
        digest = hashlib.sha256(f"{bot.id}:{stored.unique_id}{letter}".encode()).digest()
        file_id = f"{PREFIX[stored.kind]}{base64.urlsafe_b64encode(digest[:30]).decode()}{letter}"
        self._by_id[bot.id, file_id] = stored
        return file_id

    def known(self, bot: Bot, file_id: str) -> Stored | None:
        return self._by_id.get((bot.id, file_id))

    # --- wire -------------------------------------------------------------------------------------------------------

    def wire(self, bot: Bot, stored: Stored) -> Any:
        """The object of a message's field: a list of sizes for photos, else one object."""
        if stored.kind == "photo":
            return self._photo_sizes(bot, stored)
        wire: Wire = {}
        if stored.kind in ("video", "animation", "sticker"):
            wire |= {"width": stored.width or 320, "height": stored.height or 240}
        if stored.kind == "video_note":
            wire["length"] = stored.width or 240
        if stored.kind in ("video", "animation", "audio", "voice", "video_note"):
            wire["duration"] = stored.duration
        if stored.kind == "sticker":
            wire |= {"type": "regular", "is_animated": False, "is_video": False, "emoji": "🙂"}
        if stored.kind in ("video", "animation", "audio", "document"):
            wire["file_name"] = stored.name
        if stored.kind not in ("sticker", "video_note"):
            wire["mime_type"] = stored.mime_type
        return wire | {
            "file_id": self.id_for(bot, stored),
            "file_unique_id": stored.unique_id,
            "file_size": stored.size,
        }

    def _photo_sizes(self, bot: Bot, stored: Stored) -> list[Wire]:
        longest = max(stored.width, stored.height, 1)
        sizes = [size for size in PHOTO_SIZES if size[1] < longest]
        sizes.append(next((size for size in PHOTO_SIZES if size[1] >= longest), ("w", 2560)))
        return [
            {
                "file_id": self.id_for(bot, stored, letter),
                "file_unique_id": f"{stored.unique_id}{letter}",
                "file_size": max(1, round(stored.size * min(1.0, edge / longest) ** 2)),
                "width": max(1, round(stored.width * min(1.0, edge / longest))),
                "height": max(1, round(stored.height * min(1.0, edge / longest))),
            }
            for letter, edge in sizes
        ]

    # --- download ---------------------------------------------------------------------------------------------------

    def path_for(self, bot: Bot, stored: Stored) -> str:
        """The download path, valid for an hour."""
        ending = (
            "jpg"
            if stored.kind == "photo"
            else stored.name.rpartition(".")[2]
            if "." in stored.name
            else "dat"
        )
        path = f"{FOLDER[stored.kind]}/file_{stored.number}.{ending}"
        self._paths[bot.id, path] = (stored.unique_id, self._world.clock.now() + LINK_HOLDS_S)
        return path

    def download(self, bot: Bot, path: str) -> bytes | None:
        unique_id, until = self._paths.get((bot.id, path), ("", 0.0))
        return self._content.get(unique_id) if self._world.clock.now() < until else None

    def content(self, stored: Stored) -> bytes | None:
        """The bytes, unless they had to make room for newer ones."""
        return self._content.get(stored.unique_id)

    # --- the web that Telegram can fetch from -----------------------------------------------------------------------

    def put_on_web(self, url: str, content: bytes, mime_type: str) -> None:
        self._web[url] = (content, mime_type)

    def from_web(self, url: str) -> tuple[bytes, str] | None:
        return self._web.get(url)


def image_size(content: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG, GIF, JPEG or WebP; None when it is none of them."""
    if content[:8] == b"\x89PNG\r\n\x1a\n" and len(content) >= 24:
        width, height = struct.unpack(">II", content[16:24])
        return int(width), int(height)
    if content[:6] in (b"GIF87a", b"GIF89a") and len(content) >= 10:
        width, height = struct.unpack("<HH", content[6:10])
        return int(width), int(height)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP" and len(content) >= 30:
        return _webp_size(content)
    if content[:2] == b"\xff\xd8":
        return _jpeg_size(content)
    return None


def _webp_size(content: bytes) -> tuple[int, int] | None:
    form = content[12:16]
    if form == b"VP8X":
        return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
    if form == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if form == b"VP8 ":
        width, height = struct.unpack("<HH", content[26:30])
        return int(width) & 0x3FFF, int(height) & 0x3FFF
    return None


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 < len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker in (0xC0, 0xC1, 0xC2, 0xC3):
            height, width = struct.unpack(">HH", content[at + 5 : at + 9])
            return int(width), int(height)
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None


def plain_png(width: int, height: int, grey: int = 200) -> bytes:
    """A real, one-coloured picture for people who send a photo without giving one."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes([grey]) * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
