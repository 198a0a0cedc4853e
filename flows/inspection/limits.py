"""What the channels take, in characters and numbers. The figures are the platforms' own, see each constant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """One channel. Characters, but for `buttons` and `rows`, which are numbers."""

    name: str
    text: int
    text_with_buttons: int  # more, and the buttons take another form
    caption: int
    buttons: int  # more become a list
    rows: int  # more become numbered text
    button_title: int
    row_title: int
    row_description: int = 0  # 0: as long as the text
    opener: int = 0  # of a list, 0: there are no lists
    request: int = 0  # of a text above the platform's own button (phone, place), 0: as long as the text
    template_value: int = (
        0  # of the values of an approved template's body together, 0: there are no templates
    )
    template_header: int = 0
    template_code: int = 0  # of a code that is copied
    polls: bool = True  # false: they become choices


# https://core.telegram.org/bots/api#sendmessage: 4,096 characters; captions 1,024; a keyboard has up to 100 buttons.
# Longer button titles are shown cut by the apps, from about 40 characters on.
TELEGRAM = Limits("Telegram", 4_096, 4_096, 1_024, 100, 100, 40, 40)
# https://developers.facebook.com/docs/whatsapp/cloud-api/messages: 3 reply buttons of 20 characters, else a list of
# 10 rows of 24 characters; the body of an interactive message 1,024, of a text or a list 4,096; of a template 1,024.
WHATSAPP = Limits("WhatsApp", 4_096, 1_024, 1_024, 3, 10, 20, 24, 72, 20, 1_024, 1_024, 60, 15, polls=False)
CHANNELS: Mapping[str, Limits] = {"telegram": TELEGRAM, "whatsapp": WHATSAPP}
