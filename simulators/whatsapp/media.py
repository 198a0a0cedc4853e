"""Media: what may be uploaded, how long an id lives, and the short-lived address to download from.

https://developers.facebook.com/docs/whatsapp/cloud-api/reference/media
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulators.whatsapp.errors import GraphError

UPLOADED_LIFE_S = 30 * 24 * 3600
RECEIVED_LIFE_S = 7 * 24 * 3600
URL_LIFE_S = 5 * 60
LINK_CACHE_S = 10 * 60
# All media in memory together; the oldest go first.
STORE_MAX = 256 * 1024 * 1024

_MB = 1024 * 1024
# kind: (largest size, accepted types); a document may be anything.
LIMITS: dict[str, tuple[int, tuple[str, ...]]] = {
    "image": (5 * _MB, ("image/jpeg", "image/png")),
    "video": (16 * _MB, ("video/mp4", "video/3gpp", "video/3gp")),
    "audio": (16 * _MB, ("audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg", "audio/opus")),
    "sticker": (500 * 1024, ("image/webp",)),
    "document": (100 * _MB, ()),
}


@dataclass(slots=True)
class Media:
    """A stored file. `token` makes the current download address, valid until `token_until`."""

    id: str
    number_id: str
    mime_type: str
    data: bytes
    sha256: bytes
    filename: str | None
    expires_at: float
    token: str = ""
    token_until: float = 0.0

    @property
    def sha256_base64(self) -> str:
        return base64.b64encode(self.sha256).decode()


def kind_of(mime_type: str) -> str:
    """The message type that a MIME type belongs to."""
    bare = mime_type.split(";")[0].strip().lower()
    return next((kind for kind, (_, types) in LIMITS.items() if bare in types), "document")


def check(kind: str, mime_type: str, size: int) -> None:
    """Raise 131053 when a file cannot be sent as this kind of message."""
    largest, types = LIMITS[kind]
    bare = mime_type.split(";")[0].strip().lower()
    if types and bare not in types:
        raise GraphError(
            131053, f"{kind}: MIME type {bare or 'unknown'} is not supported, use one of {', '.join(types)}"
        )
    if size > largest:
        raise GraphError(131053, f"{kind}: file is {size} bytes, at most {largest} are allowed")
    if size == 0:
        raise GraphError(131053, f"{kind}: file is empty")


class MediaStore:
    """Files by id, bounded in total size."""

    def __init__(self, now: Callable[[], float], new_id: Callable[[], str]) -> None:
        self._now = now
        self._new_id = new_id
        self._size = 0
        self.by_id: dict[str, Media] = {}
        self._by_token: dict[str, Media] = {}
        self.handles: dict[str, bytes] = {}

    def add(self, number_id: str, data: bytes, mime_type: str, filename: str | None, life_s: float) -> Media:
        media = Media(
            id=self._new_id(),
            number_id=number_id,
            mime_type=mime_type,
            data=data,
            sha256=hashlib.sha256(data).digest(),
            filename=filename,
            expires_at=self._now() + life_s,
        )
        self.by_id[media.id] = media
        self._size += len(data)
        while self._size > STORE_MAX and len(self.by_id) > 1:
            self.remove(next(iter(self.by_id)))
        return media

    def find(self, media_id: str) -> Media | None:
        media = self.by_id.get(media_id)
        return media if media is not None and media.expires_at > self._now() else None

    def remove(self, media_id: str) -> bool:
        media = self.by_id.pop(media_id, None)
        if media is None:
            return False
        self._size -= len(media.data)
        self._by_token.pop(media.token, None)
        return True

    def address(self, media: Media, origin: str) -> str:
        """A download URL that is valid for five minutes; an address still fresh is given again."""
        if media.token_until <= self._now():
            self._by_token.pop(media.token, None)
            media.token = hashlib.blake2b(f"{media.id}/{self._now()}".encode(), digest_size=16).hexdigest()
            self._by_token[media.token] = media
            media.token_until = self._now() + URL_LIFE_S
        return f"{origin}/sim-media/{media.token}"

    def by_token(self, token: str) -> Media | None:
        media = self._by_token.get(token)
        return media if media is not None and media.token_until > self._now() else None

    def describe(self, media: Media, origin: str) -> dict[str, Any]:
        """The answer of `GET /{media id}`."""
        return {
            "messaging_product": "whatsapp",
            "url": self.address(media, origin),
            "mime_type": media.mime_type,
            "sha256": media.sha256.hex(),
            "file_size": len(media.data),
            "id": media.id,
        }
