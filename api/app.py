"""Serving the routes: who asks, what they may, how often, what they send, and what they get.

Order of a request: the policy that its handler states (`domain.access`) decides first, and a handler without one is
never served; then the key, its scope and its rate; then query and body against their models; then the function. The
workspace is the key's: a resource cannot see another one's rows, and an id of another workspace is 404. A key without
an active workspace opens nothing.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from sqlalchemy import Connection, text

from api import bodies, openapi
from api.limits import MAX_CALLERS, Buckets, Limits, LocalLimits, SharedLimits
from api.once import HEADER, Claim, Repeated
from api.problems import Refused, answer_of
from api.routing import ApiContext, Call, Route, routes
from bot.live import Live
from crm import accounts
from crm.accounts import KEY_PREFIX, KeyHolder
from domain import ids
from domain.access import access, policy_of
from domain.errors import NotFound, RejectedInput
from storage.database import Queue

PREFIX = "/api/v1"
MAX_KEY = 200  # characters of an Authorization header's key
STRANGER_PER_SECOND, STRANGER_BURST = 1.0, 30  # wrong keys from one address
USED_EVERY_MS = (
    60_000  # how exactly "last used" is kept: a write for every request would cost more than it tells
)

_NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Desk:
    """What every request needs, made once."""

    def __init__(self, live: Live, context: ApiContext) -> None:
        clock = live.runtime.monotonic
        self.live = live
        self.context = context
        self.limits: Limits = (
            SharedLimits(context.redis_url, context.key_rate, context.workspace_rate, clock)
            if context.redis_url
            else LocalLimits(context.key_rate, context.workspace_rate, clock)
        )
        self.strangers = Buckets(STRANGER_PER_SECOND, STRANGER_BURST, clock)
        self.known: OrderedDict[str, None] = OrderedDict()  # hashes of keys that were right
        self.used: dict[int, int] = {}


DESK = web.AppKey("api_desk", Desk)
KEY: web.RequestKey[KeyHolder] = web.RequestKey("api_key", KeyHolder)


def add_routes(app: web.Application, live: Live, context: ApiContext | None = None) -> None:
    """Mounts the API below `/api/v1`. Raises RuntimeError for a route without an access policy."""
    inner = web.Application(middlewares=[answered, allowed])
    desk = inner[DESK] = Desk(live, context or ApiContext())

    async def close(_app: web.Application) -> None:
        await desk.limits.close()

    inner.on_cleanup.append(close)
    for route in routes():
        handler = _handler(route)
        inner.router.add_route(route.method, route.path, handler)
    inner.router.add_route("GET", "/openapi.json", openapi.describe)
    for one in inner.router.routes():
        if policy_of(one.handler) is None:
            raise RuntimeError(f"{one.method} {one.resource} states no access policy")
    app.add_subapp(PREFIX, inner)


Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def answered(request: web.Request, handler: Next) -> web.StreamResponse:
    """Every error is an answer in one form."""
    try:
        response = await handler(request)
    except Exception as error:
        response = answer_of(error)
    response.headers.update(_NO_STORE)
    return response


@web.middleware
async def allowed(request: web.Request, handler: Next) -> web.StreamResponse:
    """Enforces the policy that the handler states."""
    if (
        request.match_info.http_exception is not None
    ):  # no such path or method: says nothing about what exists
        return await handler(request)
    policy = policy_of(request.match_info.handler) or ""
    kind, _, scope = policy.partition(":")
    if kind == "api":
        request[KEY] = await _key_holder(request, scope)
    elif policy != "public":
        raise Refused(403, "this is not for the API")
    return await handler(request)


async def _key_holder(request: web.Request, scope: str) -> KeyHolder:
    """Whose request it is. Raises Refused with 401, 403 or 429."""
    desk = request.app[DESK]
    stranger = request.remote or ""
    key = _given_key(request)
    # Behind a proxy everybody has one address: whose key was right before does not wait for those who guess.
    known = key is not None and accounts.token_hash(key) in desk.known
    if not known and (wait := desk.strangers.wait_of(stranger)):
        raise _too_many(wait)
    holder = None
    if key is not None:
        holder = await desk.live.runtime.database.read(lambda connection: _look_up(connection, key))
    if holder is None or key is None:
        desk.strangers.take(stranger)
        if known and key is not None:
            desk.known.pop(accounts.token_hash(key), None)  # revoked
        raise Refused(
            401,
            "send Authorization: Bearer and an API key",
            headers={"WWW-Authenticate": 'Bearer realm="api"'},
        )
    _remember(desk, accounts.token_hash(key))
    if not holder.may(scope):
        raise Refused(403, f"this key lacks the scope {scope}", where="Authorization")
    if wait := await desk.limits.take(holder.id, holder.workspace_id):
        raise _too_many(wait)
    await _note_use(desk, holder)
    return holder


def _remember(desk: Desk, key: str) -> None:
    desk.known[key] = None
    desk.known.move_to_end(key)
    while len(desk.known) > MAX_CALLERS:
        desk.known.popitem(last=False)


def _given_key(request: web.Request) -> str | None:
    given = request.headers.getall("Authorization", [])
    kind, _, key = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    key = key.strip()
    if kind.lower() != "bearer" or not key.startswith(KEY_PREFIX) or len(key) > MAX_KEY or not key.isascii():
        return None
    return key


def _look_up(connection: Connection, key: str) -> KeyHolder | None:
    """The holder of a key of an active workspace; a missing workspace means deny (I6)."""
    holder = accounts.key_holder(connection, key)
    if holder is None or not holder.workspace_id:
        return None
    active = connection.execute(
        text("SELECT 1 FROM workspace WHERE id = :id AND state = 'active'"), {"id": holder.workspace_id}
    ).first()
    return holder if active is not None else None


async def _note_use(desk: Desk, holder: KeyHolder) -> None:
    now = desk.live.runtime.clock()
    if now - desk.used.get(holder.id, 0) < USED_EVERY_MS:
        return
    desk.used[holder.id] = now
    await desk.live.runtime.database.write(
        lambda connection: (
            connection.execute(
                text("UPDATE api_key SET last_used_at = :now WHERE id = :id AND workspace_id = :workspace"),
                {"now": now, "id": holder.id, "workspace": holder.workspace_id},
            ).rowcount
        ),
        queue=Queue.people,
        durable=False,
    )


def _too_many(wait: float) -> Refused:
    return Refused(429, "too many requests", headers={"Retry-After": str(max(1, math.ceil(wait)))})


def _handler(route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The HTTP side of a route."""

    @access(f"api:{route.scope}")
    async def handler(request: web.Request) -> web.Response:
        numbers = _path_ids(request, route)
        query = _query(request, route)
        raw = b"" if route.body is None else await bodies.read_json(request)
        body = None if route.body is None else route.body.model_validate_json(raw)
        holder = request[KEY]
        desk = request.app[DESK]
        call: Call[Any, Any] = Call(
            live=desk.live,
            context=desk.context,
            key=holder,
            ids=numbers,
            body=body,
            query=query,
            request=request,
            once=_claim(request, holder, raw),
        )
        try:
            answer = await route.handler(call)
        except Repeated as repeated:
            return _json(route.status, repeated.body, {"Idempotent-Replay": "true"})
        return _json(route.status, b"" if answer is None else answer.model_dump_json().encode(), {})

    return handler


def _json(status: int, body: bytes, headers: dict[str, str]) -> web.Response:
    if not body:
        return web.Response(status=204, headers=headers)
    return web.Response(
        status=status, body=body, content_type="application/json", charset="utf-8", headers=headers
    )


def _path_ids(request: web.Request, route: Route) -> dict[str, int]:
    try:
        return {kind: ids.from_text(kind, request.match_info[f"{kind}_id"]) for kind in route.kinds}
    except RejectedInput as error:
        raise NotFound(error.what) from None


def _query(request: web.Request, route: Route) -> BaseModel | None:
    given = dict(request.query)
    if len(given) != len(request.query):
        raise Refused(400, "a parameter was given twice")
    for name, value in given.items():
        if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
            raise Refused(400, "holds a character that cannot be stored", where=name[:100])
    if route.query is None:
        if given:
            raise Refused(422, "this path takes no parameters", where=next(iter(given))[:100])
        return None
    return route.query.model_validate(given)


def _claim(request: web.Request, holder: KeyHolder, raw: bytes) -> Claim | None:
    key = request.headers.get(HEADER)
    if request.method != "POST" or key is None:
        return None
    return Claim(holder.workspace_id, holder.id, key, request.method, request.path_qs, raw)
