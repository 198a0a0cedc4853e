"""The first page: channels, what needs a look, the stop button."""

from __future__ import annotations

from sqlalchemy import Connection

from bot import condition, connecting, stops
from console.routing import CONVERSE, MANAGE, Answer, Goto, Rendered, Visit, page
from crm import outcomes
from domain.errors import NotFound
from domain.ids import from_text

NEWS = 20  # of what the team is told: a page that is read at a glance; the rest follows when these are seen


@page("GET", "/")
async def overview(visit: Visit) -> Answer:
    """How it is going."""
    now = visit.now()

    def look(connection: Connection) -> Rendered:
        rows = condition.read(connection, now=now, workspace_id=visit.workspace_id)
        pressed = stops.stops(connection, visit.workspace_id)
        return Rendered(
            "overview/overview.html",
            {
                "channels": connecting.channels(connection, visit.workspace_id),
                "news": outcomes.notifications(connection, visit.workspace_id, unseen=True, limit=NEWS),
                "troubles": list(condition.troubles(visit.live, rows, workspace_id=visit.workspace_id)),
                "rows": rows,
                "to_send": sum(rows.outbox.values()),
                "stop": next((one for one in pressed if one.scope == "workspace"), None),
            },
        )

    return await visit.read(look)


@page("POST", "/news/seen", needs=CONVERSE)
async def mark_news_seen(visit: Visit) -> Answer:
    """The news for the team up to the newest one that was on the page."""
    up_to, now = from_text("notification", visit.form.get("up_to", "")), visit.now()
    await visit.write(
        lambda c: outcomes.mark_seen(c, visit.workspace_id, up_to=up_to, now=now),
        action="news_seen",
        target=str(up_to),
    )
    return Goto("/", "seen")


@page("POST", "/stop", needs=MANAGE)
async def stop(visit: Visit) -> Answer:
    """Presses the stop button of the workspace."""
    what, now = visit.form.get("what", ""), visit.now()
    await visit.write(
        lambda c: stops.press(c, visit.workspace_id, scope="workspace", what=what, by=visit.actor, now=now),
        action="stop_pressed",
        target=what,
    )
    return Goto("/", "stopped")


@page("POST", "/stop/lift", needs=MANAGE)
async def lift_stop(visit: Visit) -> Answer:
    """Lets go of it."""

    def work(connection: Connection) -> None:
        if not stops.release(connection, visit.workspace_id, scope="workspace"):
            raise NotFound("the stop button is not pressed")

    await visit.write(work, action="stop_lifted")
    visit.runtime.signals.notify("outbox")
    return Goto("/", "lifted")


@page("POST", "/channels/{channel_id}/pause", needs=MANAGE)
async def pause_channel(visit: Visit) -> Answer:
    """Nothing leaves over it."""
    channel_id = visit.ids["channel"]
    await visit.write(
        lambda c: connecting.pause(c, visit.workspace_id, channel_id, reason="console"),
        action="channel_paused",
        target=str(channel_id),
    )
    await visit.live.reload()
    return Goto("/", "paused")


@page("POST", "/channels/{channel_id}/start", needs=MANAGE)
async def start_channel(visit: Visit) -> Answer:
    """It sends again."""
    channel_id = visit.ids["channel"]
    await visit.write(
        lambda c: connecting.start(c, visit.workspace_id, channel_id),
        action="channel_started",
        target=str(channel_id),
    )
    await visit.live.reload()
    return Goto("/", "resumed")
