"""Campaigns on both databases: who is written to, what becomes of everybody, and that the sums always agree (I4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import Connection, text

from bot import outbox, settling
from bot.settling import Outcome
from campaigns import audiences, drafts, previews, privacy, recipients, reports, runs, scheduler
from campaigns.drafts import Draft
from domain.errors import Conflict, NotFound, RejectedInput
from tests.support.campaigns import (
    CHANNEL,
    OTHER_CHANNEL,
    OTHER_WORKSPACE,
    WORKSPACE,
    World,
    add_consents,
    add_identities,
)


@pytest.fixture
async def world(any_database_url: str) -> AsyncIterator[World]:
    made = await World.open(any_database_url)
    yield made
    await made.database.close()


async def progress(world: World, campaign: int) -> reports.Progress:
    found = await world.database.read(lambda c: reports.progress(c, WORKSPACE, campaign, now=world.now))
    assert found is not None
    return found


async def consistent(world: World, campaign: int) -> reports.Progress:
    """The progress, after checking it against the rows."""
    seen = await progress(world, campaign)
    rows = await world.rows(
        "SELECT state, count(*) AS n FROM recipient WHERE run_id = :run GROUP BY state", run=seen.run_id
    )
    by_state = {row.state: row.n for row in rows}
    assert seen.total == sum(by_state.values())
    assert seen.pending == by_state.get(0, 0) + by_state.get(1, 0)
    assert (seen.sent, seen.failed, seen.skipped, seen.unknown) == tuple(
        by_state.get(n, 0) for n in (2, 3, 4, 5)
    )
    assert seen.total == seen.pending + seen.sent + seen.failed + seen.skipped + seen.unknown
    queued = await world.rows(
        "SELECT r.contact_id FROM recipient r LEFT JOIN outbox o ON o.id = r.message_id "
        "WHERE r.run_id = :run AND r.state = 1 AND o.id IS NULL",
        run=seen.run_id,
    )
    assert queued == []
    twice = await world.rows(
        "SELECT contact_id FROM outbox WHERE run_id = :run GROUP BY contact_id HAVING count(*) > 1",
        run=seen.run_id,
    )
    assert twice == []
    return seen


async def test_a_run_goes_to_the_consented_and_reachable_of_the_audience_once(world: World) -> None:
    """The whole way: start, slices, feed, sender, outcomes, statuses, finished."""
    await world.people([1, 2, 3], language="it")
    await world.people([4], language="en")
    await world.people([5], consent="withdrawn")
    await world.people([6], state="blocked")
    await world.people([7], identity=False)
    campaign, run = await world.started(
        {"it": "Ciao {{ contact.first_name }}!", "en": "Hi {{ contact.first_name }}!"}
    )
    assert (await consistent(world, campaign)).total == 4

    assert (await world.tick(scheduler.feed)).channels == (CHANNEL,)
    assert (await world.tick(scheduler.feed)).channels == ()
    rows = await world.rows(
        "SELECT o.address, o.language, o.content, o.lane, m.author FROM outbox o "
        "JOIN message m ON m.id = o.id ORDER BY o.id"
    )
    assert [row.address for row in rows] == ["tg1", "tg2", "tg3", "tg4"]
    assert {row.lane for row in rows} == {2}
    assert "Ciao Anna!" in rows[0].content
    assert (rows[3].language, "Hi Anna!" in rows[3].content) == ("en", True)

    marked = await world.mark()
    assert len(marked) == 4
    ids = sorted(marked)
    await world.settle({i: marked[i] for i in ids[:2]}, external_id="x1")
    await world.settle({ids[2]: marked[ids[2]]}, "failed", reason="blocked_by_contact")
    await world.settle({ids[3]: marked[ids[3]]}, "unknown", reason="unknown")
    seen = await consistent(world, campaign)
    assert (seen.sent, seen.failed, seen.unknown, seen.pending) == (2, 1, 1, 0)
    assert seen.reasons == {"failed": {"blocked_by_contact": 1}, "unknown": {"unknown": 1}}

    await world.tick(scheduler.fold)
    await world.tick(scheduler.brake_and_finish)
    assert (await progress(world, campaign)).state == "finished"
    told = [
        Outcome(
            message_id=ids[3],
            workspace_id=WORKSPACE,
            run_id=run,
            campaign_id=0,
            contact_id=4,
            outlet_id=0,
            state=s,
        )
        for s in ("sent", "delivered", "read", "delivered")
    ]
    await world.do(lambda c: settling.tell(c, told, new_id=world.new_id, now=world.now))
    seen = await consistent(world, campaign)
    assert (seen.sent, seen.unknown, seen.delivered, seen.read) == (3, 0, 1, 1)
    lines = await world.database.read(lambda c: reports.recipients(c, WORKSPACE, run, state="failed"))
    assert [(line.contact_id, line.reason) for line in lines] == [(3, "blocked_by_contact")]


async def test_one_row_per_person_at_the_identity_that_wrote_last(world: World) -> None:
    """A merged person with several identities on the channel is written to once."""
    await world.people([1])
    await world.do(
        lambda c: add_identities(c, [(500, 1, "tg-new", "reachable", 9), (501, 1, "tg-no", "reachable", 99)])
    )
    await world.do(lambda c: add_consents(c, [(500, 1)], "granted"))
    _, run = await world.started()
    rows = await world.rows("SELECT contact_id, identity_id FROM recipient WHERE run_id = :run", run=run)
    assert [tuple(row) for row in rows] == [(1, 500)]


async def test_the_audience_is_a_predicate_and_slices_repeat_nothing(world: World) -> None:
    """Small slices give the same people as one; a slice done twice adds nobody."""
    await world.people(range(1, 26), first_name="Anna")
    await world.people(range(26, 41), first_name="Bruno")
    audience = {"subject": "contact.first_name", "op": "equals", "value": "anna"}
    campaign = await world.campaign(audience=audience)
    run = await world.do(lambda c: runs.start(c, WORKSPACE, campaign, new_id=world.new_id, now=world.now))
    await world.people([41], first_name="Anna")  # came later: not part of the run

    def slice_(connection: Any) -> int | None:
        return audiences.materialise(connection, run, new_id=world.new_id, now=world.now, slice_size=7)

    added = []
    while (one := await world.do(slice_)) is not None:
        added.append(one)
        if len(added) == 2:  # a crash that forgot the cursor
            await world.do(lambda c: c.execute(text("UPDATE campaign_run SET cursor = 0")))
    assert added == [7, 7, 0, 0, 7, 4, 0, 0]
    assert (await consistent(world, campaign)).total == 25


async def test_pause_takes_back_what_has_not_left_and_resume_goes_on(world: World) -> None:
    """A paused run sends nothing; what was on the wire counts; nobody gets a second message."""
    await world.people(range(1, 31))
    campaign, _ = await world.started()
    await world.tick(scheduler.feed)
    on_wire = await world.mark(limit=5)
    await world.do(lambda c: runs.pause(c, WORKSPACE, campaign, now=world.now))
    assert await world.mark() == {}
    assert (await world.tick(scheduler.feed)).channels == ()
    assert await world.rows("SELECT id FROM message WHERE id NOT IN (SELECT id FROM outbox)") == []
    await world.settle(on_wire)
    seen = await consistent(world, campaign)
    assert (seen.state, seen.sent, seen.pending) == ("paused", 5, 25)
    await world.do(lambda c: runs.pause(c, WORKSPACE, campaign, now=world.now))  # again: nothing happens
    await world.do(lambda c: runs.resume(c, WORKSPACE, campaign, now=world.now))
    sent = len(on_wire)
    while (await world.tick(scheduler.feed)).channels:
        marked = await world.mark()
        sent += len(marked)
        await world.settle(marked)
    assert sent == 30
    await world.tick(scheduler.brake_and_finish)
    assert (await consistent(world, campaign)).state == "finished"


async def test_a_message_that_comes_back_to_a_paused_run_is_taken_back(world: World) -> None:
    """A 429 after the pause puts the item into the outbox again: it must not leave."""
    await world.people([1])
    campaign, _ = await world.started()
    await world.tick(scheduler.feed)
    on_wire = await world.mark()
    await world.do(lambda c: runs.pause(c, WORKSPACE, campaign, now=world.now))
    await world.settle(on_wire, "retry", retry_at=world.now + 10, counts_as_try=False)
    await world.tick(scheduler.take_back)
    world.now += 1_000
    assert await world.mark() == {}
    assert (await consistent(world, campaign)).pending == 1


async def test_cancel_skips_everybody_else_in_slices(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled people are skipped, the one on the wire is counted as what it became."""
    monkeypatch.setattr(recipients, "SWEEP", 10)
    await world.people(range(1, 41))
    campaign, _ = await world.started()
    await world.tick(scheduler.feed)
    on_wire = await world.mark(limit=1)
    await world.do(lambda c: runs.cancel(c, WORKSPACE, campaign, new_id=world.new_id, now=world.now))
    await world.do(lambda c: runs.cancel(c, WORKSPACE, campaign, new_id=world.new_id, now=world.now))
    await consistent(world, campaign)
    while (await world.tick(scheduler.sweep_cancelled)).more:
        await consistent(world, campaign)
    await world.settle(on_wire)
    seen = await consistent(world, campaign)
    assert (seen.state, seen.sent, seen.skipped, seen.pending) == ("cancelled", 1, 39, 0)
    assert seen.reasons["skipped"] == {"cancelled": 39}


