"""The control routes that both networks share: health, reset, clock, log, counters, faults, latency, limits, stream."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiohttp import web

from simulators.people import Plays
from simulators.wire import answer, body_of, needed, query_int
from simulators.world import ControlError, Network, World

# One page of the log; a reader asks again from `next`.
LOG_PAGE = 10_000
# The longest that one request for the log may wait for something new.
LOG_WAIT_S = 30
# Keeps proxies and browsers from closing a quiet stream.
STREAM_HEARTBEAT_S = 15


def attach(app: web.Application, world: World, plays: Plays) -> None:
    routes = Routes(world, plays)
    app.router.add_routes(
        [
            web.get("/sim/health", routes.health),
            web.post("/sim/reset", routes.reset),
            web.get("/sim/clock", routes.read_clock),
            web.post("/sim/clock", routes.set_clock),
            web.get("/sim/log", routes.read_log),
            web.get("/sim/counters", routes.read_counters),
            web.get("/sim/faults", routes.list_faults),
            web.post("/sim/faults", routes.add_fault),
            web.delete("/sim/faults", routes.remove_faults),
            web.delete("/sim/faults/{id}", routes.remove_faults),
            web.post("/sim/latency", routes.set_latency),
            web.post("/sim/limits", routes.set_limits),
            web.get("/sim/stream", routes.stream),
            web.post("/sim/people/scripts", routes.start_script),
            web.get("/sim/people/scripts", routes.list_scripts),
            web.get("/sim/people/scripts/{id}", routes.read_script),
            web.delete("/sim/people/scripts/{id}", routes.stop_script),
        ]
    )


class Routes:
    """One method per route; the JSON of each stands in its docstring."""

    def __init__(self, world: World, plays: Plays) -> None:
        self._world = world
        self._plays = plays

    async def health(self, _: web.Request) -> web.Response:
        """`{"ok": true, "networks": ["telegram", "whatsapp"]}`"""
        return answer({"ok": True, "networks": sorted(self._world.networks)})

    async def reset(self, _: web.Request) -> web.Response:
        """Forget everything, as after a fresh start."""
        self._plays.reset()
        await self._world.reset()
        return answer({"ok": True})

    async def read_clock(self, _: web.Request) -> web.Response:
        """`{"now": milliseconds since 1970, "mode": "real" | "virtual"}`"""
        clock = self._world.clock
        return answer({"now": clock.now_ms(), "mode": "virtual" if clock.virtual else "real"})

    async def set_clock(self, request: web.Request) -> web.Response:
        """`{"advance": seconds}` and/or `{"mode": "virtual" | "real", "at": milliseconds}`; the mode is set first."""
        spec = await body_of(request)
        clock = self._world.clock
        if spec.get("mode") == "virtual":
            clock.go_virtual(needed(spec, "at", int) / 1000 if "at" in spec else None)
        elif spec.get("mode") == "real":
            clock.go_real()
        elif "mode" in spec:
            raise ControlError(f"mode: virtual or real expected, got {spec['mode']!r}")
        if "advance" in spec:
            seconds = needed(spec, "advance", (int, float))
            if seconds < 0:
                raise ControlError("advance: time does not run backwards")
            await clock.advance(seconds)
        return await self.read_clock(request)

    async def read_log(self, request: web.Request) -> web.Response:
        """`?since=N&limit=M&network=&kind=&wait=S` → `{"next": n, "dropped": n, "entries": […]}`.

        With `wait` an empty page is held back up to that many real seconds until something matches.
        """
        since = query_int(request, "since", 0, 0, 1 << 62)
        limit = query_int(request, "limit", 1000, 1, LOG_PAGE)
        deadline = time.monotonic() + query_int(request, "wait", 0, 0, LOG_WAIT_S)
        network, kind = request.query.get("network"), request.query.get("kind")
        log = self._world.log
        while True:
            following, entries = log.read(since, limit, network, kind)
            left = deadline - time.monotonic()
            if entries or left <= 0:
                return answer({"next": following, "dropped": log.dropped, "entries": entries})
            await log.changed(left)

    async def read_counters(self, _: web.Request) -> web.Response:
        """`{"telegram.calls": n, "telegram.calls.sendMessage.200": n, "telegram.messages": n, …, "log.next": n}`"""
        log = self._world.log
        return answer({**log.counters, "log.next": log.next, "log.dropped": log.dropped})

    async def list_faults(self, _: web.Request) -> web.Response:
        """`{"faults": [{id, network, kind, when, method, target, times, hits, …}]}`"""
        return answer({"faults": self._world.faults.listed()})

    async def add_fault(self, request: web.Request) -> web.Response:
        """`{network, kind, when?, method?, target?, times?, retry_after?, delay_s?, probability?}` → `{"id": n}`"""
        try:
            fault = self._world.faults.add(await body_of(request))
        except (ValueError, TypeError) as error:
            raise ControlError(str(error)) from error
        return answer({"id": fault.id})

    async def remove_faults(self, request: web.Request) -> web.Response:
        """All, or the one named in the path → `{"removed": n}`"""
        text = request.match_info.get("id")
        if text is not None and not text.isdigit():
            raise ControlError("id: a whole number expected")
        return answer({"removed": self._world.faults.remove(int(text) if text is not None else None)})

    async def set_latency(self, request: web.Request) -> web.Response:
        """`{network, ms}`: every API answer of that network takes this long (real time)."""
        spec = await body_of(request)
        self._network(spec)
        self._world.latency_ms[spec["network"]] = max(0.0, float(needed(spec, "ms", (int, float))))
        return answer({"ok": True})

    async def set_limits(self, request: web.Request) -> web.Response:
        """`{network, enabled?, …}` → the limits in force."""
        spec = await body_of(request)
        network = self._network(spec)
        return answer(network.set_limits({key: value for key, value in spec.items() if key != "network"}))

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Server-Sent Events: `message`, `action`, `delivery`, `edited`, `deleted`, `toast`, `typing`, …"""
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }
        )
        await response.prepare(request)
        await response.write(b": open\n\n")
        queue = self._world.stream.open()
        beat = self._heartbeat(queue)
        try:
            while (frame := await queue.get()) is not None:
                await response.write(frame)
        except ConnectionError:
            pass  # the tab was closed
        finally:
            beat.cancel()
            self._world.stream.close(queue)
        return response

    @staticmethod
    def _heartbeat(queue: asyncio.Queue[bytes | None]) -> asyncio.Task[None]:
        async def beat() -> None:
            while True:
                await asyncio.sleep(STREAM_HEARTBEAT_S)
                queue.put_nowait(b": still here\n\n")

        return asyncio.get_running_loop().create_task(beat())

    async def start_script(self, request: web.Request) -> web.Response:
        """See `simulators.people`; → `{"id": n, "people": [ids]}`"""
        return answer(self._plays.start(await body_of(request)))

    async def list_scripts(self, _: web.Request) -> web.Response:
        return answer({"scripts": self._plays.listed()})

    async def read_script(self, request: web.Request) -> web.Response:
        return answer(self._plays.report(self._script_id(request)))

    async def stop_script(self, request: web.Request) -> web.Response:
        """Stop it where it is; its report stays readable until the next reset."""
        return answer(self._plays.stop(self._script_id(request)))

    @staticmethod
    def _script_id(request: web.Request) -> int:
        text = request.match_info["id"]
        if not text.isdigit():
            raise ControlError("id: a whole number expected")
        return int(text)

    def _network(self, spec: dict[str, Any]) -> Network:
        name = needed(spec, "network")
        network = self._world.networks.get(name)
        if network is None:
            raise ControlError(
                f"network: one of {', '.join(sorted(self._world.networks))} expected, got {name!r}"
            )
        return network
