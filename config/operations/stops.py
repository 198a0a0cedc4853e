"""The stop button, and parked events."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from bot import parked, stops
from config.operations import Context, Result, operation
from config.operations.channels import find
from crm import accounts
from domain import ids

MAX_PAGE = 500  # events shown at once


class Stop(msgspec.Struct, forbid_unknown_fields=True):
    """At most one of channel and campaign; neither: the whole business. `what`: marketing or everything."""

    what: str = "marketing"
    channel: str = ""
    campaign: str = ""
    installation: bool = False


class Parked(msgspec.Struct, forbid_unknown_fields=True):
    """A page after an event's id."""

    after: str = ""
    limit: int = 100


class Retry(msgspec.Struct, forbid_unknown_fields=True):
    """Events by id; none: all."""

    events: list[str] = msgspec.field(default_factory=list)


@operation("stop", Stop)
async def stop(context: Context, arguments: Stop) -> Result:
    """Presses the stop button."""
    scope, target = await _scope(context, arguments)

    def write(connection: Connection) -> Result:
        stops.press(
            connection,
            context.workspace_id,
            scope=scope,
            target_id=target,
            what=arguments.what,
            by="command",
            now=context.now,
        )
        _note(connection, context, "stop", scope, arguments.what)
        return _pressed(connection, context.workspace_id)

    return await context.app.database.write(write)


@operation("resume", Stop)
async def resume(context: Context, arguments: Stop) -> Result:
    """Lets go of the stop button of the same scope."""
    scope, target = await _scope(context, arguments)

    def write(connection: Connection) -> Result:
        changed = stops.release(connection, context.workspace_id, scope=scope, target_id=target)
        if changed:
            _note(connection, context, "resume", scope, "")
        return {"changed": changed, **_pressed(connection, context.workspace_id)}

    return await context.app.database.write(write)


@operation("parked.list", Parked)
async def list_parked(context: Context, arguments: Parked) -> Result:
    """Events that wait for a person."""
    after = ids.from_text("event", arguments.after, where="--after") if arguments.after else 0
    sealer = context.app.sealer

    def read(connection: Connection) -> list[Result]:
        found = parked.parked(
            connection, context.workspace_id, sealer=sealer, after=after, limit=min(arguments.limit, MAX_PAGE)
        )
        return [
            {
                "id": ids.to_text("event", one.id),
                "channel": ids.to_text("channel", one.channel_id),
                "what": one.what,
                "attempts": one.attempts,
                "problem": one.problem,
                "received_at": one.received_at,
            }
            for one in found
        ]

    return {"parked": await context.app.database.read(read)}


@operation("parked.retry", Retry)
async def retry_parked(context: Context, arguments: Retry) -> Result:
    """Has events handled again."""
    chosen = [ids.from_text("event", one, where="event") for one in arguments.events]
    app = context.app
    opened = await app.database.write(lambda c: parked.retry(c, context.workspace_id, chosen))
    app.runtime.signals.notify("intake")
    return {"opened": opened}


async def _scope(context: Context, arguments: Stop) -> tuple[str, int]:
    if arguments.channel:
        return "channel", (await find(context, arguments.channel)).id
    if arguments.campaign:
        return "campaign", ids.from_text("campaign", arguments.campaign, where="--campaign")
    return ("installation", 0) if arguments.installation else ("workspace", 0)


def _pressed(connection: Connection, workspace_id: int) -> Result:
    return {
        "stops": [
            {
                "scope": one.scope,
                "target": ids.to_text(one.scope, one.target_id)
                if one.scope in ("channel", "campaign")
                else "",
                "what": one.what,
                "by": one.by,
                "set_at": one.set_at,
            }
            for one in stops.stops(connection, workspace_id)
        ]
    }


def _note(connection: Connection, context: Context, action: str, scope: str, what: str) -> None:
    accounts.audit(
        connection,
        workspace_id=context.workspace_id,
        actor="command",
        action=action,
        target=scope,
        detail={"what": what} if what else {},
        new_id=context.new_id,
        now=context.now,
    )
