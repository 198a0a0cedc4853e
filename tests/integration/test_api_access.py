"""Who gets what: every route of the API × no key, wrong key, wrong scope, another workspace's key and ids, none.

The matrix is made from the registered routes: a new route is in it without being written down here; one that takes a
body must have an example in `BODIES`.
"""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from api.routing import Route, routes, scopes
from tests.support.api_bodies import bodies
from tests.support.shop import Shop, Workspace


@pytest.fixture
async def shop(sqlite_url: str, tmp_path: Any) -> Any:
    async with Shop(sqlite_url, tmp_path) as shop:
        yield shop


QUERIES = {
    "/contacts/{contact_id}/proof": "?identity_id={identity}&purpose=marketing",
    "/messages": "?conversation_id={conversation}",
    "/posts": "?outlet_id={outlet}",
    "/conversations": "?contact_id={contact}",
}
# Routes with nothing of a workspace in path, query or body: a stranger's key works there, on its own rows.
OWN = {
    ("POST", "/channels"),
    ("POST", "/contacts"),
    ("POST", "/flows/check"),
    ("POST", "/flows/drafts"),
    ("POST", "/segments"),
    ("POST", "/segments/count"),
    ("POST", "/media"),
}


async def ask(shop: Shop, route: Route, ids: dict[str, str], **options: Any) -> tuple[int, Any]:
    path = route.path.format(**{f"{kind}_id": one for kind, one in ids.items()})
    if route.method == "GET":
        path += QUERIES.get(route.path, "").format(**ids)
    if (route.method, route.path) == ("DELETE", "/stops"):
        path += f"?scope=channel&target_id={ids['channel']}"
    if route.streams:
        headers = {"Content-Type": "image/png", **options.pop("headers", {})}
        status, body, _ = await shop.call(route.method, path, data=b"bytes", headers=headers, **options)
        return status, body
    body = bodies(ids).get((route.method, route.path))
    assert (body is None) == (route.body is None), "this route needs an example in bodies()"
    status, answer, _ = await shop.call(route.method, path, json=body, **options)
    return status, answer


async def test_nobody_without_a_key(shop: Shop) -> None:
    """No key, an empty one, an invented one, a stranger's scheme, part of one: 401, and nothing has changed."""
    before = await shop.dump()
    for route in routes():
        for headers in (
            {},
            {"Authorization": ""},
            {"Authorization": "Bearer"},
            {"Authorization": "Bearer "},
            {"Authorization": "Bearer ppk_" + "A" * 43},
            {"Authorization": f"Basic {shop.mine.key}"},
            {"Authorization": f"Bearer {shop.mine.key[:-1]}"},
            {"Authorization": "Bearer ppk_" + "A" * 5_000},
        ):
            shop.monotonic += 60  # a stranger may try again
            status, body = await ask(shop, route, shop.mine.ids, key=None, headers=headers)
            assert status == 401, (route, headers)
            assert body["type"] == "urn:passaparola:unauthorized"
    assert await shop.dump() == before


async def test_a_key_without_the_scope(shop: Shop) -> None:
    """Every other scope together is not enough: 403."""
    before = await shop.dump()
    for scope in scopes():
        key = await shop.key_with(*(one for one in scopes() if one != scope))
        for route in routes():
            if route.scope == scope:
                status, body = await ask(shop, route, shop.mine.ids, key=key)
                assert status == 403, route
                assert scope in body["detail"]
    assert await shop.dump() == before


async def test_another_workspaces_ids(shop: Shop) -> None:
    """A valid key with the other workspace's ids: not found (or refused as unknown), nothing of it is in the answer,
    and nothing has changed."""
    before = await shop.dump()
    for route in routes():
        if (route.method, route.path) in OWN:
            continue
        status, body = await ask(shop, route, shop.other.ids)
        if route.method == "GET" and not route.kinds and route.path != "/messages":
            assert status == 200, route
            assert not [public for public in shop.other.ids.values() if public in str(body)], route
        else:
            assert status in (404, 422), (route, body)
            assert "Anna" not in str(body)
    assert await shop.dump() == before


