"""The composition root: settings in, a running application out. Nobody below imports this.

Order of a start: crash points and logs, secret, store (migrated), node number, stores in memory, runtime, routes,
listener. Order of a stop: listener, runtime, HTTP session, store. `App` is an async context for tests and commands.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from types import TracebackType
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import structlog
from aiohttp import web

from api import app as api
from api.routing import ApiContext
from bot.assistant import Assistant
from bot.channel_store import ConnectedChannel
from bot.channels.base import Client, Management
from bot.channels.posting import Poster
from bot.introductions import Introductions
from bot.live import ROLES, Live
from bot.outgoing import Policy
from bot.runtime import Runtime
from config import sentences
from config.settings import Settings, outgoing_places, secret_key
from console import app as console
from domain import crash, ids
from domain.errors import AppError, Conflict, SendError, Unavailable
from storage import leases
from storage.database import Database
from storage.schema import ensure
from storage.sealing import Sealer
from storage.signals import Signals
from webhooks import health, receive
from webhooks.express import ExpressWay
from webhooks.server import Listener, listen

NODE_LEASE_MS = 600_000  # a process that sleeps longer must not come back and give ids of another's number
NODE_RENEW_S = 60.0
CONNECTIONS = 300  # to platforms, over all channels; each channel's sender keeps to 200
HTTP_TIMEOUT_S = 60.0
REGISTER_LOOK_S = 1.0  # how soon a channel that was just added is made known to its platform
REGISTER_AGAIN_S = 60.0

_log = structlog.get_logger("app")


class App:
    """One process of Passaparola."""

    def __init__(self, settings: Settings, roles: Collection[str], clock: Callable[[], int]) -> None:
        self.settings = settings
        self.roles = frozenset(roles)
        self.clock = clock
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._clients: dict[int, tuple[ConnectedChannel, Client]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._listener: Listener | None = None
        self._health: Listener | None = None
        self.database: Database
        self.sealer: Sealer
        self.runtime: Runtime
        self.live: Live
        self.session: aiohttp.ClientSession
        self.poster: Poster | None = None

    async def __aenter__(self) -> App:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        """The port that is listened on; 0 when this process does not listen."""
        return self._listener.port if self._listener is not None else 0

    @property
    def base_url(self) -> str:
        """Where this server is reached: the setting, or the address that it listens on."""
        chosen = self.settings.model_copy(update={"port": self.port or self.settings.port})
        return chosen.base_url

    async def start(self) -> None:
        """Returns when the application answers. Raises RejectedInput, Conflict or Unavailable with a plain sentence."""
        settings = self.settings
        crash.arm(settings.crash_at)
        self.sealer = Sealer(secret_key(settings))
        self.database = await Database.open(settings.store_url, exclusive=True)
        try:
            await ensure(self.database)
            if settings.store_url.startswith("sqlite"):
                # The file is ours alone: whoever held leases in it is gone.
                await self.database.write(leases.free_all)
            await self._start_runtime()
            await self.live.reload()  # before the first delivery comes: a channel not known yet answers 401
            if "web" in self.roles:
                app = self.application()
                front = ExpressWay(app[receive.RECEIVER])
                self._listener = await listen(app, settings.host, settings.port, front)
            elif self.roles and settings.health_port:  # not a command beside the server
                self._health = await listen(
                    self.probes(), settings.host, settings.health_port, setting="PASSAPAROLA_HEALTH_PORT"
                )
            await self.live.start()
        except BaseException:
            await self.stop()
            raise
        if "web" in self.roles and settings.public_url:
            self._tasks.append(asyncio.create_task(self._register_webhooks()))
        if "scheduler" in self.roles:
            asking = Introductions(self.runtime, self.live.channels, self.live.flows, self.management)
            self._tasks.append(asyncio.create_task(asking.run()))
        port = self._health.port if self._health is not None else self.port
        _log.info("started", roles=sorted(self.roles), port=port)

    async def stop(self) -> None:
        """Takes nothing more, finishes what is in hand, closes everything."""
        if self._listener is not None:
            await self._listener.close()
            self._listener = None
        if self._health is not None:
            await self._health.close()
            self._health = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if hasattr(self, "live"):
            await self.live.stop()
            await self.runtime.signals.close()
        if hasattr(self, "session"):
            await self.session.close()
        if self.poster is not None:
            await self.poster.close()
        with suppress(Unavailable):
            await self.database.write(lambda c: leases.release(c, list(self._node), self.owner))
        await self.database.close()

    _node: dict[str, int] = {}  # noqa: RUF012 (replaced, never changed)

    async def _start_runtime(self) -> None:
        settings = self.settings
        node = await self._take_node()
        maker = ids.IdMaker(node, self.clock)
        connector = aiohttp.TCPConnector(limit=CONNECTIONS, ttl_dns_cache=60, keepalive_timeout=60)
        proxy = _proxy(settings)
        if proxy is None:  # the one request that matters goes straight; a proxy is aiohttp's business
            self.poster = Poster(lines=CONNECTIONS)
        self.session = aiohttp.ClientSession(
            connector=connector,
            proxy=proxy,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=HTTP_TIMEOUT_S),
        )
        self.runtime = Runtime(
            database=self.database,
            sealer=self.sealer,
            new_id=maker.next,
            clock=self.clock,
            monotonic=time.monotonic,
            signals=_signals(settings),
            owner=self.owner,
            random=random.random,
        )
        from campaigns.scheduler import TICKERS

        self.live = Live(
            self.runtime,
            clients=self.client,
            media_folder=settings.data_dir / "media",
            channel_defaults={"whatsapp": {"api_version": settings.whatsapp_api_version}},
            roles=self.roles,
            tickers=TICKERS,
            webhooks_reach_us=bool(settings.public_url),
            outgoing=_policy(settings),
            assistant=Assistant(
                settings.ai_url,
                settings.ai_key.get_secret_value() if settings.ai_key else "",
                settings.ai_model,
            ),
        )
        self._tasks.append(asyncio.create_task(self._keep_node()))

    async def _take_node(self) -> int:
        names = [f"node:{n:04d}" for n in range(ids.MAX_NODE + 1)]
        self._node = await self.database.write(
            lambda c: leases.take(c, names, self.owner, limit=1, length_ms=NODE_LEASE_MS)
        )
        if not self._node:
            raise Conflict(
                f"{ids.MAX_NODE + 1} processes are running on this database: no node number is free"
            )
        return int(next(iter(self._node)).partition(":")[2])

    async def _keep_node(self) -> None:
        while True:
            await asyncio.sleep(NODE_RENEW_S)
            with suppress(Unavailable, Conflict):
                kept = await self.database.write(
                    lambda c: leases.take(c, list(self._node), self.owner, length_ms=NODE_LEASE_MS)
                )
                if kept != self._node:
                    # Ids made from here on could be another process's as well: nothing may be written any more.
                    _log.error("node_number_lost")
                    os._exit(70)

    def client(self, channel: ConnectedChannel) -> Client:
        """The channel's client, made once per version of its settings."""
        known = self._clients.get(channel.id)
        if known is None or known[0] is not channel:
            made = channel.kind.client(
                channel.credentials, self.session, origin=self.origin(channel), poster=self.poster
            )
            known = self._clients[channel.id] = (channel, made)
        return known[1]

    def management(self, channel: ConnectedChannel) -> Management:
        """The channel's rare calls."""
        return channel.kind.management(channel.credentials, self.session, origin=self.origin(channel))

    def origin(self, channel: ConnectedChannel) -> str:
        """Where the channel's platform answers."""
        if channel.kind.kind == "whatsapp":
            return self.settings.whatsapp_api_url
        return self.settings.telegram_api_url

    def webhook_url(self, channel: ConnectedChannel) -> str:
        """Where the platform delivers for this channel."""
        return f"{self.base_url}/webhooks/{channel.kind.kind}/{ids.to_text('channel', channel.id)}"

    def application(self) -> web.Application:
        """All routes of this process."""
        settings = self.settings
        app = self.probes()
        receive.add_routes(app, receive.Receiver(self.live.channels, self.live.intake))
        context = ApiContext(
            base_url=lambda: self.base_url, public=bool(settings.public_url), redis_url=settings.redis_url
        )
        api.add_routes(app, self.live, context)
        console.add_routes(
            app, self.live, secure=settings.public_url.startswith("https://"), say=sentences.say
        )
        return app

    def probes(self) -> web.Application:
        """The routes that say how this process fares: all that one without the role `web` answers."""
        app = web.Application(client_max_size=receive.MAX_BODY)
        token = self.settings.metrics_token
        health.add_routes(app, self.live, metrics_token=token.get_secret_value() if token else "")
        return app

    async def _register_webhooks(self) -> None:
        """Tells platforms where to deliver, once per channel and start, also for channels added later; what a
        platform refuses is tried again after a minute."""
        told: dict[int, ConnectedChannel] = {}
        not_before: dict[int, float] = {}
        while True:
            for channel in self.live.channels.all():
                if channel.mode != "webhook" or channel.state != "active":
                    continue
                known = told.get(channel.id)
                if known is not None and known.credentials == channel.credentials:
                    continue
                if time.monotonic() < not_before.get(channel.id, 0.0):
                    continue
                try:
                    # The first call brings in a large library, which must not hold the event loop.
                    management = await asyncio.to_thread(self.management, channel)
                    await management.register_webhook(self.webhook_url(channel))
                    told[channel.id] = channel
                    _log.info("webhook_registered", channel=channel.id)
                except (SendError, AppError) as error:
                    not_before[channel.id] = time.monotonic() + REGISTER_AGAIN_S
                    _log.warning("webhook_not_registered", channel=channel.id, problem=str(error))
            await asyncio.sleep(REGISTER_LOOK_S)


