"""How the process fares: `/healthz` (alive), `/readyz` (able to work; names what is degraded), `/metrics`.

`/readyz` is 200 while the store answers, also when something is degraded: a load balancer must not take a process away
because one channel's token was refused. It is 503 when the store does not answer, and when a newer program has taken
away what this one uses. It never takes longer than a second. What counts as degraded stands in `bot.condition`.

`/metrics` is answered to this machine, or to whoever brings the token; for others it does not exist (404). Its numbers
are read when they are asked for and hold no names of people, channels or workspaces.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from aiohttp import web

from bot import condition
from bot.condition import Here, Rows
from bot.live import Live
from domain.access import access
from domain.errors import Unavailable
from storage.database import Queue
from storage.durations import Durations
from webhooks.receive import RECEIVER

if TYPE_CHECKING:
    from prometheus_client.core import Metric

READ_S = 0.8  # for the store's answer: a probe that hangs is worse than one that says no
LAG_EVERY_S = 0.5
LAG_KEPT = 30  # measurements, 15 s: a stall is still seen by whoever asks four times a minute

_PROXY_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Real-IP")

Numbers = Sequence[tuple[tuple[str, ...], float]]  # (values of the labels, number)


@dataclass
class Health:
    """What the three handlers need; `lags`: how late the event loop woke up, the last 15 s."""

    live: Live
    token: str
    lags: deque[float] = field(default_factory=lambda: deque(maxlen=LAG_KEPT))

    @property
    def lag_s(self) -> float:
        return max(self.lags, default=0.0)


HEALTH = web.AppKey("health", Health)


@access("public")
async def healthz(request: web.Request) -> web.Response:
    """The process runs and its event loop turns."""
    return web.json_response({"status": "ok"}, headers={"Cache-Control": "no-store"})


@access("public")
async def readyz(request: web.Request) -> web.Response:
    """200 `{"status": "ok" | "degraded", "degraded": [what, …]}`, or 503 when the store does not answer."""
    health = request.app[HEALTH]
    here, rows = await _look(health)
    if rows is None:
        return _unready(["store"])
    what = [str(trouble) for trouble in condition.troubles(health.live, rows, here=here)]
    if rows.too_old:
        return _unready(what)
    answer = {"status": "degraded" if what else "ok", "degraded": what}
    return web.json_response(answer, headers={"Cache-Control": "no-store"})


def _unready(what: list[str]) -> web.Response:
    return web.json_response(
        {"status": "unavailable", "degraded": what},
        status=503,
        headers={"Retry-After": "5", "Cache-Control": "no-store"},
    )


@access("public")
async def metrics(request: web.Request) -> web.Response:
    """Prometheus text. Who may read it is decided here: this machine, or the bearer of the token."""
    health = request.app[HEALTH]
    if not _may_read(request, health.token):
        raise web.HTTPNotFound
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_LATEST

    here, rows = await _look(health)
    families = list(_families(request, health, here, rows))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(families))
    return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def add_routes(app: web.Application, live: Live, *, metrics_token: str = "") -> None:
    """Adds the routes; `metrics_token` empty: metrics are for this machine only."""
    health = Health(live, metrics_token)
    app[HEALTH] = health
    app.cleanup_ctx.append(_measure_lag)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)


async def _look(health: Health) -> tuple[Here, Rows | None]:
    """What this process measures and what the store says; None when it does not say it in time."""
    runtime = health.live.runtime
    now, started, rows = runtime.clock(), runtime.monotonic(), None
    try:
        async with asyncio.timeout(READ_S):
            rows = await runtime.database.read(lambda connection: condition.read(connection, now=now))
    except (Unavailable, TimeoutError):
        pass
    store_s = runtime.monotonic() - started
    return Here(store_s, health.lag_s, condition.disk_free(health.live.media.folder)), rows


async def _measure_lag(app: web.Application) -> AsyncIterator[None]:
    health = app[HEALTH]

    async def measure() -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            health.lags.append(max(0.0, loop.time() - due))

    task = asyncio.create_task(measure())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _may_read(request: web.Request, token: str) -> bool:
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    if token and kind.lower() == "bearer":
        return hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode())
    # Behind a proxy on this machine everybody comes from loopback: then only the token counts.
    if any(name in request.headers for name in _PROXY_HEADERS):
        return False
    try:
        return request.remote is not None and ip_address(request.remote).is_loopback
    except ValueError:
        return False


class _Snapshot:
    """Numbers that were read already, in the form that the library collects."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


