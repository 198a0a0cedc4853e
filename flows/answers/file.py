"""`file`: a photo, document, voice message … The bytes stay with the platform; the value says how to fetch them.

A photo → `{"kind": "image", "platform_id": "AgAC…", "name": "casa.jpg", "mime": "image/jpeg", "size": 81234}` (bytes;
what the platform does not say is left out). Of an album the first counts.
"""

from __future__ import annotations

from typing import Any

from domain.messages import Received, ReceivedAlbum, ReceivedMedia
from domain.operators import in_words
from flows.answers import AnswerType, Invalid, Reading, Valid, answer


@answer
class File(AnswerType):
    """The category is the kind, so that a flow can tell a photo from a voice message."""

    key = "file"
    label = in_words("file o foto", "file or photo")
    reasons = ("file",)

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        media = media_of(received)
        return Invalid("file") if media is None else media_value(media)


def media_of(received: Received) -> ReceivedMedia | None:
    """The file that was sent; of an album the first."""
    if isinstance(received, ReceivedAlbum) and received.items:
        return received.items[0]
    return received if isinstance(received, ReceivedMedia) else None


def media_value(media: ReceivedMedia) -> Valid:
    """The answer that a file is; see the module."""
    value: dict[str, Any] = {"kind": media.media.value, "platform_id": media.platform_id}
    extra = {"name": media.filename, "mime": media.mime, "size": media.size}
    shown = media.caption or media.filename or media.media.value
    return Valid(
        value | {key: item for key, item in extra.items() if item is not None}, shown, media.media.value
    )
