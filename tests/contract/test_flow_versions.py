"""Drafts, publishing, history, who stands where, and moving people inside, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from bot import flow_drafts, flow_history, flow_moves, flow_publishing, standing
from bot.flow_drafts import DraftChanged
from bot.flow_publishing import FailedTests, Outcome, Source, Wish
from domain.errors import NotFound, RejectedInput
from flows import state
from flows.document import DocumentRejected
from storage import jobs
from storage.jobs import Again, Done, Running
from tests.support.core import OTHER_WORKSPACE, WORKSPACE, Core

FORM = """
flow: form
languages: [it]
triggers: [{keyword: [ciao], interrupts: true}]
start: name
steps:
  name: {ask: text, text: Come ti chiami?, save: session.name, timeout: {after: 1 hour, goto: bye}, next: where}
  where: {sub_flow: place, next: bye}
  bye: {send: "Ciao {{ session.name | default('tu') }}", next: end}
"""
PLACE = """
flow: place
languages: [it]
start: town
steps:
  town: {ask: text, text: Da dove?, save: session.town, next: end}
"""
TEST = """
flow: form
dialogue:
  - user: ciao
  - bot: Come ti chiami?
  - user: Anna
  - bot: Da dove?
"""
DAY = 86_400_000

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
async def core(store_url: str) -> AsyncIterator[Core]:
    made = await Core.open(store_url)
    await made.publish(PLACE)
    yield made
    await made.database.close()


async def publish(core: Core, source: str = FORM, **wish: Any) -> Outcome:
    tests = wish.pop("tests", {})
    [done] = await flow_publishing.publish(
        core.runtime, WORKSPACE, [Source("form", source, tests)], Wish(by="test", **wish)
    )
    await core.database.read(core.flows.load)
    return done


async def flow_id(core: Core, key: str = "form") -> int:
    return (await core.database.read(lambda c: flow_history.by_key(c, WORKSPACE, key))).id


async def save(core: Core, source: str, revision: int, *, by: str = "anna") -> int:
    flow = await core.do(
        lambda c: flow_drafts.flow_of(c, WORKSPACE, "form", new_id=core.new_id, now=core.now)
    )
    return await core.do(
        lambda c: flow_drafts.save(
            c, workspace_id=WORKSPACE, flow_id=flow, source=source, revision=revision, by=by, now=core.now
        )
    )


async def stands(core: Core, key: str = "form") -> list[tuple[int, str, bool, int]]:
    found = await standing.where(core.database, WORKSPACE, await flow_id(core, key), key, now=core.now)
    return [(one.number, one.step_id, one.inside, one.people) for one in found]


async def moves(core: Core, *, at_most: int = 50) -> int:
    """Runs jobs that move people, and the worker, until both are done; gives how many rounds."""
    runner = jobs.Runner(core.database, core.sealer, lambda: core.now, "here", core)
    for done in range(at_most):
        if not await core.value("SELECT count(*) FROM job WHERE kind = 'flow_move' AND state = 0"):
            return done
        await runner.round()
        await core.work()
        core.now += 1_000
    raise AssertionError("the job never ends")


async def states(core: Core) -> dict[int, tuple[str, int, str, str]]:
    """(flow, version's number, step, status) of the newest session of each person."""
    rows = await core.rows(
        "SELECT s.state, s.status, v.number, c.address FROM flow_session s JOIN conversation c "
        "ON c.id = s.conversation_id JOIN flow_version v ON v.id = s.flow_version_id ORDER BY s.id"
    )
    found = {}
    for row in rows:
        decoded = state.decode(row.state)
        found[int(row.address)] = (decoded.flow, row.number, decoded.step, row.status)
    return found


# --- drafts


async def test_a_draft_is_kept_with_its_faults_and_changes_nothing_else(core: Core) -> None:
    await publish(core)
    assert await save(core, "flow: form\nsteps: {a: {shout: x}}\n", 0) == 1
    flow = await flow_id(core)
    kept = await core.database.read(lambda c: flow_drafts.get(c, WORKSPACE, flow))
    assert (kept.document, kept.revision, kept.by) == ("flow: form\nsteps: {a: {shout: x}}\n", 1, "anna")
    published = core.flows.published(WORKSPACE, "form")
    assert published is not None
    assert "name" in published.steps
    with pytest.raises(DocumentRejected):
        await publish(core, kept.document)


async def test_a_stale_save_is_refused_and_says_what_has_changed(core: Core) -> None:
    await save(core, FORM, 0)
    await save(core, FORM.replace("Come ti chiami?", "Chi sei?"), 1, by="bruno")
    with pytest.raises(DraftChanged) as refused:
        await save(core, FORM, 1)
    assert refused.value.draft is not None
    assert (refused.value.draft.revision, refused.value.draft.by) == (2, "bruno")
    assert "«Chi sei?» → «Come ti chiami?»" in str(refused.value)
    assert [one.step for one in refused.value.differences] == ["name"]
    with pytest.raises(DraftChanged):
        await save(core, FORM, 0)
    flow = await flow_id(core)
    assert await core.do(lambda c: flow_drafts.discard(c, WORKSPACE, flow))
    assert not await core.do(lambda c: flow_drafts.discard(c, WORKSPACE, flow))
    with pytest.raises(DraftChanged, match="published or discarded"):
        await save(core, FORM, 2)


async def test_of_two_saves_at_once_one_gets_in(core: Core) -> None:
    await save(core, FORM, 0)
    results = await asyncio.gather(
        *(save(core, FORM.replace("Ciao", f"Ciao {n}"), 1) for n in range(6)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in results) == ["DraftChanged"] * 5 + ["int"]


async def test_drafts_of_others_are_not_there(core: Core) -> None:
    await save(core, FORM, 0)
    flow = await flow_id(core)
    with pytest.raises(NotFound):
        await core.database.read(lambda c: flow_drafts.get(c, OTHER_WORKSPACE, flow))
    with pytest.raises(NotFound):
        await core.do(
            lambda c: flow_drafts.save(
                c, workspace_id=OTHER_WORKSPACE, flow_id=flow, source="x", revision=1, now=core.now
            )
        )
    assert not await core.do(lambda c: flow_drafts.discard(c, OTHER_WORKSPACE, flow))


# --- publishing, history


async def test_publishing_ends_the_draft_that_it_is(core: Core) -> None:
    await save(core, FORM, 0)
    flow = await flow_id(core)
    await publish(core, FORM.replace("Ciao", "Salve"))
    assert await core.database.read(lambda c: flow_drafts.find(c, WORKSPACE, flow)) is not None
    await publish(core, FORM, note="from the draft")
    assert await core.database.read(lambda c: flow_drafts.find(c, WORKSPACE, flow)) is None
    rows = await core.rows(
        "SELECT number, note, by FROM flow_version WHERE flow_id = :f ORDER BY number", f=flow
    )
    assert [tuple(row) for row in rows] == [(1, "", "test"), (2, "from the draft", "test")]


async def test_tests_may_be_required(core: Core) -> None:
    """None, a failing one, one that passes; what came with the document is kept, and required the next time."""
    with pytest.raises(FailedTests, match="there are no tests"):
        await publish(core, require_tests=True)
    with pytest.raises(FailedTests, match=r"a\.test\.yaml, line 5"):
        await publish(
            core, FORM.replace("Come ti chiami?", "Chi sei?"), require_tests=True, tests={"a.test.yaml": TEST}
        )
    assert (
        await core.value(
            "SELECT count(*) FROM flow_version v JOIN flow f ON f.id = v.flow_id WHERE f.key = 'form'"
        )
        == 0
    )
    assert (await publish(core, require_tests=True, tests={"a.test.yaml": TEST})).tests == 1
    with pytest.raises(FailedTests):
        await publish(core, FORM.replace("Come ti chiami?", "Chi sei?"), require_tests=True)
    flow = await flow_id(core)
    kept = await core.database.read(lambda c: flow_drafts.tests(c, WORKSPACE, flow))
    assert [(one.name, one.document) for one in kept] == [("a.test.yaml", TEST)]


async def test_back_to_an_older_version(core: Core) -> None:
    await publish(core)
    await publish(core, FORM.replace("Come ti chiami?", "Chi sei?"))
    flow = await core.database.read(lambda c: flow_history.by_key(c, WORKSPACE, "form"))
    source = await flow_publishing.older(core.runtime, WORKSPACE, flow.id, 1)
    [back] = await flow_publishing.publish(core.runtime, WORKSPACE, [source], Wish(note="back to 1"))
    assert back.published is not None
    assert (back.published.number, back.published.changed) == (3, True)
    compared = await core.database.read(lambda c: flow_history.compare(c, WORKSPACE, flow, 1, 3))
    assert compared.differences == []
    compared = await core.database.read(lambda c: flow_history.compare(c, WORKSPACE, flow, 2, 3))
    assert [one.text["it"] for one in compared.differences] == ["name, text: «Chi sei?» → «Come ti chiami?»"]
    with pytest.raises(NotFound):
        await flow_publishing.older(core.runtime, WORKSPACE, flow.id, 9)


async def test_what_is_compared_by_itself(core: Core) -> None:
    """From the published version to the draft; without one, from the version before."""
    await publish(core)
    flow = await core.database.read(lambda c: flow_history.by_key(c, WORKSPACE, "form"))
    with pytest.raises(NotFound, match="only one text"):
        await core.database.read(lambda c: flow_history.compare(c, WORKSPACE, flow))
    await save(core, FORM.replace("bye", "goodbye"), 0)
    found = await core.database.read(lambda c: flow_history.compare(c, WORKSPACE, flow))
    assert (found.before, found.after, found.renamed) == (1, 0, {"bye": "goodbye"})
    await save(core, "flow: [", 1)
    found = await core.database.read(lambda c: flow_history.compare(c, WORKSPACE, flow))
    assert "cannot be compared" in found.differences[0].text["en"]
    await save(core, f"# a comment\n{FORM}", 2)
    found = await core.database.read(lambda c: flow_history.compare(c, WORKSPACE, flow))
    assert [one.kind for one in found.differences] == ["form"]


# --- people inside


async def test_who_stands_where(core: Core) -> None:
    """By version and step; who is inside a called flow stands, for the caller, at the step that called."""
    await publish(core)
    await core.hears("ciao", person=1)
    await core.hears("ciao", "Anna", person=2)
    await core.hears("ciao", "Bruno", "Torino", person=3)
    await core.work()
    core.now += 2 * DAY
    await publish(core, FORM.replace("Come ti chiami?", "Chi sei?"))
    await core.hears("ciao", person=4)
    await core.work()
    assert await stands(core) == [(2, "name", False, 1), (1, "name", False, 1), (1, "where", True, 1)]
    assert await stands(core, "place") == [(1, "town", False, 1)]
    found = await standing.where(core.database, WORKSPACE, await flow_id(core), "form", now=core.now)
    assert [(one.over_a_day, one.over_a_week) for one in found] == [(0, 0), (1, 0), (1, 0)]
    assert await standing.where(core.database, OTHER_WORKSPACE, await flow_id(core), "form", now=0) == []


async def test_pages_of_sessions_are_complete(core: Core) -> None:
    await publish(core)
    await publish(core, FORM.replace("Ciao", "Salve"))
    for person in range(1, 8):
        await core.hears("ciao", *(["Anna"] if person % 2 else []), person=person)
    await core.work()
    flow = await flow_id(core)
    for limit in (1, 2, 3, 100):
        cursor: standing.Cursor | None = standing.Cursor()
        seen = []
        while cursor is not None:
            at = cursor
            page = await core.database.read(
                lambda c, at=at, limit=limit: standing.page(c, WORKSPACE, flow, "form", at, limit=limit)  # type: ignore[misc]
            )
            seen += [stand.session_id for stand in page.stands]
            cursor = page.next
        assert len(seen) == len(set(seen)) == 7


async def test_before_publishing_it_is_said_what_it_means(core: Core) -> None:
    await publish(core)
    await core.hears("ciao", person=1)
    await core.hears("ciao", "Anna", person=2)
    await core.work()
    new = FORM.replace("name:", "who:").replace("start: name", "start: who").replace("ask: text", "ask: name")
    before = await core.rows("SELECT * FROM flow_version")
    told = await publish(core, new, people="move", dry_run=True)
    assert {(one.step_id, one.people, one.becomes, one.to_step) for one in told.prospects} == {
        ("name", 1, "stays", ""),
        ("where", 1, "goes_on", "where"),
    }
    told = await publish(core, new, people="move", mapping={"name": "who"}, dry_run=True)
    assert ("name", 1, "asked_again", "who") in {
        (one.step_id, one.people, one.becomes, one.to_step) for one in told.prospects
    }
    assert await core.rows("SELECT * FROM flow_version") == before
    assert await core.rows("SELECT * FROM job") == []
    for wrong in (
        {"people": "fly"},
        {"people": "move", "mapping": {"name": "nowhere"}},
        {"mapping": {"name": "who"}},
    ):
        with pytest.raises(RejectedInput):
            await publish(core, new, **wrong)


async def test_people_stay_unless_it_is_wished(core: Core) -> None:
    await publish(core)
    await core.hears("ciao", person=1)
    await core.work()
    await publish(core, FORM.replace("Ciao {{", "Salve {{"))
    await core.hears("Anna", "Torino", person=1)
    await core.work()
    assert (await core.said(1))[-1] == "Ciao Anna"


async def test_people_move_and_no_answer_is_lost(core: Core) -> None:
    """Who stands at the same question goes on quietly, who is inside a called flow too, who answered meanwhile is
    judged when the turn comes, who has ended is left alone."""
    await publish(core)
    await core.hears("ciao", person=1)
    await core.hears("ciao", "Anna", person=2)
    await core.hears("ciao", person=3)
    await core.hears("ciao", "Dora", "Roma", person=4)
    await core.work()
    done = await publish(core, FORM.replace("Ciao {{", "Salve {{"), people="move")
    assert done.job_id
    runner = jobs.Runner(core.database, core.sealer, lambda: core.now, "here", core)
    await runner.round()  # the events are appended, nobody has handled them
    await core.hears("Carla", person=3)
    await moves(core)
    said = {person: await core.said(person) for person in (1, 2, 3, 4)}
    assert said[1] == ["Come ti chiami?"], "moved without a word"
    assert said[4][-1] == "Ciao Dora"
    for person, words in ((1, ["Bea", "Bari"]), (2, ["Torino"]), (3, ["Como"])):
        await core.hears(*words, person=person)
    await core.work()
    assert [(await core.said(person))[-1] for person in (1, 2, 3)] == [
        "Salve Bea",
        "Salve Anna",
        "Salve Carla",
    ]
    assert {status for _, _, _, status in (await states(core)).values()} == {"ended"}


async def test_the_timer_of_a_moved_session_still_wakes_it(core: Core) -> None:
    await publish(core)
    await core.hears("ciao", person=1)
    await core.work()
    text = FORM.replace("name:", "who:").replace("start: name", "start: who")
    await publish(core, text, people="move", mapping={"name": "who"})
    await moves(core)
    assert (await states(core))[1] == ("form", 2, "who", "waiting")
    await core.time(2 * DAY)
    await core.work()
    assert (await core.said(1))[-1] == "Ciao tu"


async def test_those_who_stayed_can_be_moved_later(core: Core) -> None:
    """Publishing the same text again makes no version, and moves people if that is wished now."""
    await publish(core)
    await core.hears("ciao", person=1)
    await core.work()
    new = FORM.replace("Ciao {{", "Salve {{")
    await publish(core, new)
    assert (await states(core))[1] == ("form", 1, "name", "waiting")
    again = await publish(core, new, people="move")
    assert again.published is not None
    assert (again.published.number, again.published.changed) == (2, False)
    await moves(core)
    assert (await states(core))[1] == ("form", 2, "name", "waiting")


async def test_people_begin_anew(core: Core) -> None:
    await publish(core)
    await core.hears("ciao", "Anna", person=1)
    await core.work()
    await publish(core, FORM.replace("Come ti chiami?", "Chi sei?"), people="restart")
    await moves(core)
    assert (await core.said(1))[-1] == "Chi sei?"
    assert (await states(core))[1] == ("form", 2, "name", "waiting")
    await moves(core)
    assert (await core.said(1)).count("Chi sei?") == 1, "asking a second time does nothing more"


async def test_nobody_is_spoken_to_while_a_person_of_the_team_talks(core: Core) -> None:
    """A quiet move is made; one that would ask again waits for nobody: the session stays."""
    await publish(core)
    for person in (1, 2):
        await core.hears("ciao", *(["Anna"] if person == 2 else []), person=person)
    await core.work()
    await core.do(lambda c: c.execute(text("UPDATE conversation SET status = 'human'")))
    await publish(core, FORM.replace("ask: text, text: Come", "ask: name, text: Come"), people="move")
    await moves(core)
    found = await states(core)
    assert found[1] == ("form", 1, "name", "waiting")
    assert len(await core.said(1)) == 1
    frame = await core.value("SELECT state FROM flow_session WHERE flow_id <> :f", f=await flow_id(core))
    published = core.flows.published(WORKSPACE, "form")
    assert published is not None
    assert [one.version for one in state.decode(frame).stack] == [published.version]


async def test_a_step_that_is_gone_keeps_its_people(core: Core) -> None:
    await publish(core)
    await core.hears("ciao", person=1)
    await core.work()
    text = FORM.replace("name:", "who:").replace("start: name", "start: who")
    await publish(core, text, people="move")
    await moves(core)
    assert (await states(core))[1] == ("form", 1, "name", "waiting")
    await core.hears("Anna", "Torino", person=1)
    await core.work()
    assert (await core.said(1))[-1] == "Ciao Anna", "it goes its way to the end in its own version"


async def test_the_job_cut_off_anywhere_and_repeated_moves_everybody_once(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step is done twice from the same cursor, as after a crash between its work and the record."""
    monkeypatch.setattr(flow_moves, "SLICE", 2)
    await publish(core)
    for person in range(1, 8):
        await core.hears("ciao", person=person)
    await core.work()
    done = await publish(core, FORM.replace("ask: text, text: Come", "ask: name, text: Come"), people="move")
    row = (await core.rows("SELECT * FROM job WHERE id = :id", id=done.job_id))[0]
    payload = msgspec.json.decode(core.sealer.open(row.payload, table="job", row=row.id, column="payload"))
    cursor, rounds = "", 0
    while True:
        running = Running(row.id, WORKSPACE, "flow_move", row.key, payload, cursor, 1)
        first = await flow_moves.flow_move(core, running)
        result = await flow_moves.flow_move(core, running)
        assert type(first) is type(result)
        if rounds % 2:
            await core.work()
        rounds += 1
        assert rounds < 40
        if isinstance(result, Done):
            break
        assert isinstance(result, Again)
        cursor = result.cursor
        core.now += 2_000
    await core.work()
    assert result.progress == {"asked": 7}
    assert {one[:3] for one in (await states(core)).values()} == {("form", 2, "name")}
    for person in range(1, 8):
        assert await core.said(person) == ["Come ti chiami?", "Come ti chiami?"], "asked anew, once"


async def test_a_newer_version_wins_whatever_the_order(core: Core) -> None:
    """Two versions are published with people moved, one after the other: everybody ends in the newer one."""
    await publish(core)
    await core.hears("ciao", person=1)
    await core.work()
    await publish(core, FORM.replace("Ciao {{", "Salve {{"), people="move")
    await publish(core, FORM.replace("Ciao {{", "Addio {{"), people="move")
    await moves(core)
    assert (await states(core))[1] == ("form", 3, "name", "waiting")


async def test_the_job_waits_while_others_wait(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_moves, "MAX_WAITING", 3)
    await publish(core)
    await core.hears("ciao", person=1)
    await core.work()
    await publish(core, FORM.replace("Ciao {{", "Salve {{"), people="move")
    for person in (5, 6, 7):
        await core.hears("ciao", person=person)
    runner = jobs.Runner(core.database, core.sealer, lambda: core.now, "here", core)
    await runner.round()
    assert await core.value("SELECT count(*) FROM intake WHERE state = 0") == 3
    await core.work()
    await moves(core)
    assert (await states(core))[1] == ("form", 2, "name", "waiting")


async def test_a_moved_conversation_belongs_to_its_workspace(core: Core) -> None:
    """A flow of the same key elsewhere is not touched."""
    await publish(core)
    other = await core.bot(OTHER_WORKSPACE)
    await core.publish(PLACE, workspace_id=OTHER_WORKSPACE)
    await core.publish(FORM, workspace_id=OTHER_WORKSPACE)
    await core.takes(core.message("ciao", person=9), channel_id=other)
    await core.work()
    await publish(core, FORM.replace("Ciao {{", "Salve {{"), people="restart")
    await moves(core)
    assert (await states(core))[9] == ("form", 1, "name", "waiting")
