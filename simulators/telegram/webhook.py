"""The webhook of one bot: which update goes out when, exactly as the official server's WebhookActor does it.

Updates wait in queues (`updates.QueueKey`). Only the head of a queue is in flight, different queues go in parallel over
at most `max_connections` connections. 200–299 is success; anything else, and no answer within 60 s, keeps the head in
its place: tried again after the `Retry-After` of the answer (0..3600 s), else at once, then after 2, 4, 8 … seconds up
to a random 60–120 s, until the update expires. At most `2 × max_connections` queues are loaded, so that many stuck
chats stop everybody. After 10 s without a success one connection is opened per 2 s, otherwise ten per half a second.
A receiver that answers 410 for more than 23 hours loses its webhook.
"""

from __future__ import annotations

import asyncio
import http
import json
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from simulators.clock import Timer
from simulators.poster import NotConnected, Undelivered
from simulators.telegram.updates import QueueKey, Update, Updates
from simulators.world import World

ANSWER_WITHIN_S = 60.0
RETRY_AFTER_MAX_S = 3600
RETRY_CAP_S = (60.0, 120.0)
GONE_FOR_S = 23 * 3600
QUIET_S = 10.0
OPEN_EVERY_QUIET_S = 2.0
OPEN_WINDOW_S, OPEN_IN_WINDOW = 0.5, 10
# What is read of an answer: a call inside it is small, and a hostile receiver must not fill the memory.
ANSWER_LIMIT = 1 << 20


@dataclass(slots=True)
class Config:
    """What setWebhook set."""

    url: str
    secret_token: str = ""
    max_connections: int = 40
    ip_address: str = ""
    has_certificate: bool = False


@dataclass(slots=True)
class Knobs:
    """Misbehaviour of the network that a test asks for. `duplicate_p`: an accepted update comes once more."""

    duplicate_p: float = 0.0
    jitter_ms: float = 0.0


@dataclass(slots=True)
class Queue:
    """Updates that must not overtake each other."""

    key: QueueKey
    updates: deque[Update] = field(default_factory=deque)
    failures: int = 0
    busy: bool = False
    again: Timer | None = None


