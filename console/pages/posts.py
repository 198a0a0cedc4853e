"""Posts: the outlets, a form, and what was published."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from campaigns import posts
from console.routing import SEND, Answer, Goto, Rendered, Visit, page
from domain.errors import RejectedInput
from domain.ids import from_text

PAGE = 50


@page("GET", "/posts")
async def post_list(visit: Visit) -> Answer:
    """Outlets, a form, the newest posts."""
    before = visit.number("before")

    def look(connection: Connection) -> Rendered:
        outlets = posts.outlets(connection, visit.workspace_id)
        found = posts.posts(connection, visit.workspace_id, before=before, limit=PAGE + 1)
        return Rendered(
            "posts/posts.html",
            {
                "outlets": outlets,
                "titles": {one.id: one.title or one.address for one in outlets},
                "posts": found[:PAGE],
                "next": found[PAGE - 1].id if len(found) > PAGE else None,
                "form": dict(visit.form),
            },
        )

    return await visit.read(look)


async def _again(visit: Visit, problem: str) -> Answer:
    return await post_list(visit)


@page("POST", "/posts", needs=SEND, again=_again)
async def create_post(visit: Visit) -> Answer:
    """Publishes, now or at a time of the business's own clock."""
    outlet_id = from_text("outlet", visit.form.get("outlet", ""), where="outlet")
    at = _moment(visit, visit.form.get("at", ""))
    await visit.write(
        lambda c: posts.create(
            c,
            visit.workspace_id,
            outlet_id,
            visit.form.get("text", ""),
            at=at,
            new_id=visit.runtime.new_id,
            now=visit.now(),
        ),
        action="post_created",
        target=str(outlet_id),
    )
    visit.runtime.signals.notify("outbox")
    return Goto("/posts", "posted")


@page("POST", "/posts/{post_id}/cancel", needs=SEND, again=_again)
async def cancel_post(visit: Visit) -> Answer:
    """A post that has not left does not leave."""
    post_id = visit.ids["post"]
    await visit.write(
        lambda c: posts.cancel(c, visit.workspace_id, post_id), action="post_cancelled", target=str(post_id)
    )
    return Goto("/posts", "cancelled")


def _moment(visit: Visit, given: str) -> int | None:
    """ms UTC of a form's local time; None when it is empty. Raises RejectedInput."""
    if not given:
        return None
    try:
        local = datetime.strptime(given, "%Y-%m-%dT%H:%M")  # noqa: DTZ007 (its zone follows)
    except ValueError:
        raise RejectedInput("must look like 2026-12-24T18:30", where="at") from None
    zone = ZoneInfo(visit.live.flows.business(visit.workspace_id).view.timezone)
    return int(local.replace(tzinfo=zone).timestamp() * 1000)
