"""Parked events: what waits for a person."""

from __future__ import annotations

from sqlalchemy import Connection

from bot import connecting, parked
from console.routing import CONVERSE, Answer, Goto, Rendered, Visit, page
from domain.ids import from_text

PAGE = 50


@page("GET", "/parked")
async def parked_list(visit: Visit) -> Answer:
    """A page of parked events, the oldest first."""
    after = visit.number("after")

    def look(connection: Connection) -> Rendered:
        found = parked.parked(
            connection, visit.workspace_id, sealer=visit.runtime.sealer, after=after, limit=PAGE + 1
        )
        return Rendered(
            "parked/parked.html",
            {
                "events": found[:PAGE],
                "next": found[PAGE - 1].id if len(found) > PAGE else None,
                "channels": {one.id: one.name for one in connecting.channels(connection, visit.workspace_id)},
            },
        )

    return await visit.read(look)


@page("POST", "/parked/retry", needs=CONVERSE)
async def retry(visit: Visit) -> Answer:
    """Has one tried again, or all."""
    given = visit.form.get("event", "")
    chosen = [from_text("event", given, where="event")] if given else []
    await visit.write(
        lambda c: parked.retry(c, visit.workspace_id, chosen), action="parked_retried", target=given or "all"
    )
    visit.runtime.signals.notify("intake")
    return Goto("/parked", "retried")