async def test_two_feeds_at_once_never_double_a_person(world: World) -> None:
    """Many processes that feed the same run at the same time."""
    await world.people(range(1, 201))
    campaign, run = await world.started()

    async def feed() -> None:
        try:
            await world.do(lambda c: recipients.feed(c, run, room=60, new_id=world.new_id, now=world.now))
        except Conflict:  # two had begun at once and the database let one go on
            return

    await asyncio.gather(*(feed() for _ in range(8)))
    await consistent(world, campaign)
    rows = await world.rows("SELECT count(*) AS n, count(DISTINCT contact_id) AS people FROM outbox")
    assert rows[0].n == rows[0].people > 60


async def test_a_text_that_cannot_be_made_fails_that_person_only(world: World) -> None:
    """A WhatsApp-like template parameter, or a text, that comes out empty."""
    await world.people([1], first_name="Anna")
    await world.people([2], first_name="")
    campaign, _ = await world.started("{{ contact.first_name }}")
    await world.tick(scheduler.feed)
    seen = await consistent(world, campaign)
    assert (seen.pending, seen.failed, seen.reasons) == (1, 1, {"failed": {"rendering_empty": 1}})


async def test_later_gives_its_place_to_others(world: World) -> None:
    """Whoever may only be written to tomorrow does not hold a place in the outbox."""
    await world.people([1, 2])
    campaign, _ = await world.started()
    await world.tick(scheduler.feed)
    tomorrow = world.now + 86_400_000
    first = (await world.rows("SELECT min(id) AS id FROM outbox"))[0].id
    await world.do(lambda c: outbox.postpone(c, {first: tomorrow}))
    await world.tick(scheduler.take_back)
    assert len(await world.rows("SELECT id FROM outbox")) == 1
    await world.settle(await world.mark())
    await world.tick(scheduler.brake_and_finish)
    assert (await consistent(world, campaign)).state == "running"
    assert (await world.tick(scheduler.feed)).channels == ()
    world.now = tomorrow
    assert (await world.tick(scheduler.feed)).channels == (CHANNEL,)


