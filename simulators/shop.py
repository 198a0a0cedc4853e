"""A small shop's own system, for flows that ask one over HTTP: where an order is, and places at an event.

    GET  /shop/orders/10482                  -> {"status": "shipped", "delivery_date": …, "tracking_url": …}
    POST /shop/events/tasting/reservations   -> 201 {"tickets": […], "free": 9}, or 409 {"free": 1}

The last figure of an order decides its status; numbers that begin with 9 are not known (404). A reservation names its
`reference`, and the same one twice takes the places once. Without `Authorization` the answer is 401.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from simulators.wire import answer
from simulators.world import World

SEATS = 12  # of the tasting
MAX_SEATS = 6  # in one reservation
STATUSES = ("received", "preparing", "shipped", "shipped", "delivered", "cancelled")


def attach(app: web.Application, world: World) -> None:
    shop = Shop(world)
    app.router.add_get("/shop/orders/{number}", shop.order)
    app.router.add_post("/shop/events/tasting/reservations", shop.reserve)


class Shop:
    """Reservations live as long as the process."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._taken: dict[str, int] = {}  # seats by reference

    async def order(self, request: web.Request) -> web.Response:
        """An order's status; the day of delivery and the link where it is on its way."""
        number = request.match_info["number"]
        if "Authorization" not in request.headers:
            return answer({"error": "who asks?"}, 401)
        if not number.isascii() or not number.isdigit() or number.startswith("9"):
            return answer({"error": "there is no such order"}, 404)
        status = STATUSES[int(number[-1]) % len(STATUSES)]
        data: dict[str, Any] = {"status": status}
        if status == "shipped":
            today = datetime.fromtimestamp(self._world.clock.now(), UTC).date()
            data["delivery_date"] = (today + timedelta(days=2)).isoformat()
            data["tracking_url"] = f"https://example.com/parcels/{number}"
        return answer(data)

    async def reserve(self, request: web.Request) -> web.Response:
        """Takes places while there are enough."""
        if "Authorization" not in request.headers:
            return answer({"error": "who asks?"}, 401)
        try:
            wish = await request.json()
            reference, seats = str(wish["reference"])[:100], int(wish["seats"])
        except (ValueError, KeyError, TypeError):
            return answer({"error": "reference and seats are needed"}, 400)
        others = sum(taken for key, taken in self._taken.items() if key != reference)
        if not 1 <= seats <= MAX_SEATS or others + seats > SEATS:
            return answer({"free": SEATS - others}, 409)
        self._taken[reference] = seats
        tickets = [f"{reference}-{number}" for number in range(1, seats + 1)]
        return answer({"tickets": tickets, "free": SEATS - others - seats}, 201)