def build(
    settings: Settings, *, roles: Collection[str] = ROLES, clock: Callable[[], int] | None = None
) -> App:
    """The application of these settings, not yet started. `clock` gives ms since 1970 UTC."""
    return App(settings, roles, clock or (lambda: time.time_ns() // 1_000_000))


def _policy(settings: Settings) -> Policy:
    """Where calls of flows may go: the internet and what the owner allows, never ourselves or the platforms."""
    own = {
        _place(url)
        for url in (settings.telegram_api_url, settings.whatsapp_api_url, settings.public_url)
        if url
    }
    listening = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 (compared)
    allow = outgoing_places(settings.outgoing_allow)
    return Policy(allow=allow, own=own | {(listening.lower(), settings.port)})


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


def _proxy(settings: Settings) -> str | None:
    """The proxy that the environment names for the platforms, looked up once: `trust_env` would read the environment
    and a .netrc in a thread for every single request."""
    for origin in (settings.telegram_api_url, settings.whatsapp_api_url):
        url = urlsplit(origin)
        host = url.hostname or ""
        if host not in ("127.0.0.1", "localhost", "::1") and not proxy_bypass(host):
            return getproxies().get(url.scheme)
    return None


def _signals(settings: Settings) -> Signals:
    if settings.redis_url:
        from storage.signals.redis import RedisSignals

        return RedisSignals(settings.redis_url)
    from storage.signals.local import LocalSignals

    return LocalSignals()
