"""`/outlets` and `/posts`: places that are posted to, and publications, now or at a time."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from sqlalchemy import Connection

from api import contents
from api.models import (
    ChannelId,
    Input,
    MessageId,
    OutletId,
    Output,
    Page,
    PageQuery,
    PostId,
    Time,
    numeric_cursor,
    page_of,
)
from api.routing import Call, route
from campaigns import posts
from crm.accounts import audit
from domain.errors import NotFound


class Outlet(Output):
    """A place that is posted to. `kind`: channel | group | supergroup; `state`: active | gone."""

    id: OutletId
    channel_id: ChannelId
    kind: str
    title: str
    state: str
    rights: dict[str, Any]
    members: int | None


class Post(Output):
    """A publication. `state`: scheduled | queued | sent | failed | unknown | cancelled."""

    id: PostId
    outlet_id: OutletId
    channel_id: ChannelId
    content: dict[str, Any]
    state: str
    reason: str
    due_at: int
    message_id: MessageId | None
    created_at: int


class NewPost(Input):
    """What is published. `content`: a text, or a content; `at`: when, without it now."""

    outlet_id: OutletId
    content: str | dict[str, Any]
    at: Time | None = None


class PostChange(Input):
    """What changes of a scheduled post."""

    content: str | dict[str, Any] | None = None
    at: Time | None = None


class PostQuery(PageQuery):
    """Which posts."""

    outlet_id: OutletId | None = Field(None, description="of one outlet")


@route("GET", "/outlets", scope="posts:read", out=Page[Outlet])
async def list_outlets(call: Call[None, None]) -> Page[Outlet]:
    """All outlets of the workspace, by title."""
    found = await call.read(lambda c: posts.outlets(c, call.workspace_id))
    return Page[Outlet](
        data=[Outlet(**{name: getattr(one, name) for name in Outlet.model_fields}) for one in found]
    )


@route("GET", "/posts", scope="posts:read", query=PostQuery, out=Page[Post])
async def list_posts(call: Call[None, PostQuery]) -> Page[Post]:
    """Posts, the newest first."""
    query, before = call.query, numeric_cursor(call.query.after)
    found = await call.read(
        lambda c: posts.posts(
            c, call.workspace_id, outlet_id=query.outlet_id or 0, before=before, limit=query.limit + 1
        )
    )
    page = page_of(found, query.limit, lambda one: one.id)
    return Page[Post](data=[_shown(one) for one in page.data], next=page.next)


@route("GET", "/posts/{post_id}", scope="posts:read", out=Post)
async def get_post(call: Call[None, None]) -> Post:
    """One post."""
    return await call.read(lambda c: _get(c, call.workspace_id, call.ids["post"]))


@route("POST", "/posts", scope="posts:write", body=NewPost, out=Post, status=201)
async def create_post(call: Call[NewPost, None]) -> Post:
    """Publishes now, or at a time."""
    body = call.body

    def work(connection: Connection) -> Post:
        post_id = posts.create(
            connection,
            call.workspace_id,
            body.outlet_id,
            contents.taken(connection, call.workspace_id, body.content),
            at=body.at,
            new_id=call.runtime.new_id,
            now=call.now(),
        )
        audit(
            connection,
            workspace_id=call.workspace_id,
            actor=call.actor,
            action="post_created",
            target=str(post_id),
            new_id=call.runtime.new_id,
            now=call.now(),
        )
        return _get(connection, call.workspace_id, post_id)

    made = await call.write(work)
    call.runtime.signals.notify("outbox")
    return made


@route("PATCH", "/posts/{post_id}", scope="posts:write", body=PostChange, out=Post)
async def change_post(call: Call[PostChange, None]) -> Post:
    """Changes a scheduled post."""
    body, post_id = call.body, call.ids["post"]

    def work(connection: Connection) -> Post:
        content = contents.taken(connection, call.workspace_id, body.content)
        posts.change(connection, call.workspace_id, post_id, content=content, at=body.at, now=call.now())
        return _get(connection, call.workspace_id, post_id)

    return await call.write(work)


@route("POST", "/posts/{post_id}/cancel", scope="posts:write", out=Post)
async def cancel_post(call: Call[None, None]) -> Post:
    """A post that has not left does not leave."""

    def work(connection: Connection) -> Post:
        posts.cancel(connection, call.workspace_id, call.ids["post"])
        return _get(connection, call.workspace_id, call.ids["post"])

    return await call.write(work)


def _get(connection: Connection, workspace_id: int, post_id: int) -> Post:
    found = posts.posts(connection, workspace_id, before=post_id + 1, limit=1)
    if not found or found[0].id != post_id:
        raise NotFound("no such post")
    return _shown(found[0])


def _shown(one: posts.PostView) -> Post:
    values = {name: getattr(one, name) for name in Post.model_fields}
    return Post(**{**values, "content": contents.shown(one.content), "message_id": one.message_id or None})
