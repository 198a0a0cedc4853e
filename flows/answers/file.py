"""`file`: a photo, document, voice message … The bytes stay with the platform; the value says how to fetch them."""

from __future__ import annotations

from typing import Any

from domain.messages import Received, ReceivedAlbum, ReceivedMedia
from domain.operators import in_words
from flows.answers import Invalid, Reading, Valid, answer


@answer
class File:
    """Gives `{"kind": "image", "platform_id": …, "name": …, "mime": …, "size": bytes}`; of an album the first.

    The category is the kind, so that a flow can tell a photo from a voice message.
    """

    key = "file"
    label = in_words("file o foto", "file or photo")
    asks_for = ""

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        if isinstance(received, ReceivedAlbum) and received.items:
            received = received.items[0]
        if not isinstance(received, ReceivedMedia):
            return Invalid("file")
        value: dict[str, Any] = {"kind": received.media.value, "platform_id": received.platform_id}
        extra = {"name": received.filename, "mime": received.mime, "size": received.size}
        shown = received.caption or received.filename or received.media.value
        return Valid(
            value | {key: item for key, item in extra.items() if item is not None},
            shown,
            received.media.value,
        )
