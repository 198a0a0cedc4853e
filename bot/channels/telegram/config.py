"""What the owner gives to connect a Telegram bot, and what the bot can then do.

Limits: https://core.telegram.org/bots/api#sendmessage and the pages beside it; rates:
https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this
"""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field

from bot.channels.base import ButtonLimits, Capabilities, MediaLimits, Ordering, Pace, Rate
from bot.channels.telegram.callback_data import MAX_BYTES
from domain.messages import MediaKind

FREE_RATE = 30.0  # messages a second to all chats together
PAID_RATE = 1000.0  # with paid broadcasts
_MB = 1_000_000


class TelegramConfig(BaseModel):
    """One bot, as @BotFather made it."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    token: str = Field(pattern=r"^[0-9]{1,20}:[A-Za-z0-9_-]{3,128}$", description="The token from @BotFather")
    mode: Literal["webhook", "polling"] = Field("webhook", description="How messages reach us")
    username: str = Field(
        "",
        pattern=r"^([A-Za-z][A-Za-z0-9_]{3,31})?$",
        description="The bot's name without @, for links to it",
    )
    bulk_per_second: float = Field(
        FREE_RATE, ge=1, le=PAID_RATE, description="Campaign messages a second, over all chats"
    )
    paid_broadcast: bool = Field(
        False, description="Pay Telegram (in Stars) for messages above 30 a second; needs an eligible bot"
    )


CAPABILITIES = Capabilities(
    text_length=4096,
    caption_length=1024,
    # Telegram has no limit for titles; phones show about this much in a row of its own.
    buttons=ButtonLimits(count=100, title_length=64, id_bytes=MAX_BYTES, links=100, mixed=True),
    list_rows=None,
    media={
        MediaKind.image: MediaLimits(
            max_bytes=10 * _MB,
            max_bytes_by_url=5 * _MB,
            mimes=frozenset({"image/jpeg", "image/png", "image/webp"}),
        ),
        MediaKind.video: MediaLimits(
            max_bytes=50 * _MB, max_bytes_by_url=20 * _MB, mimes=frozenset({"video/mp4"})
        ),
        MediaKind.animation: MediaLimits(
            max_bytes=50 * _MB, max_bytes_by_url=20 * _MB, mimes=frozenset({"image/gif", "video/mp4"})
        ),
        MediaKind.audio: MediaLimits(
            max_bytes=50 * _MB, max_bytes_by_url=20 * _MB, mimes=frozenset({"audio/mpeg", "audio/mp4"})
        ),
        MediaKind.voice: MediaLimits(
            max_bytes=50 * _MB,
            max_bytes_by_url=1 * _MB,
            mimes=frozenset({"audio/ogg", "audio/mpeg", "audio/mp4"}),
        ),
        MediaKind.document: MediaLimits(max_bytes=50 * _MB, max_bytes_by_url=20 * _MB),
        MediaKind.sticker: MediaLimits(
            max_bytes=512_000,
            max_bytes_by_url=512_000,
            mimes=frozenset({"image/webp", "video/webm", "application/x-tgsticker"}),
            caption=False,
        ),
        MediaKind.video_note: MediaLimits(
            max_bytes=50 * _MB, max_bytes_by_url=0, mimes=frozenset({"video/mp4"}), caption=False
        ),
    },
    album=10,
    markup="html",
    window_hours=None,
    receipts=frozenset(),  # Telegram tells bots neither that a message arrived nor that it was read
    ordering=Ordering.acceptance,
    pace=Pace(
        per_channel=Rate(FREE_RATE, 3),  # a waking that comes late loses no token; far below a second's worth
        replies_per_channel=None,  # the 30 a second are for bulk; answers are slowed by Telegram's own 429
        replies_wait=False,
        per_address=Rate(1.0, 4),  # "about one a second", short bursts pass: a turn of four leaves at once
        per_group=Rate(0.25, 5),  # 20 in any minute: five at once and 15 after them
    ),
    edit=True,
    reactions=True,
    typing=True,
    polls=True,
    contact_request=True,
    location_request=True,
    outlets=True,
    polling=True,
)


def capabilities(bulk_per_second: float) -> Capabilities:
    """The kind's capabilities at the pace that the owner chose."""
    if bulk_per_second == FREE_RATE:
        return CAPABILITIES
    burst = max(3, int(bulk_per_second / 20))  # 50 ms' worth: a waking that comes late loses no token
    return replace(CAPABILITIES, pace=replace(CAPABILITIES.pace, per_channel=Rate(bulk_per_second, burst)))
