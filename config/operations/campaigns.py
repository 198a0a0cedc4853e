"""Campaigns: preview, start, pause, resume, status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Connection

from campaigns import previews, reports, runs
from config.operations import Context, Result, operation
from domain import ids


class Campaign(msgspec.Struct, forbid_unknown_fields=True):
    """A campaign by id."""

    campaign: str

    @property
    def number(self) -> int:
        """Its id. Raises RejectedInput."""
        return ids.from_text("campaign", self.campaign, where="campaign")


@operation("campaign.preview", Campaign)
async def preview(context: Context, arguments: Campaign) -> Result:
    """What would happen to everybody, if it began now."""
    database, workspace_id = context.app.database, context.workspace_id
    number, now = arguments.number, context.now
    found = await database.read(lambda connection: previews.begin(connection, workspace_id, number))
    while not found.complete:
        before = found
        found = await database.read(lambda c, before=before: previews.step(c, workspace_id, before, now=now))  # type: ignore[misc]
        context.progress(found.contacts, 0, "contacts")
    shown = msgspec.to_builtins(found)
    return {
        **{k: v for k, v in shown.items() if k not in ("cursor", "ceiling", "campaign_id")},
        "id": arguments.campaign,
    }


@operation("campaign.start", Campaign)
async def start(context: Context, arguments: Campaign) -> Result:
    """Starts a draft or a scheduled campaign."""
    return await _change(
        context,
        arguments,
        lambda c: runs.start(
            c, context.workspace_id, arguments.number, new_id=context.new_id, now=context.now
        ),
    )


@operation("campaign.pause", Campaign)
async def pause(context: Context, arguments: Campaign) -> Result:
    """Nothing more of it leaves."""
    return await _change(
        context, arguments, lambda c: runs.pause(c, context.workspace_id, arguments.number, now=context.now)
    )


@operation("campaign.resume", Campaign)
async def resume(context: Context, arguments: Campaign) -> Result:
    """Goes on where it was paused."""
    return await _change(
        context, arguments, lambda c: runs.resume(c, context.workspace_id, arguments.number, now=context.now)
    )


@operation("campaign.status", Campaign)
async def status(context: Context, arguments: Campaign) -> Result:
    """Where it stands, exact at this moment."""
    return await context.app.database.read(lambda connection: _status(connection, context, arguments))


async def _change(context: Context, arguments: Campaign, change: Callable[[Connection], Any]) -> Result:
    def write(connection: Connection) -> Result:
        change(connection)
        return _status(connection, context, arguments)

    done = await context.app.database.write(write)
    context.app.runtime.signals.notify("outbox")
    return done


def _status(connection: Connection, context: Context, arguments: Campaign) -> Result:
    campaign = reports.campaign(connection, context.workspace_id, arguments.number)
    found = reports.progress(connection, context.workspace_id, arguments.number, now=context.now)
    progress = None
    if found is not None:
        told = msgspec.to_builtins(found)
        told["run_id"] = ids.to_text("run", found.run_id)
        progress = {
            key: value for key, value in told.items() if key not in ("campaign_id", "state", "state_reason")
        }
    return {
        "id": arguments.campaign,
        "name": campaign.name,
        "state": campaign.state,
        "state_reason": campaign.state_reason,
        "progress": progress,
    }
