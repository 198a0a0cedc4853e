"""Long polling, for a bot without a public URL: https://core.telegram.org/bots/api#getupdates

Asking with an offset confirms everything before it: Telegram forgets it. So whoever polls commits a batch to intake
first and only then fetches with the batch's `next_offset`. One poller per bot: a second one gets a conflict
(SendError(unavailable, code "409")), as does everyone while a webhook is set.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from bot.channels.base import ApiCall
from bot.channels.telegram.answers import explain, no_answer
from bot.channels.telegram.client import READ_S, TelegramClient
from bot.channels.telegram.inbound import ALLOWED_UPDATES, mended
from domain.errors import SendError

LIMIT = 100  # updates a batch, Telegram's most
WAIT_S = 25  # Telegram holds an empty answer so long (at most 50); below what middle-boxes cut


class Batch(Struct, frozen=True):
    """Updates as they came, one body each for `parse`, and the offset that confirms them."""

    updates: tuple[bytes, ...]
    next_offset: int


class _Numbered(Struct):
    update_id: int


class _Answer(Struct):
    result: list[Raw]


_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
_answer = msgspec.json.Decoder(_Answer)
_numbered = msgspec.json.Decoder(_Numbered)


async def fetch(client: TelegramClient, offset: int, *, wait_s: int = WAIT_S) -> Batch:
    """The next updates, oldest first; none after `wait_s` seconds. Offset 0: from the oldest that is kept.

    Raises SendError; nothing is lost by it, the same offset can be asked for again.
    """
    payload = {"offset": offset, "limit": LIMIT, "timeout": wait_s, "allowed_updates": ALLOWED_UPDATES}
    call = ApiCall(method="getUpdates", payload=payload, idempotent=True)
    status, body = await client.request(
        call.method, msgspec.json.encode(payload), idempotent=True, read_s=wait_s + READ_S
    )
    try:
        updates, numbers = _read(body)
    except _UNREADABLE:
        outcome = explain(call, status, body)
        raise outcome if isinstance(outcome, SendError) else no_answer(call, "unreadable updates") from None
    return Batch(updates, max(numbers) + 1 if numbers else offset)


def _read(body: bytes) -> tuple[tuple[bytes, ...], list[int]]:
    """A broken character in one update must not keep the others: then the whole answer is mended first."""
    try:
        found = _answer.decode(body)
    except _UNREADABLE:
        found = _answer.decode(mended(body))
    updates = tuple(bytes(update) for update in found.result)
    return updates, [_numbered.decode(update).update_id for update in updates]
