"""One bot's updates: which are wanted, their numbers, queue keys and expiry, and the getUpdates rules.

Numbers rise by one across all kinds. A queue key says which updates wait for each other on the webhook (a person's
texts share one, their button taps another). Updates expire unseen: a tap after 150 s, most others after a day.
The numbers come from the official server's source.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from simulators.clock import Clock
from simulators.telegram.errors import (
    ENDED_BY_WEBHOOK,
    OTHER_POLLER,
    POLLING_WHILE_WEBHOOK,
    conflict,
)
from simulators.wire import compact

DAY_S = 86_400
LIFE_S: Mapping[str, int] = {
    "callback_query": 150,
    "shipping_query": 150,
    "pre_checkout_query": 150,
    "inline_query": 30,
    "chosen_inline_result": 600,
}
# Kinds sent only to bots that ask for them by name.
ON_REQUEST = frozenset({"chat_member", "message_reaction", "message_reaction_count"})
KINDS = frozenset(
    "message edited_message channel_post edited_channel_post business_connection business_message "
    "edited_business_message deleted_business_messages message_reaction message_reaction_count inline_query "
    "chosen_inline_result callback_query shipping_query pre_checkout_query purchased_paid_media poll poll_answer "
    "my_chat_member chat_member chat_join_request chat_boost removed_chat_boost managed_bot guest_message".split()
)
# Which updates are kept in order with each other. Joins and join requests of one person share a queue.
QUEUE_CLASS: Mapping[str, str] = {
    "message": "chat",
    "edited_message": "chat",
    "channel_post": "chat",
    "edited_channel_post": "chat",
    "chat_member": "member",
    "chat_join_request": "member",
    "poll": "poll",
    "poll_answer": "poll",
}
# The server stores about a day's updates; a stuck receiver must not eat the simulator's memory.
PENDING_LIMIT = 200_000

POLL_TIMEOUT_MAX_S = 50
# Asking again for what was not confirmed: answered slowly, so that a broken poller does not spin.
REPEAT_WAIT_S = 3.0
REPEAT_FAST_S = 0.5

QueueKey = tuple[str, int | str]


@dataclass(slots=True)
class Update:
    """One update as it waits. `body` is the JSON of the whole Update object."""

    id: int
    kind: str
    key: QueueKey
    expires_at: float
    body: bytes


class Updates:
    """The pending updates of one bot, whoever fetches them."""

    def __init__(self, clock: Clock, first_id: int) -> None:
        self._clock = clock
        self._next_id = first_id
        self.pending: OrderedDict[int, Update] = OrderedDict()
        self.allowed: frozenset[str] | None = None
        self.deliver: Callable[[Update], None] | None = None  # set while a webhook is active
        self.dropped = 0
        self._poller: asyncio.Future[str] | None = None
        self._last_poll: tuple[int, float] | None = None
        self._last_conflict = 0.0

    # --- in ---------------------------------------------------------------------------------------------------------

    def wants(self, kind: str) -> bool:
        return kind not in ON_REQUEST if self.allowed is None else kind in self.allowed

    def allow(self, kinds: Collection[Any] | None) -> None:
        """`allowed_updates`: None keeps, empty or without a known name means the default."""
        if kinds is not None:
            known = frozenset(str(kind) for kind in kinds) & KINDS
            self.allowed = known or None

    def push(
        self, kind: str, payload: Mapping[str, Any], subject: int | str, born_at: float | None = None
    ) -> int | None:
        """Queue one update about `subject` (chat, person or poll id, by kind); gives its id, None if unwanted."""
        if not self.wants(kind):
            return None
        update_id = self._next_id
        self._next_id += 1
        born = self._clock.now() if born_at is None else born_at
        update = Update(
            id=update_id,
            kind=kind,
            key=(QUEUE_CLASS.get(kind, kind), subject),
            expires_at=born + LIFE_S.get(kind, DAY_S),
            body=b'{"update_id":%d,"%s":%s}' % (update_id, kind.encode(), compact(payload).encode()),
        )
        self.pending[update_id] = update
        if len(self.pending) > PENDING_LIMIT:
            self.pending.popitem(last=False)
            self.dropped += 1
        if self.deliver is not None:
            self.deliver(update)
        elif self._poller is not None and not self._poller.done():
            self._poller.set_result("")
        return update_id

    def settle(self, update: Update) -> None:
        """Delivered, or expired: it is gone."""
        self.pending.pop(update.id, None)

    def drop_expired(self) -> None:
        now = self._clock.now()
        for update in [each for each in self.pending.values() if each.expires_at <= now]:
            self.settle(update)

    def clear(self) -> None:
        self.pending.clear()

    # --- getUpdates -------------------------------------------------------------------------------------------------

    async def poll(self, offset: int, limit: int, timeout_s: float) -> list[Update]:
        """Confirm what is below `offset` and wait for the rest, by the server's rules for repeats and rivals."""
        await self._refuse_while_webhook()
        self._end_rival()
        now = self._clock.now()
        if self._last_poll is not None and self._last_poll[0] == offset:
            since = now - self._last_poll[1]
            timeout_s = max(timeout_s, REPEAT_WAIT_S) if since < REPEAT_WAIT_S else timeout_s
            limit = 1 if since < REPEAT_FAST_S else limit
        self._last_poll = (offset, now)
        self._confirm(offset)
        self.drop_expired()
        if not self.pending and timeout_s > 0:
            await self._wait(timeout_s)
        return list(islice(self.pending.values(), limit))

    async def _refuse_while_webhook(self) -> None:
        if self.deliver is None:
            return
        now = self._clock.now()
        repeated = now - self._last_conflict < REPEAT_WAIT_S
        self._last_conflict = now
        if repeated:
            await self._clock.sleep(REPEAT_WAIT_S)
        raise conflict(POLLING_WHILE_WEBHOOK)

    def _end_rival(self) -> None:
        if self._poller is not None and not self._poller.done():
            self._poller.set_result(OTHER_POLLER)

    def end_polling(self) -> None:
        """A webhook was set: the open getUpdates is refused."""
        if self._poller is not None and not self._poller.done():
            self._poller.set_result(ENDED_BY_WEBHOOK)

    def _confirm(self, offset: int) -> None:
        if offset < 0:
            for update_id in list(self.pending)[:offset]:
                del self.pending[update_id]
            return
        while self.pending and (first := next(iter(self.pending))) < offset:
            del self.pending[first]

    async def _wait(self, wait_s: float) -> None:
        poller: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def give_up() -> None:
            if not poller.done():
                poller.set_result("")

        timer = self._clock.call_later(wait_s, give_up)
        self._poller = poller
        try:
            reason = await poller
        finally:
            timer.cancel()
            if self._poller is poller:
                self._poller = None
        if reason:
            raise conflict(reason)


def joined(updates: list[Update]) -> bytes:
    """The result array of getUpdates."""
    return b"[" + b",".join(update.body for update in updates) + b"]"
