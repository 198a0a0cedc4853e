"""`photo`: an image, sent as a photo or as a file.

A photo → `{"kind": "image", "platform_id": "AgAC…", "mime": "image/jpeg"}`, as `file` gives it; other files are
refused.
"""

from __future__ import annotations

from domain.messages import MediaKind, Received
from domain.operators import in_words
from flows.answers import AnswerType, Invalid, Reading, Valid, answer
from flows.answers.file import media_of, media_value


@answer
class Photo(AnswerType):
    """Gives what `file` gives. A document whose type begins with `image/` is a photo sent uncompressed."""

    key = "photo"
    label = in_words("foto", "photo")
    reasons = ("photo",)

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        media = media_of(received)
        if media is None:
            return Invalid("photo")
        as_file = media.media == MediaKind.document and (media.mime or "").startswith("image/")
        return media_value(media) if media.media == MediaKind.image or as_file else Invalid("photo")