async def test_the_first_people_are_canaries(world: World) -> None:
    """Content that everybody's client refuses costs at most 20 attempts and pauses the run."""
    await world.people(range(1, 101))
    campaign, _ = await world.started()
    await world.tick(scheduler.feed)
    marked = await world.mark()
    assert len(marked) == 20
    assert (await world.tick(scheduler.feed)).channels == ()
    await world.settle(marked, "failed", reason="rejected")
    assert (await world.tick(scheduler.feed)).channels == ()
    seen = await consistent(world, campaign)
    assert (seen.state, seen.state_reason, seen.pending) == ("paused", "content_refused", 80)
    await world.do(lambda c: runs.resume(c, WORKSPACE, campaign, now=world.now))  # a person is believed
    assert (await world.tick(scheduler.feed)).channels == (CHANNEL,)
    assert (await progress(world, campaign)).state == "running"


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE channel SET state = 'stopped' WHERE id = 21", "channel_stopped"),
        (
            "INSERT INTO stop (workspace_id, scope, target_id, what, by, set_at) "
            "VALUES (0, 'installation', 0, 'marketing', 'x', 0)",
            "stopped_installation",
        ),
        (
            "INSERT INTO stop (workspace_id, scope, target_id, what, by, set_at) "
            "VALUES (11, 'channel', 21, 'marketing', 'x', 0)",
            "stopped_channel",
        ),
        ("UPDATE outbox SET attempt = 1, not_before = 1790000061000 + 1", "told_to_wait"),
    ],
)
async def test_the_brake_pauses_a_run(world: World, statement: str, reason: str) -> None:
    """A stopped channel, a stop button, a platform that makes us wait: pause with the reason, nothing is lost."""
    await world.people([1, 2])
    campaign, _ = await world.started()
    await world.tick(scheduler.feed)
    await world.do(lambda c: c.execute(text(statement)))
    await world.tick(scheduler.brake_and_finish)
    seen = await consistent(world, campaign)
    assert (seen.state, seen.state_reason, seen.pending) == ("paused", reason, 2)
    assert await world.rows("SELECT id FROM outbox") == []
    if reason != "told_to_wait":
        with pytest.raises(Conflict):
            await world.do(lambda c: runs.resume(c, WORKSPACE, campaign, now=world.now))


