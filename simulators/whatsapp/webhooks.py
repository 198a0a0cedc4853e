"""Delivery of webhooks as Meta does it: signed, retried for days, batched or not, in no promised order.

An `Update` is one message, one status or one account change. Each callback address has a `Callback` that packs updates
into bodies, posts them over a bounded number of connections and repeats what was not answered 200.
https://developers.facebook.com/docs/graph-api/webhooks/getting-started (signature, escapes, retries) and
https://developers.facebook.com/docs/whatsapp/cloud-api/guides/set-up-webhooks (batches up to 1,000, 3 MB).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from simulators.poster import Undelivered
from simulators.whatsapp.knobs import Knobs
from simulators.world import World

BODY_MAX = 3 * 1024 * 1024
BATCH_MAX = 1000
# Updates that wait for a callback. Meta keeps a week of them; here the oldest are dropped and counted.
WAITING_MAX = 1_000_000
CONNECTIONS = 32
REORDER_HOLD_S = 1.0
# First at once, then ever more seldom, until `retry_span_s` has passed since the first attempt.
RETRY_DELAYS_S = (0.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 21600.0)
_OWN_ANSWER_MAX = 4096


@dataclass(slots=True)
class Update:
    """One thing to tell. With `number` and `kind` it is an element of `value[kind]`; without, `item` is the value."""

    account_id: str
    field: str
    item: dict[str, Any]
    id: str
    number: tuple[str, str] | None = None
    kind: str | None = None
    contact: dict[str, Any] | None = None
    time: int | None = None


def build_body(updates: Iterable[Update]) -> dict[str, Any]:
    """The envelope. Neighbours of the same account, field and number share one `value`."""
    entries: list[dict[str, Any]] = []
    last: tuple[Any, ...] | None = None
    for update in updates:
        entry = entries[-1] if entries else None
        if entry is None or entry["id"] != update.account_id or entry.get("time") != update.time:
            entry = {"id": update.account_id}
            if update.time is not None:
                entry["time"] = update.time
            entry["changes"] = []
            entries.append(entry)
            last = None
        here = (update.field, update.number, update.kind)
        if update.kind is not None and last == here:
            value = entry["changes"][-1]["value"]
        else:
            value = _new_value(update)
            entry["changes"].append({"value": value, "field": update.field})
        last = here
        if update.kind is not None:
            value[update.kind].append(update.item)
            _add_contact(value, update.contact)
    return {"object": "whatsapp_business_account", "entry": entries}


def _new_value(update: Update) -> dict[str, Any]:
    if update.number is None or update.kind is None:
        return update.item
    display, number_id = update.number
    value: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": display, "phone_number_id": number_id},
    }
    if update.contact is not None:
        value["contacts"] = []
    value[update.kind] = []
    return value


def _add_contact(value: dict[str, Any], contact: dict[str, Any] | None) -> None:
    if contact is not None and contact not in value.setdefault("contacts", []):
        value["contacts"].append(contact)


def encode(body: dict[str, Any]) -> bytes:
    """As Meta writes it: non-ASCII as lower-case \\u escapes and slashes as \\/, so that only raw bytes verify."""
    return json.dumps(body, separators=(",", ":")).replace("/", "\\/").encode()


def sign(secret: str, raw: bytes) -> str:
    """The value of `X-Hub-Signature-256`."""
    return "sha256=" + hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()


class Callback:
    """One callback address with its secret, queue and connections."""

    def __init__(self, world: World, knobs: Knobs, url: str, secret: str) -> None:
        self._world = world
        self._knobs = knobs
        self.url = url
        self._secret = secret
        self._waiting: deque[tuple[Update, ...]] = deque()
        self._gathering: list[Update] = []
        self._held: list[Update] = []
        self._active = 0
        self._closed = False
        self.dropped = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting) + len(self._gathering) + len(self._held) + self._active

    def close(self) -> None:
        """Say nothing any more: the world was reset."""
        self._closed = True
        self._waiting.clear()
        self._gathering.clear()
        self._held.clear()

    def add(self, update: Update) -> None:
        """Tell it soon; the knobs decide on order, repetition and company."""
        knobs = self._knobs
        if knobs.reorder_p and self._world.rng.random() < knobs.reorder_p:
            self._held.append(update)
            self._world.clock.call_later(REORDER_HOLD_S, self._release_held)
            return
        self._gather(update)
        if knobs.duplicate_p and self._world.rng.random() < knobs.duplicate_p:
            self._gather(update)
        if self._held:
            self._release_held()

    def _release_held(self) -> None:
        held, self._held = self._held, []
        for update in held:
            self._gather(update)

    def _gather(self, update: Update) -> None:
        window_ms = self._knobs.batch_window_ms
        if window_ms <= 0:
            self._enqueue((update,))
            return
        self._gathering.append(update)
        if len(self._gathering) == 1:
            self._world.clock.call_later(window_ms / 1000, self._pack)
        elif len(self._gathering) >= BATCH_MAX:
            self._pack()

    def _pack(self) -> None:
        updates, self._gathering = self._gathering, []
        if updates:
            self._enqueue(tuple(updates))

    def _enqueue(self, updates: tuple[Update, ...]) -> None:
        if len(self._waiting) >= WAITING_MAX:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(updates)
        if self._active < CONNECTIONS:
            self._active += 1
            self._world.spawn(self._work())

    async def post_now(self, update: Update) -> None:
        """One update past the queue, waited for: how a status overtakes the answer to its own send."""
        raw = encode(build_body((update,)))
        if not await self.post(raw, [update.id], attempt=1):
            self._repeat(raw, [update.id], 2, self._world.clock.now())

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._deliver(self._waiting.popleft())
        finally:
            self._active -= 1

    async def _deliver(self, updates: tuple[Update, ...]) -> None:
        raw = encode(build_body(updates))
        if len(raw) > BODY_MAX and len(updates) > 1:
            half = len(updates) // 2
            await self._deliver(updates[:half])
            await self._deliver(updates[half:])
            return
        ids = [update.id for update in updates]
        if not await self.post(raw, ids, attempt=1):
            self._repeat(raw, ids, 2, self._world.clock.now())

    def _repeat(self, raw: bytes, ids: list[str], attempt: int, first_at: float) -> None:
        """Set the timer of attempt number `attempt`, or give up."""
        if self._closed:
            return
        clock = self._world.clock
        delay = RETRY_DELAYS_S[min(attempt - 2, len(RETRY_DELAYS_S) - 1)]
        if clock.now() + delay - first_at > self._knobs.retry_span_s:
            self._world.delivered(
                "whatsapp",
                {
                    "url": self.url,
                    "status": 0,
                    "error": "given up",
                    "attempt": attempt - 1,
                    "ids": ids,
                    "ms": 0,
                },
            )
            return

        async def again() -> None:
            if not self._closed and not await self.post(raw, ids, attempt=attempt):
                self._repeat(raw, ids, attempt + 1, first_at)

        clock.call_later(delay, lambda: self._world.spawn(again()))

    async def post(self, raw: bytes, ids: list[str], *, attempt: int) -> bool:
        """One attempt; True when it was answered 200."""
        clock = self._world.clock
        started = clock.now()
        error: str | None = None
        with clock.in_flight():
            try:
                status = await self._post(raw)
            except TimeoutError:
                status, error = 0, "timeout"
            except Undelivered as failure:
                status, error = 0, type(failure).__name__
        self._world.delivered(
            "whatsapp",
            {
                "url": self.url,
                "status": status,
                "error": error,
                "attempt": attempt,
                "ids": ids,
                "ms": round((clock.now() - started) * 1000, 1),
            },
        )
        return status == 200

    async def _post(self, raw: bytes) -> int:
        knobs = self._knobs
        signature = sign(self._secret, raw)
        if knobs.bad_signature_p and self._world.rng.random() < knobs.bad_signature_p:
            signature = sign(self._secret + "?", raw)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "facebookexternalua",
            "X-Hub-Signature": "sha1=" + hmac.new(self._secret.encode(), raw, hashlib.sha1).hexdigest(),
            "X-Hub-Signature-256": signature,
            "Accept": "*/*",
            "Accept-Encoding": "gzip, deflate",
        }
        task = asyncio.current_task()
        assert task is not None
        timed_out = False

        def stop() -> None:
            nonlocal timed_out
            timed_out = True
            task.cancel()

        timer = self._world.clock.call_later(knobs.webhook_timeout_s, stop)
        try:
            answer = await self._world.poster.post(self.url, headers, raw, limit=_OWN_ANSWER_MAX)
            return answer.status
        except asyncio.CancelledError:
            if timed_out and task.uncancel() == 0:
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()