class Webhook:
    """Delivers one bot's updates until `close`. `execute` runs a call found inside an answer."""

    def __init__(
        self,
        world: World,
        updates: Updates,
        config: Config,
        knobs: Knobs,
        *,
        bot_token: str,
        execute: Callable[[dict[str, Any]], Awaitable[None]],
        remove: Callable[[], None],
    ) -> None:
        self._world = world
        self._updates = updates
        self.config = config
        self._knobs = knobs
        self._bot_token = bot_token
        self._execute = execute
        self._remove = remove
        self._loaded: dict[QueueKey, Queue] = {}
        self._backlog: OrderedDict[QueueKey, Queue] = OrderedDict()
        self._ready: deque[Queue] = deque()
        self._open = 0
        self._in_flight = 0
        self._opened_at: deque[float] = deque(maxlen=OPEN_IN_WINDOW)
        self._pump_again: Timer | None = None
        self._last_success = float("-inf")
        self._gone_since: float | None = None
        self._closed = False
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip, deflate"}
        if config.secret_token:
            self._headers["X-Telegram-Bot-Api-Secret-Token"] = config.secret_token
        self._headers["Accept"] = "*/*"
        self.last_error_date = 0
        self.last_error_message = ""
        for update in updates.pending.values():
            self._enqueue(update)
        updates.deliver = self.push
        self._pump()

    def push(self, update: Update) -> None:
        """A new update; it goes out at once when its queue is empty and a connection is free."""
        self._enqueue(update)
        self._pump()

    def close(self) -> None:
        """Stop delivering. A request in flight ends by itself, and its update counts as not delivered."""
        self._closed = True
        self._updates.deliver = None
        for queue in self._loaded.values():
            if queue.again is not None:
                queue.again.cancel()
        if self._pump_again is not None:
            self._pump_again.cancel()

    # --- queues -----------------------------------------------------------------------------------------------------

    def _enqueue(self, update: Update) -> None:
        queue = self._loaded.get(update.key) or self._backlog.get(update.key)
        if queue is not None:
            queue.updates.append(update)
            return
        queue = Queue(update.key, deque([update]))
        if len(self._loaded) < 2 * self.config.max_connections:
            self._load(queue)
        else:
            self._backlog[update.key] = queue

    def _load(self, queue: Queue) -> None:
        self._loaded[queue.key] = queue
        self._ready.append(queue)

    def _unload(self, queue: Queue) -> None:
        del self._loaded[queue.key]
        if self._backlog:
            self._load(self._backlog.popitem(last=False)[1])

    def _pump(self) -> None:
        """Start as many deliveries as there are ready queues and connections."""
        while self._ready and not self._closed:
            queue = self._ready[0]
            self._skip_expired(queue)
            if not queue.updates:
                self._ready.popleft()
                self._unload(queue)
            elif self._in_flight < self._open or self._may_open():
                self._ready.popleft()
                queue.busy = True
                self._in_flight += 1
                self._world.spawn(self._deliver(queue))
            else:
                return

    def _skip_expired(self, queue: Queue) -> None:
        now = self._world.clock.now()
        while queue.updates and queue.updates[0].expires_at <= now:
            self._updates.settle(queue.updates.popleft())
            queue.failures = 0

    def _may_open(self) -> bool:
        """Open one more connection, if the limits on new ones allow it now; else look again when they do."""
        now = self._world.clock.now()
        quiet = self._last_success + QUIET_S < now
        if self._open >= (1 if quiet else self.config.max_connections):
            return False
        if quiet:
            wait = self._opened_at[-1] + OPEN_EVERY_QUIET_S - now if self._opened_at else 0.0
        elif len(self._opened_at) == OPEN_IN_WINDOW:
            wait = self._opened_at[0] + OPEN_WINDOW_S - now
        else:
            wait = 0.0
        if wait > 0:
            if self._pump_again is None or not self._pump_again.live:
                self._pump_again = self._world.clock.call_later(wait, self._pump)
            return False
        self._opened_at.append(now)
        self._open += 1
        return True

    # --- one delivery -----------------------------------------------------------------------------------------------

    async def _deliver(self, queue: Queue) -> None:
        update = queue.updates[0]
        with self._world.clock.in_flight():
            try:
                if self._knobs.jitter_ms:
                    await asyncio.sleep(self._world.rng.random() * self._knobs.jitter_ms / 1000)
                status, headers, body, error = await self._post(queue, update)
                repeated = 200 <= status < 300 and self._world.rng.random() < self._knobs.duplicate_p
                if repeated:
                    await self._post(queue, update)
            finally:
                self._in_flight -= 1
                queue.busy = False
            if not self._closed:
                if 200 <= status < 300:
                    self._succeeded(queue, update)
                    await self._run_answer(headers, body)
                else:
                    self._failed(queue, status, headers, error)
                self._pump()

    def _succeeded(self, queue: Queue, update: Update) -> None:
        self._last_success = self._world.clock.now()
        self._gone_since = None
        self._updates.settle(update)
        queue.failures = 0
        if queue.updates and queue.updates[0] is update:
            queue.updates.popleft()
        if queue.updates:
            self._ready.append(queue)
        else:
            self._unload(queue)

    def _failed(self, queue: Queue, status: int, headers: dict[str, str], error: str) -> None:
        self._open -= 1  # the server closes the connection after every failure
        now = self._world.clock.now()
        self.last_error_date, self.last_error_message = int(now), error
        if status == http.HTTPStatus.GONE:
            self._gone_since = now if self._gone_since is None else self._gone_since
            if now - self._gone_since > GONE_FOR_S:
                self._remove()
                return
        else:
            self._gone_since = None
        queue.failures += 1
        wait = _retry_after(headers)
        if wait is None:
            cap = self._world.rng.uniform(*RETRY_CAP_S)
            wait = 0.0 if queue.failures == 1 else min(cap, 2.0 ** min(queue.failures - 1, 10))
        queue.again = self._world.clock.call_later(wait, lambda: self._try_again(queue))

    def _try_again(self, queue: Queue) -> None:
        queue.again = None
        self._ready.append(queue)
        self._pump()

    async def _post(self, queue: Queue, update: Update) -> tuple[int, dict[str, str], bytes, str]:
        """One attempt: (status or 0, headers in lower case, body, error as getWebhookInfo words it)."""
        started = time.perf_counter()
        status, body, error = 0, b"", ""
        headers: dict[str, str] = {}
        task = asyncio.current_task()
        assert task is not None
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            task.cancel()

        timer = self._world.clock.call_later(ANSWER_WITHIN_S, expire)
        try:
            answer = await self._world.poster.post(
                self.config.url, self._headers, update.body, limit=ANSWER_LIMIT
            )
            status, reason, headers, body = answer
            if not 200 <= status < 300:
                error = f"Wrong response from the webhook: {status} {reason}".strip()
        except asyncio.CancelledError:
            if not expired:
                raise
            task.uncancel()
            status, error = 0, "Read timeout expired"
        except NotConnected:
            status, error = 0, "Connection refused"
        except Undelivered:
            status, error = 0, "Webhook connection closed"
        finally:
            timer.cancel()
        self._world.delivered(
            "telegram",
            {
                "endpoint": self._bot_token,
                "url": self.config.url,
                "status": status,
                "error": error,
                "update_id": update.id,
                "update_kind": update.kind,
                "queue": list(update.key),
                "attempt": queue.failures + 1,
                "ms": round((time.perf_counter() - started) * 1000, 2),
            },
        )
        return status, headers, body, error

    async def _run_answer(self, headers: dict[str, str], body: bytes) -> None:
        """A 2xx answer may carry one call; what comes of it is told to nobody."""
        if body and "json" in headers.get("content-type", ""):
            try:
                values = json.loads(body)
            except ValueError:
                return
            if isinstance(values, dict) and isinstance(values.get("method"), str):
                await self._execute(values)


def _retry_after(headers: dict[str, str]) -> float | None:
    text = headers.get("retry-after", "").strip()
    if not text.lstrip("-").isdigit():
        return None
    return float(min(RETRY_AFTER_MAX_S, max(0, int(text))))