async def test_scheduled_campaigns_start_once_when_due(world: World) -> None:
    """At its time, not before, and only once; a restored backup starts nothing."""
    await world.people([1])
    at = world.now + 60_000
    campaign = await world.campaign()
    await world.do(lambda c: runs.schedule(c, WORKSPACE, campaign, at=at, now=world.now))
    await world.tick(scheduler.start_due)
    assert await world.rows("SELECT id FROM campaign_run") == []
    restored = await world.campaign()
    await world.do(lambda c: runs.schedule(c, WORKSPACE, restored, at=at, now=world.now))
    await world.do(lambda c: runs.unschedule(c, WORKSPACE, restored, now=world.now))
    world.now = at
    await world.tick(scheduler.start_due)
    await world.tick(scheduler.start_due)
    assert len(await world.rows("SELECT id FROM campaign_run")) == 1
    assert await world.do(lambda c: runs.pause_all(c, now=world.now)) == 1
    assert (await progress(world, campaign)).state_reason == "restored"
    assert (await world.tick(scheduler.feed)).channels == ()


async def test_a_scheduled_campaign_that_cannot_start_says_why(world: World) -> None:
    """Its channel was stopped in the meantime."""
    campaign = await world.campaign()
    await world.do(lambda c: runs.schedule(c, WORKSPACE, campaign, at=world.now, now=world.now))
    await world.do(lambda c: c.execute(text("UPDATE channel SET state = 'stopped'")))
    await world.tick(scheduler.start_due)
    seen = await world.database.read(lambda c: reports.campaign(c, WORKSPACE, campaign))
    assert (seen.state, seen.state_reason) == ("draft", "the channel is stopped")


