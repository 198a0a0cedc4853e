"""`voice`: a voice message, or another piece of sound.

A voice message → `{"kind": "voice", "platform_id": "AwAC…", "mime": "audio/ogg"}`, as `file` gives it; category `voice`
or `audio`.
"""

from __future__ import annotations

from domain.messages import MediaKind, Received
from domain.operators import in_words
from flows.answers import AnswerType, Invalid, Reading, Valid, answer
from flows.answers.file import media_of, media_value


@answer
class Voice(AnswerType):
    """Gives what `file` gives."""

    key = "voice"
    label = in_words("messaggio vocale", "voice message")
    reasons = ("voice",)

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        media = media_of(received)
        if media is None or media.media not in (MediaKind.voice, MediaKind.audio):
            return Invalid("voice")
        return media_value(media)
