"""What the Cloud API can show and carry, as numbers.

Messages: https://developers.facebook.com/docs/whatsapp/cloud-api/guides/send-messages
Media:    https://developers.facebook.com/docs/whatsapp/cloud-api/reference/media#supported-media-types
"""

from __future__ import annotations

from bot.channels.base import ButtonLimits, Capabilities, ListLimits, MediaLimits, Ordering, Pace, Rate
from domain.messages import MediaKind, MessageStatus

TEXT = 4096  # characters, also of a list's text
CAPTION = 1024
INTERACTIVE_TEXT = 1024  # above buttons, a link or a request
TEMPLATE_VALUE = 1024  # the whole filled body has no more
WINDOW_HOURS = 24
LINK_TITLE = 20
STANDARD_RATE = 80  # messages a second, those that come in counted too

BUTTONS = ButtonLimits(count=3, title_length=20, id_bytes=256, links=1)
ROWS = ListLimits(rows=10, title_length=24, description_length=72, id_bytes=200, opener_length=20)

_MB = 1024 * 1024
_VIDEO = frozenset({"video/mp4", "video/3gpp"})


def _file(
    max_bytes: int, mimes: frozenset[str] = frozenset(), *, caption: bool = True, buttons: bool = True
) -> MediaLimits:
    return MediaLimits(
        max_bytes=max_bytes, max_bytes_by_url=max_bytes, mimes=mimes, caption=caption, buttons=buttons
    )


MEDIA: dict[MediaKind, MediaLimits] = {
    MediaKind.image: _file(5 * _MB, frozenset({"image/jpeg", "image/png"})),
    MediaKind.video: _file(16 * _MB, _VIDEO),
    MediaKind.animation: _file(16 * _MB, _VIDEO),  # goes out as a video
    MediaKind.video_note: _file(16 * _MB, _VIDEO),
    MediaKind.audio: _file(
        16 * _MB,
        frozenset({"audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"}),
        caption=False,
        buttons=False,
    ),
    MediaKind.voice: _file(16 * _MB, frozenset({"audio/ogg"}), caption=False, buttons=False),
    MediaKind.document: _file(100 * _MB),
    MediaKind.sticker: _file(500 * 1024, frozenset({"image/webp"}), caption=False, buttons=False),
}


def capabilities(messages_per_second: int = STANDARD_RATE) -> Capabilities:
    """What a number of that throughput can do. Bulk leaves a fifth of it to replies and to what comes in."""
    return Capabilities(
        text_length=TEXT,
        caption_length=CAPTION,
        buttons=BUTTONS,
        list_rows=ROWS,
        media=MEDIA,
        album=0,
        markup="marks",
        window_hours=WINDOW_HOURS,
        receipts=frozenset(
            {MessageStatus.sent, MessageStatus.delivered, MessageStatus.read, MessageStatus.failed}
        ),
        ordering=Ordering.delivered,
        pace=Pace(
            per_channel=Rate(messages_per_second * 0.8, burst=max(1, messages_per_second // 10)),
            replies_per_channel=Rate(messages_per_second, burst=max(1, messages_per_second // 10)),
            per_address=Rate(1 / 6, burst=45),
            per_group=None,
        ),
        reactions=True,
        templates=True,
        typing=True,
        marks_read=True,
        contact_request=True,
        location_request=True,
    )