async def test_one_foreign_id_in_a_body(shop: Shop) -> None:
    """Of the ids in a body each one alone being another workspace's is enough to be refused."""
    before = await shop.dump()
    checked = 0
    for kind, foreign in shop.other.ids.items():
        mixed = {**shop.mine.ids, kind: foreign}
        for (method, path), body in bodies(mixed).items():
            if foreign not in str(body):
                continue
            own = path.format(**{f"{one}_id": public for one, public in shop.mine.ids.items()})
            status, answer, _ = await shop.call(method, own, json=body)
            assert status in (404, 422), (method, path, kind, answer)
            checked += 1
    assert checked >= 9
    assert await shop.dump() == before


async def test_the_other_key_sees_its_own_rows_only(shop: Shop) -> None:
    """The other workspace's key never gets one of our ids, whatever it does to its own rows."""
    for route in routes():
        status, body = await ask(shop, route, shop.other.ids, key=shop.other.key)
        assert status < 500, (route, body)
        assert not [public for public in shop.mine.ids.values() if public in str(body)], route


@pytest.mark.parametrize("state", ["no workspace", "gone", "deleting", "revoked"])
async def test_an_empty_workspace_means_deny(shop: Shop, state: str) -> None:
    """A key of workspace 0, of one that is not there, of one that is being deleted, or a revoked one opens nothing."""
    owner = {"no workspace": 0, "gone": 12345}.get(state, shop.mine.id)
    key = await shop.key_with(workspace_id=owner)
    if state == "deleting":
        await shop.do(lambda c: c.execute(text("UPDATE workspace SET state = 'deleting'")))
    if state == "revoked":
        await shop.do(lambda c: c.execute(text("UPDATE api_key SET revoked_at = 1")))
    for route in routes():
        shop.monotonic += 60  # a stranger may try again
        assert (await ask(shop, route, shop.mine.ids, key=key))[0] == 401


async def test_paths_that_hold_no_id(shop: Shop) -> None:
    """Another kind's id, an odd one, a folder's: 404, never 500."""
    for route in routes():
        if route.kinds:
            await _odd_ids(shop, route, route.kinds[-1])


async def _odd_ids(shop: Shop, route: Route, kind: str) -> None:
    for odd in (
        "x",
        "0",
        "wsp_0000000000000",
        shop.mine.ids[kind] + "0",
        shop.mine.ids[kind].upper(),
        "%00",
        "..%2f",
    ):
        ids = {**shop.mine.ids, kind: odd}
        shop.monotonic += 1
        assert (await ask(shop, route, ids))[0] == 404, (route, odd)


async def test_wrong_keys_are_slowed_down(shop: Shop) -> None:
    """After 30 wrong keys from one address even a right one has to wait; a spoofed header does not help."""
    for _ in range(30):
        assert (await shop.call("GET", "/channels", key="ppk_wrong"))[0] == 401
    status, body, response = await shop.call("GET", "/channels", headers={"X-Forwarded-For": "192.0.2.7"})
    assert status == 429, body
    assert int(response.headers["Retry-After"]) >= 1
    shop.monotonic += 5
    assert (await shop.call("GET", "/channels"))[0] == 200


async def test_one_key_may_ask_so_often(shop: Shop) -> None:
    """Past its burst a key is told to wait; another key is not."""
    statuses = [(await shop.call("GET", "/stops"))[0] for _ in range(205)]
    assert statuses[:200] == [200] * 200
    assert set(statuses[200:]) == {429}
    assert (await shop.call("GET", "/stops", key=shop.other.key))[0] == 200
    shop.monotonic += 1
    assert (await shop.call("GET", "/stops"))[0] == 200


async def test_using_a_key_is_noted(shop: Shop) -> None:
    """ "Last used" is there after a request."""
    await shop.call("GET", "/stops")
    assert (
        await shop.value("SELECT last_used_at FROM api_key WHERE id = :id", id=shop.mine.key_id) == shop.now
    )


def test_the_shop_has_an_id_of_every_kind() -> None:
    """The matrix covers every kind that stands in a path."""
    kinds = {kind for route in routes() for kind in route.kinds}
    shop_kinds = {"channel", "contact", "flow", "flow_version", "campaign", "post", "message", "conversation"}
    assert kinds <= shop_kinds | {"segment", "job"}
    assert Workspace(1).ids == {}