async def test_what_was_fed_is_handed_over_as_the_outbox_has_it(world: World) -> None:
    """A sender in the same process need not read it; what has a time of its own it finds when that has come."""
    await world.people(range(1, 21))
    await world.started("Ciao {{ contact.first_name }}")
    fed = await world.tick(scheduler.feed)
    waiting = await world.do(lambda c: outbox.due(c, CHANNEL, now=world.now, limit=100))
    assert len(waiting) == 20
    assert list(fed.items) == waiting
    known = frozenset(item.id for item in waiting[:19])
    new, more = await world.do(lambda c: outbox.due_besides(c, CHANNEL, now=world.now, limit=20, known=known))
    assert (new, more) == ([waiting[19]], True)
    await world.started(rate=10)
    fed = await world.tick(scheduler.feed)
    assert (fed.channels, fed.items) == ((CHANNEL,), ())


async def test_a_message_says_which_consent_allows_it(world: World) -> None:
    """From feeding on; the mark has the last word, and what never leaves was allowed by none."""
    await world.people([1, 2, 3])
    await world.started()
    await world.tick(scheduler.feed)
    consents = dict(await world.rows("SELECT contact_id, consent_id FROM consent_state"))
    assert dict(await world.rows("SELECT contact_id, consent_id FROM message")) == consents

    def mark(connection: Connection) -> dict[int, int]:
        first, second, _ = outbox.due(connection, CHANNEL, now=world.now, limit=3)
        said = {first.id: consents[1], second.id: 4_711}
        return outbox.mark(connection, list(said), now=world.now, consents=said)

    assert len(await world.do(mark)) == 2
    (third,) = await world.do(lambda c: outbox.due(c, CHANNEL, now=world.now, limit=3))
    await world.settle({third.id: 0}, "skipped", reason="withdrawn")
    assert dict(await world.rows("SELECT contact_id, consent_id FROM message")) == {
        1: consents[1],
        2: 4_711,
        3: 0,
    }


async def test_a_rate_spreads_messages_evenly(world: World) -> None:
    """Ten a second: the outbox holds the next seconds only, each with its time."""
    await world.people(range(1, 101))
    _, run = await world.started(rate=10)
    await world.do(lambda c: recipients.feed(c, run, room=500, new_id=world.new_id, now=world.now))
    times = [
        row.not_before - world.now for row in await world.rows("SELECT not_before FROM outbox ORDER BY id")
    ]
    assert times == [n * 100 for n in range(50)]
    world.now += 1_000
    await world.do(lambda c: recipients.feed(c, run, room=500, new_id=world.new_id, now=world.now))
    assert len(await world.rows("SELECT id FROM outbox")) == 60


async def test_the_preview_adds_up_and_foretells_the_run(world: World) -> None:
    """One reason per person, through the sender's own gate; small slices give the same as one."""
    await world.people([1, 2, 3])
    await world.people([4], consent="withdrawn")
    await world.people([5], consent="")
    await world.people([6], state="blocked")
    await world.people([7], identity=False)
    await world.people([8], first_name="")
    await world.people([9], first_name="Bruno")
    await world.do(
        lambda c: c.execute(
            text("UPDATE identity SET marketing_not_before = :at WHERE id = 100003"), {"at": world.now + 5}
        )
    )
    audience = {"not": {"subject": "contact.first_name", "op": "equals", "value": "Bruno"}}
    campaign = await world.campaign("{{ contact.first_name }}", audience=audience)
    for size in (5_000, 2):
        seen = await previews.preview(world.database, WORKSPACE, campaign, now=world.now, slice_size=size)
        assert (seen.contacts, seen.in_audience, seen.reachable, seen.consented, seen.allowed) == (
            9,
            8,
            6,
            4,
            2,
        )
        assert seen.excluded == {
            "withdrawn": 1,
            "no_consent": 1,
            "blocked": 1,
            "not_on_this_channel": 1,
            "not_in_audience": 1,
        }
        assert (seen.later, seen.denied, seen.not_composed) == (
            {"platform_cap": 1},
            {},
            {"rendering_empty": 1},
        )
        parts = [
            seen.allowed,
            *(n for g in (seen.excluded, seen.later, seen.denied, seen.not_composed) for n in g.values()),
        ]
        assert sum(parts) == seen.contacts
    verdict = await world.database.read(lambda c: previews.why(c, WORKSPACE, campaign, 4, now=world.now))
    assert (verdict.what, verdict.reason) == ("excluded", "withdrawn")
    with pytest.raises(NotFound):
        await world.database.read(lambda c: previews.why(c, WORKSPACE, campaign, 999, now=world.now))