_STATES = {0: "held", 1: "queued", 3: "sending"}
_LANES = {0: "reply", 1: "service", 2: "marketing"}


def _families(request: web.Request, health: Health, here: Here, rows: Rows | None) -> Iterator[Metric]:
    live = health.live
    yield _gauge(
        "event_loop_lag_seconds", "How late the event loop woke up, at worst in 15 s", [((), here.lag_s)]
    )
    yield _gauge("store_up", "Whether the store answers", [((), 0 if rows is None else 1)])
    yield _gauge("store_answer_seconds", "How long the store took for these numbers", [((), here.store_s)])
    yield _commits(live.runtime.database.commits)
    away = 1 if live.runtime.signals.trouble() else 0
    yield _gauge("redis_away", "Whether wake-ups from other processes are missing", [((), away)])
    if here.disk_free is not None:
        yield _gauge(
            "disk_free_bytes", "Space left where this process keeps its data", [((), here.disk_free)]
        )
    waiting = [((queue,), count) for queue, count in live.runtime.database.waiting().items()]
    yield _gauge("writer_queue", "Functions that wait for the writer", waiting, "queue")
    yield _gauge(
        "lanes_owned", "Lanes of conversations that this process owns", [((), len(live.worker.lanes))]
    )
    yield _gauge("parts_ended", "Parts of this process that ended by themselves", [((), len(live.failed()))])
    yield _counter("events_handled", "Events that this process handled", [((), live.worker.handled)])
    yield _counter("events_parked", "Events that this process parked", [((), live.worker.parked)])
    outcomes = [((outcome,), count) for outcome, count in live.sender.outcomes.items()]
    yield _counter("sends", "Messages by outcome", outcomes, "outcome")
    refusals = [((reason,), count) for reason, count in live.sender.refusals.items()]
    yield _counter("send_refusals", "Attempts that did not succeed, by reason", refusals, "reason")
    told = live.sender.refusals.get("rate_limited", 0)
    yield _counter("platform_429", "Times that a platform told us to wait", [((), told)])
    receiver = request.app.get(RECEIVER)
    if receiver is not None:
        yield _counter("webhook_events_accepted", "Events taken in by webhooks", [((), receiver.accepted)])
        yield _counter("webhooks_refused", "Deliveries turned away", [((), receiver.refused)])
    if rows is not None:
        yield from _row_families(rows)


def _row_families(rows: Rows) -> Iterator[Metric]:
    yield _gauge("events_open", "Accepted events that are not handled yet", [((), rows.open)])
    yield _gauge("events_parked_now", "Events that wait for a person", [((), rows.parked)])
    yield _gauge(
        "oldest_open_event_seconds", "Age of the oldest event nobody has tried", [((), rows.oldest_s)]
    )
    depths = [
        ((_STATES.get(state, str(state)), _LANES.get(lane, str(lane))), count)
        for (state, lane), count in rows.outbox.items()
    ]
    yield _gauge("outbox", "Messages that have to leave", depths, "state", "lane")
    yield _gauge("lanes_unowned", "Lanes that no process handles", [((), rows.lanes_unowned)])
    yield _gauge(
        "partitions_missing", "Whether this month has no partition", [((), int(rows.partitions_missing))]
    )
    yield _gauge("stops", "Stop buttons that are pressed", [((), rows.stops)])
    yield _gauge("channels_stopped", "Channels that send nothing", [((), len(rows.stopped))])
    yield _gauge("jobs_open", "Jobs to do", [((), rows.jobs.get(0, 0))])
    yield _gauge("jobs_failed", "Jobs that were given up", [((), rows.jobs.get(1, 0))])


def _commits(by_queue: Mapping[Queue, Durations]) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(
        "passaparola_commit_seconds", "Transactions that wrote, from begin to commit", labels=["queue"]
    )
    for queue, durations in by_queue.items():
        family.add_metric([queue.value], durations.cumulative(), durations.total_s)
    made: Metric = family
    return made


def _gauge(name: str, help_: str, values: Numbers, *labels: str) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return _filled(GaugeMetricFamily(f"passaparola_{name}", help_, labels=labels), values)


def _counter(name: str, help_: str, values: Numbers, *labels: str) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    return _filled(CounterMetricFamily(f"passaparola_{name}", help_, labels=labels), values)


def _filled(family: Any, values: Numbers) -> Metric:
    for labels, value in values:
        family.add_metric(labels, value)
    made: Metric = family
    return made
