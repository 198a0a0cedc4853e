"""The Telegram Bot API as a bot's program sees it: `/bot<token>/<method>`, webhooks, files, and `/sim/telegram/`.

Reading order: `server` (a call comes in) → `calls`, `methods/` (what it does) → `posting` (a message goes out) ·
`actions` (a person does something) → `updates` → `webhook` (the bot hears of it). `state` holds what exists.
"""

from __future__ import annotations

from aiohttp import web

from simulators.telegram.control import Control
from simulators.telegram.network import NAME, Telegram
from simulators.telegram.server import Server
from simulators.world import World


def attach(app: web.Application, world: World) -> None:
    """Add the network's routes to the application and itself to the world."""
    tg = Telegram(world)
    world.networks[NAME] = tg
    server = Server(tg, world)
    tg.execute_answer = server.execute_answer
    app.router.add_route("*", "/bot{token:[^/]+}/{method:[^/]+}", server.call)
    app.router.add_route("*", "/bot{token:[^/]+}/test/{method:[^/]+}", server.call)
    app.router.add_get("/file/bot{token:[^/]+}/{path:.+}", server.download)
    Control(tg, world).add_routes(app)
