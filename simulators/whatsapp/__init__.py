"""A stand-alone counterpart of the WhatsApp Cloud API: the Graph API's paths, webhooks, people and control routes.

Read in this order: `graph` (what comes in over HTTP), `checks`, `templates` and `sending` (a message and its statuses),
`acts` (what people do), `webhooks` (how the business is told), `controls` (what a test may turn).
"""

from __future__ import annotations

from aiohttp import web

from simulators.whatsapp import controls
from simulators.whatsapp.graph import Graph
from simulators.whatsapp.network import WhatsApp
from simulators.world import World


def attach(app: web.Application, world: World) -> None:
    """Add the network to the world, and its paths to the application."""
    network = WhatsApp(world)
    world.networks[network.name] = network
    controls.attach(app, network)
    graph = Graph(network)
    app.router.add_route("*", r"/{version:v\d+\.\d+}/{tail:.*}", graph.handle)
