"""What our inline buttons carry: the option's id, and before it the id of our message where both fit.

`~` + 11 letters of base64url (our message id, 8 bytes) + option id; or the option id alone. The message id proves,
when somebody taps, that a message arrived whose sending had an unknown outcome. Telegram takes 1 to 64 bytes:
https://core.telegram.org/bots/api#inlinekeyboardbutton
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from binascii import Error, a2b_base64

MAX_BYTES = 64
_LETTERS = 11  # 8 bytes; the twelfth letter of base64 would be "="
_PREFIX = "~"
_HEAD = len(_PREFIX) + _LETTERS
MAX_ID_BYTES = MAX_BYTES - _HEAD  # an option id that always fits
_STANDARD = str.maketrans("-_", "+/")


def reference(own_id: int) -> str:
    """What stands before the option id on every button of one message."""
    return _PREFIX + urlsafe_b64encode(own_id.to_bytes(8, "big"))[:_LETTERS].decode()


def join(head: str | None, option_id: str) -> str | None:
    """The data of one button (`head` from `reference`, None without one); None when the id does not fit."""
    size = len(option_id) if option_id.isascii() else len(option_id.encode())
    if head is not None and 0 < size <= MAX_ID_BYTES:
        return head + option_id
    return option_id if 0 < size <= MAX_BYTES and not option_id.startswith(_PREFIX) else None


def split(data: str) -> tuple[int, str]:
    """(our message id or 0, option id) of what came back; data that is not ours is the option id as it stands."""
    if not data.startswith(_PREFIX) or len(data) <= _HEAD:
        return 0, data
    try:
        own_id = int.from_bytes(a2b_base64(data[1:_HEAD].translate(_STANDARD) + "=", strict_mode=True), "big")
    except (Error, ValueError):
        return 0, data
    ours = own_id < 1 << 63 and data.startswith(reference(own_id))
    return (own_id, data[_HEAD:]) if ours else (0, data)
