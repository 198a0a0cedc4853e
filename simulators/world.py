"""The world that both networks share: clock, log, faults, randomness, the live stream and the people's drivers.

`simulators.app.build_app` makes one World per server and hands it to `attach(app, world)` of each network, which puts
itself into `world.networks`. A network tells the world three things: `called` (an API request was answered), `reached`
(a message got to a person) and `acted` (a person did something); log, live stream and scripted people hang on these.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
from aiohttp import web

from simulators.clock import Clock
from simulators.faults import Faults
from simulators.log import DEFAULT_LIMIT, EventLog
from simulators.poster import Poster

# A browser tab that reads slower than this many events is told to reload instead of holding memory.
STREAM_BACKLOG = 1000


class Network(Protocol):
    """What a network offers to scripted people and to the shared control routes. All calls are immediate."""

    name: str

    def make_person(self, spec: Mapping[str, Any]) -> str:
        """Make a person from the network's own `people` JSON; gives the id to act with."""

    def act(self, endpoint: str, person: str, action: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do what the network's `act` route does: `{"do": "say", "text": "ciao"}`. Raises ControlError.

        `endpoint` is the bot's token or the phone_number_id.
        """

    def set_limits(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change the rate limits (`{"enabled": false}`), or nothing when empty; gives those in force."""

    def seed(self, spec: Mapping[str, Any]) -> None:
        """Make what the network's part of a seed file names (`simulators.seed`)."""

    def reset(self) -> None:
        """Forget everything: bots or numbers, people, messages, queues."""


class ControlError(Exception):
    """A request of the control API that makes no sense; answered 400 (or `status`) with this sentence."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class Reached:
    """A message that reached a person. `buttons`: `{"text": …, "id": …}` for each one that can be tapped.

    `external_id` is unique within the endpoint and chat (message_id, wamid); `content` is the message as the network
    words it, never changed after this.
    """

    network: str
    endpoint: str
    person: str
    external_id: str
    kind: str
    text: str
    buttons: tuple[Mapping[str, str], ...] = ()
    content: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


class Stream:
    """Live events for the phone page (Server-Sent Events). Costs nothing while nobody listens."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[bytes | None]] = set()

    @property
    def watched(self) -> bool:
        return bool(self._listeners)

    def publish(self, kind: str, data: Mapping[str, Any]) -> None:
        """Send one event to every listener; one that is `STREAM_BACKLOG` behind is closed and reconnects."""
        if not self._listeners:
            return
        frame = f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()
        for queue in list(self._listeners):
            if queue.qsize() >= STREAM_BACKLOG:
                self._listeners.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(frame)

    def open(self) -> asyncio.Queue[bytes | None]:
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._listeners.add(queue)
        return queue

    def close(self, queue: asyncio.Queue[bytes | None]) -> None:
        self._listeners.discard(queue)

    def close_all(self) -> None:
        for queue in self._listeners:
            queue.put_nowait(None)
        self._listeners.clear()


class World:
    """Everything that is not particular to one network. See the module's first lines."""

    def __init__(self, *, clock: Clock | None = None, seed: int = 0, log_limit: int = DEFAULT_LIMIT) -> None:
        self.clock = clock or Clock()
        self.seed = seed
        self.rng = random.Random(seed)
        self.log = EventLog(self.clock, log_limit)
        self.faults = Faults(self.rng)
        self.stream = Stream()
        self.networks: dict[str, Network] = {}
        self.latency_ms: dict[str, float] = {}
        self.origin = ""  # http://127.0.0.1:PORT, set when the server listens or by the first request
        self._listeners: dict[tuple[str, str, str], Callable[[Reached], None]] = {}
        self.poster = Poster(lambda: self.session)  # of webhooks; closed by `close`
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._tasks: set[asyncio.Task[Any]] = set()

    # --- what the networks tell -------------------------------------------------------------------------------------

    def called(self, network: str, fields: Mapping[str, Any]) -> None:
        """An API request was handled: `method, status, executed, fault` and the network's own fields."""
        self.log.add(network, "call", fields)
        counters = self.log.counters
        counters[f"{network}.calls"] += 1
        counters[f"{network}.calls.{fields['method']}.{fields['status']}"] += 1

    def delivered(self, network: str, fields: Mapping[str, Any]) -> None:
        """A webhook attempt ended: `url, status (0: no answer), error, attempt, ids, ms`."""
        self.log.add(network, "delivery", fields)
        self.log.counters[f"{network}.deliveries.{fields['status']}"] += 1
        if self.stream.watched:
            self.stream.publish("delivery", {"network": network, **fields})

    def reached(self, message: Reached) -> None:
        """A message got to a person: goes to the log, the phone page and the person's script."""
        fields = {
            "endpoint": message.endpoint,
            "to": message.person,
            "external_id": message.external_id,
            "type": message.kind,
            "text": message.text,
            "buttons": message.buttons,
            "content": message.content,
            **message.extra,
        }
        self.log.add(message.network, "message", fields)
        self.log.counters[f"{message.network}.messages"] += 1
        if self.stream.watched:
            self.stream.publish("message", {"network": message.network, **fields})
        listener = self._listeners.get((message.network, message.endpoint, message.person))
        if listener is not None:
            listener(message)

    def acted(self, network: str, endpoint: str, person: str, fields: Mapping[str, Any]) -> None:
        """A person did something (`do`, and what): goes to the log and the phone page."""
        entry = {"endpoint": endpoint, "person": person, **fields}
        self.log.add(network, "action", entry)
        self.log.counters[f"{network}.actions"] += 1
        if self.stream.watched:
            self.stream.publish("action", {"network": network, **entry})

    def show(self, kind: str, network: str, **data: Any) -> None:
        """Tell the phone page something else: `edited, deleted, typing, toast, status, person, endpoint, chat`."""
        if self.stream.watched:
            self.stream.publish(kind, {"network": network, **data})

    # --- scripted people --------------------------------------------------------------------------------------------

    def listen(self, network: str, endpoint: str, person: str, hear: Callable[[Reached], None]) -> None:
        """Call `hear` for every message that reaches this person; one listener each."""
        key = (network, endpoint, person)
        if key in self._listeners:
            raise ControlError(f"person {person} already plays a script on {network}", 409)
        self._listeners[key] = hear

    def unlisten(self, network: str, endpoint: str, person: str) -> None:
        self._listeners.pop((network, endpoint, person), None)

    # --- outgoing HTTP and tasks ------------------------------------------------------------------------------------

    @property
    def session(self) -> aiohttp.ClientSession:
        """The client for everything but plain webhooks; made at first use. Raises RuntimeError after `close`."""
        if self._closed:
            raise RuntimeError("the world is closed: a client made now would be closed by nobody")
        if self._session is None:
            # The networks bound their own connections per webhook; timeouts run on the simulated clock.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                skip_auto_headers={"User-Agent"},
            )
        return self._session

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Start a background task that `reset` and `close` end; in a closed world nothing starts any more."""
        if self._closed:
            coroutine.close()
            return
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def reset(self) -> None:
        """Back to an empty world: real clock, no faults, no latency, empty log."""
        await self._end_tasks()
        for network in self.networks.values():
            network.reset()
        self._listeners.clear()
        self.faults.remove()
        self.latency_ms.clear()
        self.log.clear()
        self.clock.go_real()
        self.rng.seed(self.seed)

    async def close(self) -> None:
        """Ends tasks and connections; what timers and late requests still want to start is refused."""
        self._closed = True
        self.stream.close_all()
        await self._end_tasks()
        await self.poster.close()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _end_tasks(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


WORLD: web.AppKey[World] = web.AppKey("world", World)
