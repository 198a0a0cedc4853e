"""Posts on outlets: now, scheduled, cancelled; each leaves at most once and says what became of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text

from campaigns import posts, scheduler
from domain.errors import Conflict, NotFound, RejectedInput
from tests.support.campaigns import CHANNEL, OTHER_WORKSPACE, OUTLET, WORKSPACE, World


@pytest.fixture
async def world(any_database_url: str) -> AsyncIterator[World]:
    made = await World.open(any_database_url)
    yield made
    await made.database.close()


async def create(world: World, content: Any = "Oggi aperti!", **values: Any) -> int:
    return await world.do(
        lambda c: posts.create(c, WORKSPACE, OUTLET, content, new_id=world.new_id, now=world.now, **values)
    )


async def only(world: World) -> posts.PostView:
    found = await world.database.read(lambda c: posts.posts(c, WORKSPACE))
    assert len(found) == 1
    return found[0]


async def test_a_post_now_is_queued_at_once_and_hears_its_outcome(world: World) -> None:
    """With media and buttons, to the outlet's address, asking nobody's consent."""
    content = {
        "kind": "media",
        "media": "image",
        "source": {"url": "https://example.com/saldi.jpg"},
        "caption": "Saldi",
        "buttons": [{"id": "go", "title": "Vai", "url": "https://example.com/saldi"}],
    }
    await create(world, content)
    row = (await world.rows("SELECT address, message_class, lane, place, outlet_id, content FROM outbox"))[0]
    assert (row.address, row.message_class, row.lane, row.place) == ("-1001234567890", "service", 1, "outlet")
    assert "saldi.jpg" in row.content
    marked = await world.mark()
    await world.settle(marked, external_id="777")
    post = await only(world)
    assert (post.state, post.external_id) == ("sent", "777")


async def test_a_scheduled_post_waits_for_its_time_and_goes_once(world: World) -> None:
    """Ticks before, at and after its time."""
    at = world.now + 60_000
    await create(world, at=at)
    assert (await world.tick(scheduler.queue_due_posts)).channels == ()
    world.now = at
    assert (await world.tick(scheduler.queue_due_posts)).channels == (CHANNEL,)
    assert (await world.tick(scheduler.queue_due_posts)).channels == ()
    assert len(await world.rows("SELECT id FROM outbox")) == 1


async def test_an_unknown_post_stays_unknown_until_the_truth_comes(world: World) -> None:
    """Nobody sends it again by itself."""
    await create(world)
    marked = await world.mark()
    await world.settle(marked, "unknown", reason="unknown")
    assert (await only(world)).state == "unknown"
    await world.tick(scheduler.queue_due_posts)
    assert await world.mark() == {}
    await world.settle(marked, "sent", external_id="9")
    post = await only(world)
    assert (post.state, post.external_id, post.reason) == ("sent", "9", "")


async def test_a_post_can_be_changed_and_cancelled_until_it_leaves(world: World) -> None:
    """Scheduled and queued ones; not one that is on the wire."""
    first = await create(world, at=world.now + 1_000)
    await world.do(lambda c: posts.change(c, WORKSPACE, first, content="Domani aperti!", now=world.now))
    assert (await only(world)).content["text"] == "Domani aperti!"
    await world.do(lambda c: posts.cancel(c, WORKSPACE, first))
    await world.do(lambda c: posts.cancel(c, WORKSPACE, first))
    second = await create(world)
    await world.do(lambda c: posts.cancel(c, WORKSPACE, second))
    assert await world.rows("SELECT id FROM outbox") == []
    third = await create(world)
    await world.mark()
    with pytest.raises(Conflict, match="being sent"):
        await world.do(lambda c: posts.cancel(c, WORKSPACE, third))
    with pytest.raises(Conflict, match="queued"):
        await world.do(lambda c: posts.change(c, WORKSPACE, third, content="x", now=world.now))


async def test_a_gone_outlet_takes_no_posts(world: World) -> None:
    """New ones are refused, scheduled ones fail and say why."""
    await create(world, at=world.now + 1_000)
    await world.do(lambda c: c.execute(text("UPDATE outlet SET state = 'gone'")))
    with pytest.raises(Conflict):
        await create(world)
    world.now += 1_000
    assert (await world.tick(scheduler.queue_due_posts)).channels == ()
    post = await only(world)
    assert (post.state, post.reason) == ("failed", "outlet_gone")


async def test_a_post_that_could_not_leave_for_a_day_expires(world: World) -> None:
    """The sender says expired; the post says failed."""
    await create(world)
    row = (await world.rows("SELECT id, expires_at FROM outbox"))[0]
    assert row.expires_at == world.now + 86_400_000
    await world.settle(await world.mark(), "expired")
    post = await only(world)
    assert (post.state, post.reason) == ("failed", "expired")


@pytest.mark.parametrize(
    "content",
    [
        "",
        {"kind": "contact_request", "text": "x", "button": "y"},
        {"kind": "text", "text": "x" * 40_000},
        5,
        {"kind": "no"},
    ],
)
async def test_bad_posts_are_refused(world: World, content: Any) -> None:
    """With the place; nothing is stored."""
    with pytest.raises(RejectedInput, match="content"):
        await create(world, content)
    assert await world.rows("SELECT id FROM post") == []


async def test_workspaces_do_not_mix(world: World) -> None:
    """Outlets and posts of another workspace are not there (I6)."""
    post = await create(world, at=world.now + 1_000)
    assert await world.do(lambda c: posts.posts(c, OTHER_WORKSPACE)) == []
    assert await world.do(lambda c: posts.outlets(c, OTHER_WORKSPACE)) == []
    assert [o.title for o in await world.do(lambda c: posts.outlets(c, WORKSPACE))] == ["Bottega Esempio"]
    with pytest.raises(NotFound):
        await world.do(lambda c: posts.cancel(c, OTHER_WORKSPACE, post))
    with pytest.raises(NotFound):
        await world.do(
            lambda c: posts.create(c, OTHER_WORKSPACE, OUTLET, "x", new_id=world.new_id, now=world.now)
        )
