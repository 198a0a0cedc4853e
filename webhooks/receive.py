"""Webhooks: verified on the raw bytes, parsed, committed, and only then answered 200.

`POST /webhooks/{kind}/{channel_id}`: 200 after the commit, 401 for a bad signature or an unknown endpoint (which one
is not told), 413 past 4 MB, 408 for a body that does not come, 503 with Retry-After while the store is away or too many
large bodies come at once. What cannot be understood is kept and answered 200: otherwise the platform would send it
again for days.
`GET` is the platform's question whether the endpoint is ours: 404 unknown, 403 wrong word.
"""

from __future__ import annotations

import asyncio

import structlog
from aiohttp import web

from bot.channel_store import ChannelStore, ConnectedChannel
from bot.channels.base import Delivery
from bot.intake import Intake
from domain import ids
from domain.access import access
from domain.errors import Conflict, NotAllowed, RejectedInput, SignatureInvalid, Unavailable
from domain.events import PlatformEvent, Unrecognised, encode

MAX_BODY = 4_000_000  # bytes; Meta sends up to 3 MB
BODY_S = 12.0  # for the whole body; with what follows a refusal a slow client is gone after 15 s
SMALL_BODY = 65_536  # bytes; nearly all deliveries are smaller, and these are always taken
MAX_LARGE = 64_000_000  # bytes of larger bodies in memory at a time: anybody may send them, unsigned as well
NOT_STORED = "not stored, send it again"
MAX_RAW = 64_000  # characters that an event for nobody keeps

_log = structlog.get_logger("webhooks")

Events = list[tuple[ConnectedChannel, PlatformEvent]]


class Receiver:
    """What the two handlers need."""

    def __init__(self, channels: ChannelStore, intake: Intake) -> None:
        self.channels = channels
        self.intake = intake
        self.accepted = 0
        self.refused = 0
        self.large = 0  # bytes, see MAX_LARGE

    def endpoint(self, kind: str, channel_id: str) -> ConnectedChannel | None:
        """The channel that a path names."""
        try:
            channel = self.channels.get(ids.from_text("channel", channel_id))
        except RejectedInput:
            return None
        return channel if channel is not None and channel.kind.kind == kind else None

    def opened(self, endpoint: ConnectedChannel, delivery: Delivery) -> Events:
        """What a delivery says, for whom; nothing at an endpoint that is being deleted. Raises SignatureInvalid."""
        endpoint.kind.verify(delivery, endpoint.credentials)
        if endpoint.state == "deleting":
            return []
        return [self._resolved(endpoint, event) for event in endpoint.kind.parse(delivery.body)]

    def not_stored(self, endpoint: ConnectedChannel, error: Exception) -> int:
        """Notes a delivery that comes again; the seconds after which it may."""
        _log.warning("webhook_not_stored", channel=endpoint.id, problem=str(error))
        return max(1, round(error.retry_after)) if isinstance(error, Unavailable) else 1

    def _resolved(
        self, endpoint: ConnectedChannel, event: PlatformEvent
    ) -> tuple[ConnectedChannel, PlatformEvent]:
        """The channel that an item is for; one for nobody here is kept, raw, at the endpoint."""
        channel = self.channels.of_account(endpoint, event.account)
        if channel is not None:
            return channel, event
        raw = encode(event).decode()[:MAX_RAW]
        unknown = Unrecognised(
            key=event.key,
            account=event.account,
            occurred_at=event.occurred_at,
            what="unknown account",
            raw=raw,
            problem="no channel of this workspace and app has the account that it was sent to",
        )
        return endpoint, unknown


RECEIVER = web.AppKey("receiver", Receiver)


@access("webhook")
async def receive(request: web.Request) -> web.Response:
    """Takes one delivery in."""
    receiver = request.app[RECEIVER]
    endpoint = receiver.endpoint(request.match_info["kind"], request.match_info["channel_id"])
    body = await _read(request, receiver)
    if endpoint is None:
        receiver.refused += 1
        raise web.HTTPUnauthorized(text="unknown endpoint or wrong signature")
    headers = {
        name: value for name in endpoint.kind.signature_headers if (value := _only(request, name)) is not None
    }
    try:
        arrived = receiver.opened(endpoint, Delivery(headers, body))
    except SignatureInvalid:
        receiver.refused += 1
        raise web.HTTPUnauthorized(text="unknown endpoint or wrong signature") from None
    try:
        await receiver.intake.append(arrived)
    except (Unavailable, Conflict) as error:  # away, or another was first: it comes again
        wait = receiver.not_stored(endpoint, error)
        raise web.HTTPServiceUnavailable(text=NOT_STORED, headers={"Retry-After": str(wait)}) from error
    receiver.accepted += len(arrived)
    return web.Response()


@access("webhook")
async def handshake(request: web.Request) -> web.Response:
    """Answers the platform's question whether the endpoint is ours."""
    receiver = request.app[RECEIVER]
    endpoint = receiver.endpoint(request.match_info["kind"], request.match_info["channel_id"])
    if endpoint is None:
        raise web.HTTPNotFound(text="there is no such endpoint")
    try:
        return web.Response(text=endpoint.kind.handshake(dict(request.query), endpoint.credentials))
    except NotAllowed as error:
        raise web.HTTPForbidden(text=str(error)) from error


def add_routes(app: web.Application, receiver: Receiver) -> None:
    """Adds the webhook routes to an application whose body limit is at least `MAX_BODY`."""
    app[RECEIVER] = receiver
    app.router.add_post("/webhooks/{kind}/{channel_id}", receive)
    app.router.add_get("/webhooks/{kind}/{channel_id}", handshake)


async def _read(request: web.Request, receiver: Receiver) -> bytes:
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise web.HTTPUnsupportedMediaType(text="compressed bodies are not taken")
    announced = request.content_length or 0
    if announced > MAX_BODY:
        raise web.HTTPRequestEntityTooLarge(max_size=MAX_BODY, actual_size=announced)
    if 0 < announced <= SMALL_BODY and request.content.is_eof():  # it came with its head: no clock, no copies
        return request.content.read_nowait()
    body = bytearray()
    counted = 0  # of this body in `receiver.large`
    try:
        async with asyncio.timeout(BODY_S):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > MAX_BODY:
                    raise web.HTTPRequestEntityTooLarge(max_size=MAX_BODY, actual_size=len(body))
                if len(body) > SMALL_BODY:
                    receiver.large += len(body) - counted
                    counted = len(body)
                    if receiver.large > MAX_LARGE:
                        raise web.HTTPServiceUnavailable(
                            text="too much at once, send it again", headers={"Retry-After": "2"}
                        )
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=too_slow()) from None
    finally:
        receiver.large -= counted
    return bytes(body)


def too_slow() -> str:
    """What a client is told whose body did not come."""
    return f"the body did not arrive within {BODY_S:.0f} seconds"


def _only(request: web.Request, name: str) -> str | None:
    """A header that came exactly once: of two signatures nobody knows which one was meant."""
    values = request.headers.getall(name, [])
    return values[0] if len(values) == 1 else None
