"""`/channels`: connected bots and numbers. Secrets go in and never come out."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from sqlalchemy import Connection

from api.models import ChannelId, Input, Output, Page
from api.routing import ApiContext, Call, route
from bot import connecting
from bot.connecting import ChannelView
from crm.accounts import audit
from domain import ids


class Channel(Output):
    """A channel. `state`: active | stopped | deleting. `webhook_url`: where the platform delivers."""

    id: ChannelId
    kind: str
    name: str
    state: str
    state_reason: str
    mode: str
    account: str
    settings: dict[str, Any]
    webhook_url: str
    created_at: int


class NewChannel(Input):
    """A channel to connect. `settings`: what the kind needs, e.g. `{"token": "…"}` for Telegram."""

    kind: str = Field(max_length=40)
    name: str = Field(min_length=1, max_length=connecting.MAX_NAME)
    settings: dict[str, str | int | float | bool]
    mode: Literal["webhook", "polling"] | None = None


@route("GET", "/channels", scope="channels:read", out=Page[Channel])
async def list_channels(call: Call[None, None]) -> Page[Channel]:
    """All channels of the workspace."""
    found = await call.read(lambda c: connecting.channels(c, call.workspace_id))
    return Page[Channel](data=[_shown(one, call.context) for one in found])


@route("GET", "/channels/{channel_id}", scope="channels:read", out=Channel)
async def get_channel(call: Call[None, None]) -> Channel:
    """One channel."""
    found = await call.read(lambda c: connecting.channel(c, call.workspace_id, call.ids["channel"]))
    return _shown(found, call.context)


@route("POST", "/channels", scope="channels:write", body=NewChannel, out=Channel, status=201)
async def add_channel(call: Call[NewChannel, None]) -> Channel:
    """Connects a bot or number; the platform is not called."""
    body = call.body

    def work(connection: Connection) -> Channel:
        channel_id = connecting.connect(
            connection,
            call.workspace_id,
            kind=body.kind,
            name=body.name,
            given=body.settings,
            mode=body.mode or connecting.default_mode(body.kind, reachable=call.context.public),
            sealer=call.runtime.sealer,
            new_id=call.runtime.new_id,
            now=call.now(),
            where=lambda name: f"settings.{name}",
        )
        audit(
            connection,
            workspace_id=call.workspace_id,
            actor=call.actor,
            action="channel_added",
            target=str(channel_id),
            new_id=call.runtime.new_id,
            now=call.now(),
        )
        return _shown(connecting.channel(connection, call.workspace_id, channel_id), call.context)

    made = await call.write(work)
    await call.live.reload()
    return made


@route("POST", "/channels/{channel_id}/pause", scope="channels:write", out=Channel)
async def pause_channel(call: Call[None, None]) -> Channel:
    """Nothing leaves over it any more; what comes in is still taken."""
    return await _changed(
        call, lambda c: connecting.pause(c, call.workspace_id, call.ids["channel"], reason="api")
    )


@route("POST", "/channels/{channel_id}/start", scope="channels:write", out=Channel)
async def start_channel(call: Call[None, None]) -> Channel:
    """A paused or stopped channel sends again."""
    return await _changed(call, lambda c: connecting.start(c, call.workspace_id, call.ids["channel"]))


async def _changed(call: Call[None, None], change: Any) -> Channel:
    def work(connection: Connection) -> Channel:
        change(connection)
        found = connecting.channel(connection, call.workspace_id, call.ids["channel"])
        return _shown(found, call.context)

    changed = await call.write(work)
    await call.live.reload()
    return changed


def _shown(one: ChannelView, context: ApiContext) -> Channel:
    url = f"{context.base_url()}/webhooks/{one.kind}/{ids.to_text('channel', one.id)}"
    return Channel(
        id=one.id,
        kind=one.kind,
        name=one.name,
        state=one.state,
        state_reason=one.state_reason,
        mode=one.mode,
        account=one.account,
        settings=one.settings,
        webhook_url=url,
        created_at=one.created_at,
    )
