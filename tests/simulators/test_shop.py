"""The small shop's system that the demo's flows ask."""

from __future__ import annotations

from aiohttp.test_utils import TestClient, TestServer

from simulators.app import build_app

KEY = {"Authorization": "Bearer demo"}
SEATS = "/shop/events/tasting/reservations"


async def test_orders_have_a_status_by_their_last_figure() -> None:
    """Known, unknown, and nobody without a key; what is on its way says when it comes."""
    async with TestClient(TestServer(build_app())) as client:
        sent = await (await client.get("/shop/orders/10482", headers=KEY)).json()
        assert sent["status"] == "shipped"
        assert sent["tracking_url"] == "https://example.com/parcels/10482"
        assert (await (await client.get("/shop/orders/10481", headers=KEY)).json()) == {"status": "preparing"}
        for path, headers, status in (
            ("/shop/orders/91234", KEY, 404),
            ("/shop/orders/12ab", KEY, 404),
            ("/shop/orders/10482", {}, 401),
        ):
            assert (await client.get(path, headers=headers)).status == status


async def test_places_are_taken_once_and_run_out() -> None:
    """The same reference twice takes them once; too many are refused with what is free."""
    async with TestClient(TestServer(build_app())) as client:

        async def reserve(reference: str, seats: object) -> tuple[int, object]:
            wish = {"reference": reference, "seats": seats}
            answer = await client.post(SEATS, json=wish, headers=KEY)
            return answer.status, (await answer.json()).get("free")

        assert await reserve("A", 6) == (201, 6)
        assert await reserve("A", 6) == (201, 6)
        assert await reserve("B", 5) == (201, 1)
        assert await reserve("C", 2) == (409, 1)
        assert await reserve("A", 4) == (201, 3)
        assert (await reserve("D", "many"))[0] == 400
        assert (await client.post(SEATS, data=b"[", headers=KEY)).status == 400
        assert (await client.post(SEATS, json={})).status == 401