async def test_workspaces_do_not_mix(world: World) -> None:
    """Another workspace sees and moves nothing (I6)."""
    campaign, run = await world.started()
    attempts: list[Callable[[Any], Any]] = [
        lambda c: runs.pause(c, OTHER_WORKSPACE, campaign, now=world.now),
        lambda c: runs.start(c, OTHER_WORKSPACE, campaign, new_id=world.new_id, now=world.now),
        lambda c: reports.progress(c, OTHER_WORKSPACE, campaign, now=world.now),
        lambda c: reports.campaign(c, OTHER_WORKSPACE, campaign),
        lambda c: previews.begin(c, OTHER_WORKSPACE, campaign),
    ]
    for attempt in attempts:
        with pytest.raises(NotFound):
            await world.do(attempt)
    assert await world.do(lambda c: reports.recipients(c, OTHER_WORKSPACE, run)) == []
    assert await world.do(lambda c: reports.campaigns(c, OTHER_WORKSPACE)) == []
    with pytest.raises(RejectedInput, match="channel_id"):
        await world.campaign(channel_id=OTHER_CHANNEL)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": " "}, "name"),
        ({"purpose": ""}, "purpose"),
        ({"rate": 0}, "rate"),
        ({"content": {}}, "content"),
        ({"content": {"it": ""}}, "content.it"),
        ({"content": {"it": {"kind": "sing"}}}, "content.it"),
        ({"content": {"it": "{{ contact.shoe }}"}}, "contact has no shoe"),
        ({"content": {"it": "{% for x in y %}{% endfor %}"}}, "content.it"),
        ({"content": {"it": "Ciao"}, "default_language": "en"}, "content.en"),
        ({"content": {"it": {"kind": "reaction", "message_external_id": "1", "emoji": "x"}}}, "content.it"),
        ({"audience": {"subject": "shoe.size", "op": "equals", "value": 1}}, "audience"),
        ({"audience": {"any": 5}}, "audience"),
    ],
)
async def test_bad_drafts_are_refused_naming_the_place(
    world: World, values: dict[str, Any], words: str
) -> None:
    """Nothing of them is stored."""
    draft = Draft(**{"name": "Saldi", "channel_id": CHANNEL, "content": {"it": "Ciao"}, **values})
    with pytest.raises(RejectedInput, match=words):
        await world.do(lambda c: drafts.create(c, WORKSPACE, draft, new_id=world.new_id, now=world.now))
    assert await world.rows("SELECT id FROM campaign") == []


async def test_only_drafts_change(world: World) -> None:
    """What runs stays what it is."""
    campaign, _ = await world.started()
    draft = Draft(name="Altro", channel_id=CHANNEL, content={"it": "Altro"})
    with pytest.raises(Conflict, match="running"):
        await world.do(lambda c: drafts.change(c, WORKSPACE, campaign, draft, now=world.now))


async def test_a_person_sees_the_campaigns_they_got(world: World) -> None:
    """In their copy of everything; another workspace's contact of that id sees nothing."""
    await world.people([1])
    await world.started()
    await world.tick(scheduler.feed)
    await world.settle(await world.mark())
    got = await world.do(lambda c: privacy.received(c, WORKSPACE, 1, []))
    assert [(line["campaign"], line["outcome"]) for line in got] == [("Saldi", "sent")]
    assert await world.do(lambda c: privacy.received(c, OTHER_WORKSPACE, 1, [])) == []
