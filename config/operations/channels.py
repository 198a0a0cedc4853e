"""Channels: add, list, test."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from bot import connecting
from bot.channel_store import ConnectedChannel
from bot.channels.base import channel_of
from config.business import fitting_mode, said_mode
from config.operations import Context, Result, operation
from domain import ids
from domain.errors import NotFound, SendError, SendFailure, Unavailable


class Add(msgspec.Struct, forbid_unknown_fields=True):
    """`values`: the kind's settings, as text. `mode` "": what fits the settings."""

    kind: str
    name: str
    values: dict[str, str]
    mode: str = ""


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """No arguments."""


class One(msgspec.Struct, forbid_unknown_fields=True):
    """A channel by id or name."""

    channel: str


@operation("channel.add", Add)
async def add(context: Context, arguments: Add) -> Result:
    """Stores a new channel. Never calls the platform."""
    app, kind = context.app, arguments.kind
    mode = arguments.mode or fitting_mode(kind, public=bool(app.settings.public_url))

    def write(connection: Connection) -> int:
        return connecting.connect(
            connection,
            context.workspace_id,
            kind=kind,
            name=arguments.name,
            given={**arguments.values, **said_mode(kind, mode)},
            mode=mode,
            sealer=app.sealer,
            new_id=context.new_id,
            now=context.now,
            where=option_name,
        )

    channel_id = ids.to_text("channel", await app.database.write(write))
    made = await find(context, channel_id)
    return {
        "id": channel_id,
        "kind": kind,
        "name": made.name,
        "mode": mode,
        "webhook_url": app.webhook_url(made),
        **{name: made.credentials[name] for name in channel_of(kind).generated_secrets},
    }


@operation("channel.list", Nothing)
async def list_all(context: Context, _arguments: Nothing) -> Result:
    """All channels of the business, without secrets."""

    base = context.app.base_url
    shown = []
    for one in await context.app.database.read(lambda c: connecting.channels(c, context.workspace_id)):
        channel_id = ids.to_text("channel", one.id)
        told = {**msgspec.to_builtins(one), "id": channel_id}
        shown.append({**told, "webhook_url": f"{base}/webhooks/{one.kind}/{channel_id}"})
    return {"channels": shown}


@operation("channel.test", One)
async def test(context: Context, arguments: One) -> Result:
    """Asks the platform who we are, and how its deliveries fare."""
    channel = await find(context, arguments.channel)
    try:
        return await _asked(context, channel)
    except SendError as error:
        raise Unavailable(said(error, context.app.origin(channel))) from error


async def _asked(context: Context, channel: ConnectedChannel) -> Result:
    management = context.app.management(channel)
    account = await management.identify()
    result: Result = {
        "id": ids.to_text("channel", channel.id),
        "kind": channel.kind.kind,
        "account": {"id": account.id, "name": account.name, "username": account.username},
    }
    if channel.mode == "webhook":
        health = await management.webhook_health()
        ours = context.app.webhook_url(channel)
        result["webhook"] = {
            **msgspec.to_builtins(health),
            "expected_url": ours,
            "registered": health.url == ours,
        }
    return result


def said(error: SendError, origin: str) -> str:
    """What a platform's management said, or that it said nothing, as a sentence."""
    if error.reason in (SendFailure.unavailable, SendFailure.not_connected):
        return f"no answer from {origin} ({error.detail})"
    return str(error)


async def find(context: Context, name_or_id: str) -> ConnectedChannel:
    """A channel of the business by id or name. Raises NotFound."""
    await context.app.live.reload()
    for channel in context.app.live.channels.all():
        if channel.workspace_id == context.workspace_id and name_or_id in (
            channel.name,
            ids.to_text("channel", channel.id),
        ):
            return channel
    raise NotFound(f"there is no channel {name_or_id!r}")


def option_name(setting: str) -> str:
    """`phone_number_id` → `--phone-number-id`."""
    return "--" + setting.replace("_", "-")
