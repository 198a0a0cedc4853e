"""One aiohttp application: both networks, the control API under `/sim/`, the phone page at `/`.

`build_app` is all that a test needs (through aiohttp's TestServer); `python -m simulators` runs the same application.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from simulators import routes, shop, telegram, whatsapp
from simulators.clock import Clock
from simulators.log import DEFAULT_LIMIT
from simulators.people import Plays
from simulators.wire import Handler, answer
from simulators.world import WORLD, ControlError, World

PHONE = Path(__file__).parent / "phone"

# The Bot API takes uploads of 50 MB; the rest is room for the other fields. Past it aiohttp answers 413.
BODY_LIMIT = 51 * 1024 * 1024


def build_app(
    *, clock: Clock | None = None, seed: int = 0, log_limit: int = DEFAULT_LIMIT
) -> web.Application:
    """A fresh world with both networks. `clock`: give `Clock(at=…)` for a virtual one; `seed`: of all chance."""
    world = World(clock=clock, seed=seed, log_limit=log_limit)
    app = web.Application(client_max_size=BODY_LIMIT, middlewares=[explain_refusals])
    app[WORLD] = world
    app.cleanup_ctx.append(_closing)
    app.on_shutdown.append(_end_streams)
    telegram.attach(app, world)
    whatsapp.attach(app, world)
    routes.attach(app, world, Plays(world))
    shop.attach(app, world)
    _serve_phone(app)
    return app


@web.middleware
async def explain_refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn ControlError into `{"error": sentence}`; the networks' own paths word their own errors."""
    try:
        return await handler(request)
    except ControlError as error:
        return answer({"error": str(error)}, error.status)


def _serve_phone(app: web.Application) -> None:
    async def index(_: web.Request) -> web.StreamResponse:
        return web.FileResponse(PHONE / "index.html", headers={"Cache-Control": "no-cache"})

    app.router.add_get("/", index)
    app.router.add_static("/phone/", PHONE)


async def _closing(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[WORLD].close()


async def _end_streams(app: web.Application) -> None:
    # An open event stream would hold up shutdown until aiohttp's own timeout.
    app[WORLD].stream.close_all()
