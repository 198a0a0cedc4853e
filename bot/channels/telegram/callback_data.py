"""What our inline buttons carry: the option's id, and before it the id of our message where both fit.

`~` + 11 letters of base64url (our 63-bit message id, high bits first) + option id; or the option id alone. The
message id proves, when somebody taps, that a message arrived whose sending had an unknown outcome. Telegram
takes 1 to 64 bytes: https://core.telegram.org/bots/api#inlinekeyboardbutton
"""

from __future__ import annotations

MAX_BYTES = 64
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_LETTERS = 11  # 66 bits
_PREFIX = "~"
_HEAD = len(_PREFIX) + _LETTERS
MAX_ID_BYTES = MAX_BYTES - _HEAD  # an option id that always fits


def reference(own_id: int) -> str:
    """What stands before the option id on every button of one message."""
    return _PREFIX + "".join(_ALPHABET[(own_id >> shift) & 63] for shift in range(60, -1, -6))


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
    number = 0
    for letter in data[len(_PREFIX) : _HEAD]:
        value = _VALUES.get(letter)
        if value is None:
            return 0, data
        number = (number << 6) | value
    return (number, data[_HEAD:]) if number < 1 << 63 else (0, data)
