"""The worker's promises (DESIGN 2.3, 2.4): order, fairness, each failure its own, nothing forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from bot import claiming, handlers, handover
from bot.claiming import MAX_ATTEMPTS, PER_CONVERSATION, RETRY_MS, ROUND
from bot.intake import DONE, OPEN, PARKED, append_own
from bot.lanes import Lanes
from bot.runtime import LANE_NAMES, LANES
from crm import privacy
from crm.contacts import load_views
from crm.identities import IdentityRequest, resolve
from domain.errors import Unavailable
from domain.events import Echo, ExternalId, MessageReceived, Person, TimerDue
from domain.messages import (
    CallbackAnswer,
    MediaKind,
    ReadAndTyping,
    ReceivedAlbum,
    ReceivedMedia,
    ReceivedText,
    Tap,
    decode_received,
)
from storage.database import Database
from storage.direct_postgresql import DirectPostgresqlConnection
from storage.statements import apart
from tests.support.core import OTHER_WORKSPACE, WORKSPACE, Core, texts

FLOW = """
flow: hello
triggers: [{keyword: [ciao], interrupts: true}, first_message]
start: greet
steps:
  greet: {send: "Ciao {{ contact.first_name }}!", next: name}
  name:
    ask: text
    text: Come ti chiami?
    save: session.name
    timeout: {after: 1 hour, goto: gone}
    next: bye
  bye: {send: "Piacere, {{ session.name }}", next: over}
  over: {end: true}
  gone: {send: Ci sei ancora?, next: over}
"""
OTHER_FLOW = """
flow: other
triggers: [{keyword: [orari], interrupts: true}]
late: ignore
start: hours
steps:
  hours: {send: Dalle 9 alle 18, next: over}
  over: {end: true}
"""

RENEWED = 10_000  # ms: a third of a lease

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
async def core(store_url: str) -> AsyncIterator[Core]:
    made = await Core.open(store_url)
    await made.publish(FLOW)
    yield made
    await made.database.close()


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> dict[str, Exception]:
    """Texts at which handling fails after everything else was done, as a fault of ours would."""
    bad: dict[str, Exception] = {}
    registry: Any = handlers.registry()
    real = registry[MessageReceived]

    def handle(scope: Any, flows: Any, event: MessageReceived) -> None:
        real(scope, flows, event)
        if isinstance(event.content, ReceivedText) and event.content.text in bad:
            raise bad[event.content.text]

    monkeypatch.setitem(registry, MessageReceived, handle)
    return bad


async def rounds_of(core: Core) -> list[list[str]]:
    """What people wrote, by round: the transaction that handled it."""
    found: list[list[str]] = []
    known = 0
    await core.worker.lanes.own()
    while await core.worker.round():
        received = await core.received()
        found.append(received[known:])
        known = len(received)
    return found


# --- in order, once


async def test_a_conversation_goes_its_way_in_order(core: Core) -> None:
    await core.hears("ciao", "Bruno")
    await core.work()
    assert await core.received() == ["ciao", "Bruno"]
    assert await core.said() == ["Ciao Anna!", "Come ti chiami?", "Piacere, Bruno"]
    assert await core.states() == [(DONE, 1)] * 2
    assert {row.payload for row in await core.rows("SELECT payload FROM intake")} == {""}
    assert texts(core.handed.items) == ["Ciao Anna!"], (
        "the head, after its commit; the second turn stands behind it"
    )


async def test_the_same_event_however_often_delivered_has_one_effect(core: Core) -> None:
    message = core.message("ciao")
    await asyncio.gather(*(core.takes(message, message) for _ in range(4)))
    await core.work()
    await core.takes(message)
    assert await core.work() == 0
    assert await core.received() == ["ciao"]
    assert await core.said() == ["Ciao Anna!", "Come ti chiami?"]


async def test_at_most_eight_of_a_conversation_in_a_round(core: Core) -> None:
    await core.hears(*[f"{n}" for n in range(20)])
    await core.hears("other", person=1002)
    rounds = await rounds_of(core)
    assert [len(one) for one in rounds] == [PER_CONVERSATION + 1, PER_CONVERSATION, 4]
    assert "other" in rounds[0]
    assert [t for t in await core.received() if t != "other"] == [f"{n}" for n in range(20)]


async def test_workspaces_take_turns(core: Core) -> None:
    """A round's worth of one shop does not make the other wait for the next round."""
    other = await core.bot(OTHER_WORKSPACE)
    await core.takes(*(core.message(f"a{n}", person=2000 + n) for n in range(ROUND + 20)))
    await core.takes(*(core.message(f"b{n}", person=5000 + n) for n in range(5)), channel_id=other)
    first = (await rounds_of(core))[0]
    assert len(first) == ROUND
    assert [t for t in first if t.startswith("b")] == [f"b{n}" for n in range(5)]


async def test_a_busy_round_claims_the_next_one_where_nobody_else_writes(core: Core) -> None:
    """And a worker that is stopped does what it has claimed: nobody's event counts as tried before."""
    alone = not core.database.dialect.for_update
    await core.takes(*(core.message(f"a{n}", person=2000 + n) for n in range(ROUND + 20)))
    await core.worker.lanes.own()
    assert await core.worker.round()
    assert sorted(await core.states()) == [(OPEN, int(alone))] * 20 + [(DONE, 1)] * ROUND
    await core.takes(*(core.message(f"b{n}", person=5000 + n) for n in range(20)))
    await core.worker.stop()
    await core.worker.run()
    claimed = ROUND + (20 if alone else 0)
    assert sorted(await core.states()) == [(OPEN, 0)] * (104 - claimed) + [(DONE, 1)] * claimed


async def test_what_was_claimed_ahead_survives_failures(
    a_file: str, faults: dict[str, Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time the store fails in the middle, or the process forgets what it held: nobody's event is lost, handled
    twice, out of order or parked but the one that cannot be handled."""
    core = await Core.open(a_file)
    await core.publish(OTHER_FLOW)
    people = 40
    said = [(number % people, f"m{number}") for number in range(4 * ROUND)]
    faults["m70"] = ValueError("ours")  # claimed with the first round
    await core.takes(*(core.message(content, person=2000 + person) for person, content in said))
    write = core.database.write

    async def fails(work: Any, **options: Any) -> Any:
        def late(connection: Any) -> None:
            work(connection)
            raise OperationalError("", None, sqlite3.OperationalError("disk I/O error"))

        return await write(late, **options)

    await core.worker.lanes.own()
    for number in range(4):
        assert await core.worker.round()
        if number % 2:
            core.worker = core.another_worker("here")  # what the process held is forgotten
            await core.worker.lanes.own()
        else:
            monkeypatch.setattr(core.database, "write", fails)
            with contextlib.suppress(Unavailable):
                await core.worker.round()
            monkeypatch.setattr(core.database, "write", write)
    for _ in range(MAX_ATTEMPTS):
        await core.work()
        core.now += RETRY_MS[-1]
    states = await core.states()
    assert [state for state, _ in states].count(PARKED) == 1
    assert {state for state, _ in states} == {DONE, PARKED}
    received = await core.received()
    assert sorted(received) == sorted(content for _, content in said if content != "m70")
    for person in range(people):
        mine = [content for who, content in said if who == person and content != "m70"]
        assert [content for content in received if content in mine] == mine
    await core.database.close()


async def test_one_flood_does_not_hide_the_others(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever one person has sent before, whether it goes or waits for its retry: others are handled now."""
    monkeypatch.setattr(claiming, "LOOK", 16)
    await core.takes(*(core.message(f"{n}") for n in range(50)))
    await core.hears("other", person=1002)
    assert "other" in (await rounds_of(core))[0]
    await core.takes(*(core.message(f"{n}") for n in range(50)))
    await core.do(
        lambda c: c.execute(
            text("UPDATE intake SET attempts = 1, not_before = :at WHERE state = 0"),
            {"at": core.now + 60_000},
        )
    )
    await core.hears("another", person=1003)
    await core.work()
    assert (await core.received())[-1] == "another"


# --- failures


async def test_a_failure_takes_back_its_own_and_leaves_the_others(
    core: Core, faults: dict[str, Exception]
) -> None:
    """Of three people in one round one fails after two good messages; later messages of that one keep their place."""
    faults["boom"] = ValueError("of ours")
    await core.hears("ciao", "boom", "after")
    await core.hears("ciao", person=1002)
    await core.hears("ciao", "Carla", person=1003)
    await core.work()
    assert await core.said() == ["Ciao Anna!", "Come ti chiami?"]
    assert await core.said(1002) == ["Ciao Anna!", "Come ti chiami?"]
    assert await core.said(1003) == ["Ciao Anna!", "Come ti chiami?", "Piacere, Carla"]
    assert await core.states() == [(DONE, 1), (OPEN, 1), (OPEN, 0), (DONE, 1), (DONE, 1), (DONE, 1)]
    faults.clear()
    core.now += RETRY_MS[0]
    await core.work()
    assert await core.received() == ["ciao", "ciao", "ciao", "Carla", "boom", "after"]
    assert await core.said() == ["Ciao Anna!", "Come ti chiami?", "Piacere, boom"]


async def test_a_failure_after_sessions_have_changed_keeps_what_was_good(
    core: Core, faults: dict[str, Exception]
) -> None:
    """In one round a first session is replaced by a second, which ends; then an event fails: both are as they were."""
    faults["boom"] = ValueError("of ours")
    await core.hears("ciao", "ciao", "Bruno", "boom")
    await core.work()
    sessions = await core.rows("SELECT id, status FROM flow_session ORDER BY id")
    assert [row.status for row in sessions] == ["replaced", "ended"]
    turns = await core.rows("SELECT session_id FROM turn ORDER BY id")
    assert {row.session_id for row in turns} == {row.id for row in sessions}
    await core.hears("boom", person=1002)
    await core.work()
    assert [row.status for row in await core.rows("SELECT status FROM flow_session ORDER BY id")] == [
        "replaced",
        "ended",
    ], "nothing stays of what was taken back"


async def test_an_event_that_fails_is_tried_alone_after_1_5_30_120_seconds_then_parks(
    core: Core, faults: dict[str, Exception]
) -> None:
    """While it waits only its own conversation waits; once it is parked that one goes on."""
    faults["boom"] = ValueError("anna@example.com")
    await core.hears("boom", "behind")
    for attempt, wait in enumerate(RETRY_MS, start=1):
        await core.work()
        assert await core.states() == [(OPEN, attempt), (OPEN, 0)]
        await core.hears(f"{attempt}", person=1000 + 2 * attempt)
        core.now += wait - 1
        await core.work()
        assert (await core.received())[-1] == f"{attempt}", "others do not wait"
        assert (await core.states())[0] == (OPEN, attempt)
        await core.do(lambda c: c.execute(text("DELETE FROM intake WHERE state = 2")))
        core.now += 1
    await core.work()
    assert await core.states() == [(PARKED, MAX_ATTEMPTS), (DONE, 1)]
    assert (await core.received())[-1] == "behind"
    parked = await core.value("SELECT problem FROM intake WHERE state = 1")
    assert parked == "ValueError", "what a person sees of it holds nobody's data"
    assert await core.value("SELECT payload FROM intake WHERE state = 1"), "it can be retried"
    assert core.worker.parked == 1


async def test_what_cannot_even_be_read_stops_only_its_own_conversation(core: Core) -> None:
    await core.hears("first", "second", "third")
    await core.hears("ciao", person=1002)
    rows = await core.rows("SELECT id FROM intake ORDER BY id")
    await core.do(
        lambda c: c.execute(text("UPDATE intake SET payload = 'QUFBQQ==' WHERE id = :id"), {"id": rows[1].id})
    )
    await core.work()
    assert await core.received() == ["first", "ciao"]
    assert await core.states() == [(DONE, 1), (OPEN, 1), (OPEN, 0), (DONE, 1)]
    for wait in RETRY_MS:
        core.now += wait
        await core.work()
    assert await core.states() == [(DONE, 1), (PARKED, MAX_ATTEMPTS), (DONE, 1), (DONE, 1)]
    assert (await core.received())[-1] == "third"


async def test_an_event_that_ends_the_process_every_time_parks(core: Core) -> None:
    """Attempts are raised before handling; a crash leaves nothing else behind."""
    await core.hears("deadly", "behind")
    for _ in range(MAX_ATTEMPTS):
        await core.worker.lanes.own()
        with core.worker.lanes.in_use() as fences:
            claimed = await core.do(lambda c, fences=fences: core.worker.claim(c, fences))  # type: ignore[misc]
        assert len(claimed) in (1, 2)
        core.now += 120_000
    await core.do(
        lambda c: c.execute(text("UPDATE intake SET attempts = 0 WHERE attempts < :n"), {"n": MAX_ATTEMPTS})
    )
    await core.work()
    assert await core.states() == [(PARKED, MAX_ATTEMPTS), (DONE, 1)]
    assert "crash" in await core.value("SELECT problem FROM intake WHERE state = 1")


async def test_a_fault_of_the_database_that_comes_back_every_time_parks(
    core: Core, faults: dict[str, Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement that is refused fails the whole transaction: each event then runs alone, the bad one parks."""
    registry: Any = handlers.registry()
    inner = registry[MessageReceived]

    def handle(scope: Any, flows: Any, event: MessageReceived) -> None:
        inner(scope, flows, event)
        if isinstance(event.content, ReceivedText) and event.content.text == "boom":
            twice = text("INSERT INTO revision (workspace_id, subject, number) VALUES (1, 'one', 1)")
            scope.batch.after.append(lambda c: (c.execute(twice), c.execute(twice)))

    monkeypatch.setitem(registry, MessageReceived, handle)
    await core.hears("boom")
    await core.hears("ciao", person=1002)
    for wait in (0, *RETRY_MS, 0):
        core.now += wait
        for _ in range(4):
            await core.worker.lanes.own()
            try:
                await core.worker.round()
            except Exception as error:
                raise AssertionError("the worker would wait for ever") from error
    assert [state for state, _ in await core.states()] == [PARKED, DONE]
    assert await core.said(1002) == ["Ciao Anna!", "Come ti chiami?"]


async def test_a_conversation_changed_by_somebody_else_gives_the_round_back(
    core: Core, faults: dict[str, Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that does not hold: everything rolls back, no attempt is lost, the next round sees the change."""
    await core.hears("ciao")
    await core.work()
    registry: Any = handlers.registry()
    inner = registry[MessageReceived]
    changed: list[int] = []

    def handle(scope: Any, flows: Any, event: MessageReceived) -> None:
        if not changed:
            changed.append(1)
            scope.connection.execute(text("UPDATE conversation SET version = version + 1"))
        inner(scope, flows, event)

    monkeypatch.setitem(registry, MessageReceived, handle)
    await core.hears("Bruno")
    await core.hears("ciao", person=1002)
    await core.worker.lanes.own()
    assert await core.worker.round()
    assert (await core.states())[1:] == [(OPEN, 0), (OPEN, 0)]
    assert await core.received() == ["ciao"]
    await core.work()
    assert (await core.states())[1:] == [(DONE, 1), (DONE, 1)]
    assert (await core.said())[-1] == "Piacere, Bruno"


# --- lanes


async def test_who_has_the_store_alone_holds_lanes_without_a_look(tmp_path: Path) -> None:
    """The file's lock is the fence: a server on SQLite asks for no lease rows, and handles lanes of its round only."""
    database = await Database.open(f"sqlite:///{tmp_path / 'alone.sqlite3'}", exclusive=True)
    core = Core(database)
    asked = SimpleNamespace()  # a connection that can be asked nothing
    fences = {"lane:0": 3, "lane:1": 7}
    assert Lanes(core.runtime).hold(asked, ["lane:0", "lane:2"], fences) == {"lane:2"}  # type: ignore[arg-type]
    await database.close()


async def test_a_worker_that_lost_its_lanes_writes_nothing(core: Core) -> None:
    """It was frozen for longer than its lease: what it claimed is handled by the next owner, once."""
    await core.hears("ciao")
    frozen = core.worker
    await frozen.lanes.own()
    with frozen.lanes.in_use() as fences:
        claimed = await core.database.write(lambda c: frozen.claim(c, fences))
    await core.do(lambda c: c.execute(text("UPDATE lease SET expires_at = 1")))
    other = core.another_worker("there")
    await core.work(other)
    assert await core.said() == ["Ciao Anna!", "Come ti chiami?"]
    handled = await core.database.write(lambda c: frozen._handle(c, claimed, fences))
    assert (handled.done, handled.failed, handled.heads) == (0, 0, [])
    assert len(frozen.lanes) < len(other.lanes)
    assert await core.said() == ["Ciao Anna!", "Come ti chiami?"]
    assert await core.received() == ["ciao"]


async def test_lanes_that_are_lost_between_the_look_and_the_write_take_the_round_back(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few messages are read before the transaction: their one statement writes nothing when a lane has passed on."""
    await core.hears("ciao")
    await core.work()
    await core.hears("Anna")
    frozen, other = core.worker, core.another_worker("there")
    await frozen.lanes.own()
    run = frozen._run

    def late(connection: Any, *rest: Any) -> None:
        run(connection, *rest)
        monkeypatch.setattr(frozen, "_run", run)
        raise_fences = text("UPDATE lease SET fence = fence + 1, owner = 'there' WHERE name LIKE 'lane:%'")
        apart(connection).execute(raise_fences)

    monkeypatch.setattr(frozen, "_run", late)
    with contextlib.suppress(Unavailable):
        await frozen.round()
    if core.database.dialect.name == "postgresql":  # where nobody else writes, the transaction holds the rows
        assert await core.said() == ["Ciao Anna!", "Come ti chiami?"]
        assert len(frozen.lanes) == len(LANE_NAMES) - 1
        await core.do(lambda c: c.execute(text("UPDATE lease SET expires_at = 1")))
        await core.work(other)
    assert await core.said() == ["Ciao Anna!", "Come ti chiami?", "Piacere, Anna"]
    assert await core.received() == ["ciao", "Anna"]


async def test_a_contact_that_is_changed_between_the_look_and_the_write_loses_nothing(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody else wrote there meanwhile stands beside what the step sets."""
    await core.publish(FLOW.replace("session.name", "contact.name"))
    await core.hears("ciao")
    await core.work()
    run = core.worker._run

    def late(connection: Any, *rest: Any) -> None:
        run(connection, *rest)
        monkeypatch.setattr(core.worker, "_run", run)
        apart(connection).execute(text("UPDATE contact SET email = 'anna@example.com'"))

    monkeypatch.setattr(core.worker, "_run", late)
    await core.hears("Anna Maria")
    await core.work()
    assert await core.rows("SELECT name, email FROM contact") == [("Anna Maria", "anna@example.com")]
    assert await core.received() == ["ciao", "Anna Maria"]


TAGGING = FLOW.replace("start: greet\nsteps:\n", "start: mark\nsteps:\n  mark: {tag: [new], next: greet}\n")


@pytest.mark.parametrize(("flow", "reads"), [(FLOW, False), (TAGGING, False), (FLOW, True)])
async def test_somebody_new_whom_another_process_makes_between_the_look_and_the_write_is_one_person(
    core: Core, monkeypatch: pytest.MonkeyPatch, flow: str, reads: bool
) -> None:
    """The round finds nobody, and the other's rows stand when it writes, be that with all else, before tags that need
    the contact, or before something is read: it goes back and goes on with that person."""
    await core.publish(flow)
    run, others = core.worker._run, []
    registry: Any = handlers.registry()
    inner = registry[MessageReceived]

    def late(connection: Any, *rest: Any) -> None:
        monkeypatch.setattr(core.worker, "_run", run)
        asked = IdentityRequest(
            WORKSPACE, core.channel_id, "telegram", core.message("ciao").person, "1001", core.now
        )
        others.append(
            resolve(
                apart(connection),
                [asked],
                keyed_hash=core.sealer.keyed_hash,
                new_id=core.new_id,
                now=core.now,
            )[0]
        )
        run(connection, *rest)

    def reading(scope: Any, flows: Any, event: MessageReceived) -> None:
        scope.connection.execute(text("SELECT 1"))
        inner(scope, flows, event)

    monkeypatch.setattr(core.worker, "_run", late)
    if reads:
        monkeypatch.setitem(registry, MessageReceived, reading)
    await core.hears("ciao")
    await core.work()
    (other,) = others
    assert await core.rows("SELECT id, contact_id FROM identity") == [(other.identity_id, other.contact_id)]
    assert await core.rows("SELECT id FROM contact") == [(other.contact_id,)]
    assert await core.rows("SELECT identity_id FROM conversation") == [(other.identity_id,)]
    assert await core.rows("SELECT tag FROM contact_tag") == [("new",)] * (flow is TAGGING)
    assert await core.said() == ["Ciao Anna!", "Come ti chiami?"]
    assert await core.received() == ["ciao"]
    assert await core.states() == [(DONE, 1)]


@pytest.mark.parametrize("flow", [FLOW, TAGGING])
async def test_the_next_owner_of_a_number_has_a_conversation_of_their_own(core: Core, flow: str) -> None:
    """Be it that all is written with one statement, or that something needs the new contact before."""
    await core.publish(flow)

    async def hears(words: str, user_id: str) -> None:
        message = core.message(words)
        ids = (ExternalId("wa_bsuid", user_id), ExternalId("wa_phone", "15550100"))
        origin = msgspec.structs.replace(message.origin, address="+15550100")
        person = msgspec.structs.replace(message.person, ids=ids)
        await core.takes(msgspec.structs.replace(message, person=person, origin=origin))
        await core.work()

    await hears("ciao", "IT.1")
    await hears("ciao", "IT.2")
    await hears("Bruno", "IT.2")
    old, new = await core.rows("SELECT id, contact_id, state FROM identity ORDER BY id")
    assert (old.state, new.state) == ("gone", "reachable")
    assert old.contact_id != new.contact_id
    conversations = await core.rows("SELECT identity_id, contact_id FROM conversation ORDER BY id")
    assert conversations == [(old.id, old.contact_id), (new.id, new.contact_id)]
    keys = await core.rows("SELECT identity_id, kind FROM identity_key ORDER BY identity_id, kind")
    assert keys == [(old.id, "wa_bsuid"), (new.id, "wa_bsuid"), (new.id, "wa_phone")]
    assert await core.states() == [(DONE, 1)] * 3


async def test_a_key_that_leads_to_nobody_stops_nobody(core: Core) -> None:
    """It is there, and no look finds anybody behind it: a round that locks what it reads takes it over."""
    await core.hears("ciao", person=1002)
    await core.work()
    await core.do(lambda c: c.execute(text("DELETE FROM identity")))
    await core.hears("ciao", person=1002)
    await core.hears("ciao")
    await core.work()
    assert await core.states() == [(DONE, 1)] * 3
    assert await core.said() == ["Ciao Anna!", "Come ti chiami?"]
    assert (await core.said(1002))[-1] == "Come ti chiami?"
    assert (
        await core.value("SELECT count(*) FROM identity_key k JOIN identity i ON i.id = k.identity_id") == 2
    )


async def test_somebody_new_is_seen_as_they_are_stored(
    core: Core, faults: dict[str, Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing of them is read, what the flow is given is what it would have read."""
    seen: list[Any] = []
    registry: Any = handlers.registry()
    inner = registry[MessageReceived]

    def handle(scope: Any, flows: Any, event: MessageReceived) -> None:
        seen.append(scope.contact)
        inner(scope, flows, event)

    monkeypatch.setitem(registry, MessageReceived, handle)
    await core.hears("ciao")
    await core.work()
    (identity,) = await core.rows("SELECT id, contact_id FROM identity")
    stored = await core.do(lambda c: load_views(c, [(WORKSPACE, identity.contact_id, identity.id)]))
    assert seen == [stored[(identity.contact_id, identity.id)]]
    assert seen[0].language == "it"
    assert [one["id"] for one in seen[0].identities] == [identity.id]


async def test_a_failure_with_somebody_new_keeps_the_person(core: Core, faults: dict[str, Exception]) -> None:
    """Who wrote is known, though what they wrote could not be handled yet."""
    faults["ciao"] = ValueError("a fault of ours")
    await core.hears("ciao")
    await core.work()
    assert await core.states() == [(OPEN, 1)]
    (contact,) = await core.rows("SELECT name FROM contact")
    assert contact.name == "Anna"
    faults.clear()
    core.now += RETRY_MS[0]
    await core.work()
    assert await core.said() == ["Ciao Anna!", "Come ti chiami?"]
    assert await core.rows("SELECT name FROM contact") == [("Anna",)]


async def test_an_ordinary_message_is_three_ways_to_the_server(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claim, look, write: on PostgreSQL, also for somebody new, and for what changes the contact."""
    if core.database.dialect.name != "postgresql":
        pytest.skip("on SQLite a statement is no way to a server")
    await core.publish(FLOW.replace("session.name", "contact.name"))
    await core.hears("ciao")
    await core.work()  # the business as it is seen in turns is written once
    ways: list[str] = []
    fetch, start = DirectPostgresqlConnection._fetch, DirectPostgresqlConnection._start

    async def counted(self: Any, sql: str, *rest: Any) -> Any:
        ways.append(sql)
        return await fetch(self, sql, *rest)

    async def begun(self: Any) -> None:
        ways.append("BEGIN")
        await start(self)

    monkeypatch.setattr(DirectPostgresqlConnection, "_fetch", counted)
    monkeypatch.setattr(DirectPostgresqlConnection, "_start", begun)
    await core.hears("ciao", person=1002)
    await core.worker.lanes.own()
    ways.clear()
    await core.worker.round()
    assert len(ways) == 3, ways
    monkeypatch.undo()
    await core.do(lambda c: c.execute(text("DELETE FROM outbox")))  # all has left
    monkeypatch.setattr(DirectPostgresqlConnection, "_fetch", counted)
    monkeypatch.setattr(DirectPostgresqlConnection, "_start", begun)
    await core.hears("Bruno", person=1002)
    ways.clear()
    await core.worker.round()
    assert len(ways) == 3, ways
    assert await core.said(1002) == ["Piacere, Bruno"]


async def test_two_workers_share_the_lanes_and_the_one_that_stays_gets_all(core: Core) -> None:
    """What is handed over waits for the round that has begun with it; an event in it is handled by the next owner."""
    other = core.another_worker("there")
    await core.worker.lanes.own()
    assert len(core.worker.lanes) == len(LANE_NAMES)
    await other.lanes.own()
    assert len(other.lanes) == 0, "nothing is free yet"
    with core.worker.lanes.in_use() as fences:
        core.now += RENEWED
        await core.worker.lanes.own()
        assert (len(core.worker.lanes), len(fences)) == (LANES // 2, LANES)
        core.now += RENEWED
        await other.lanes.own()
        assert len(other.lanes) == 0, "a round still uses them"
    await core.worker.lanes.handed_over()
    core.now += RENEWED
    await other.lanes.own()
    with core.worker.lanes.in_use() as here, other.lanes.in_use() as there:
        assert len(here) == len(there) == LANES // 2
        assert here.keys() | there.keys() == set(LANE_NAMES)
    for person in range(1, 20):
        await core.hears("ciao", person=person)
    assert await core.work()
    assert await core.work(other)
    assert await core.states() == [(DONE, 1)] * 19
    await core.worker.lanes.release()
    core.now += RENEWED
    await other.lanes.own()
    assert len(other.lanes) == LANES


async def test_a_lane_that_went_away_and_came_back_is_not_the_same(core: Core) -> None:
    """Lost and taken again between claiming and handling: somebody else may have handled what was claimed."""
    await core.hears("ciao")
    await core.worker.lanes.own()
    with core.worker.lanes.in_use() as fences:
        claimed = await core.do(lambda c: core.worker.claim(c, fences))
    await core.do(lambda c: c.execute(text("UPDATE lease SET expires_at = 1")))
    other = core.another_worker("there")
    await core.work(other)
    await other.lanes.release()
    core.now += RENEWED
    await core.worker.lanes.own()
    assert len(core.worker.lanes) == LANES
    handled = await core.do(lambda c: core.worker._handle(c, claimed, fences))
    assert (handled.done, handled.heads) == (0, [])
    assert await core.said() == ["Ciao Anna!", "Come ti chiami?"]
    assert len(core.worker.lanes) == LANES, "what is ours again stays so"


# --- what comes from our own clock and people


async def test_a_timer_wakes_its_session_and_a_stale_one_does_nothing(core: Core) -> None:
    await core.hears("ciao")
    await core.work()
    timer = (await core.rows("SELECT * FROM timer"))[0]
    await core.do(lambda c: c.execute(text("UPDATE timer SET due_at = :at"), {"at": core.now}))
    await core.time(1)
    await core.work()
    assert (await core.said())[-1] == "Ci sei ancora?"
    before = await core.said()
    stale = TimerDue(
        key="timer:1",
        timer_id=timer.id,
        conversation_id=timer.conversation_id,
        session_id=timer.session_id,
        step_id=timer.step_id,
        visit=timer.visit,
        purpose=timer.purpose,
    )

    own = [(WORKSPACE, core.channel_id, timer.slot, timer.intake_key, stale)]
    await core.do(lambda c: append_own(c, own, sealer=core.sealer, new_id=core.new_id, now=core.now))
    await core.hears("ciao")  # a new session waits at the same step
    await core.do(lambda c: append_own(c, own, sealer=core.sealer, new_id=core.new_id, now=core.now))
    await core.work()
    assert await core.said() == [*before, "Ciao Anna!", "Come ti chiami?"]
    assert {state for state, _ in await core.states()} == {DONE}


async def test_an_answer_cancels_its_timeout(core: Core) -> None:
    await core.hears("ciao", "Bruno")
    await core.work()
    assert await core.rows("SELECT 1 FROM timer WHERE due_at < 9000000000000") == []
    await core.time(10 * 24 * 3_600_000)
    assert await core.work() == 0


def part(number: int, caption: str = "") -> ReceivedMedia:
    return ReceivedMedia(MediaKind.image, f"file{number}", caption=caption)


async def test_an_albums_parts_are_one_event_a_second_after_the_last(core: Core) -> None:
    await core.hears("ciao")
    await core.hears(part(1), part(2, "Tre foto"), album="777")
    await core.work()
    assert await core.received() == ["ciao"]
    core.now += 900
    await core.hears(part(3), album="777")
    await core.work()
    await core.time(999)
    assert await core.work() == 0
    await core.time(1)
    await core.work()
    rows = await core.rows("SELECT content FROM message WHERE direction = 'in' ORDER BY id")
    album = decode_received(rows[-1].content)
    assert isinstance(album, ReceivedAlbum)
    assert ([item.platform_id for item in album.items], album.caption) == (
        ["file1", "file2", "file3"],
        "Tre foto",
    )
    assert len(rows) == 2
    await core.time(5_000)
    assert await core.work() == 0
    assert await core.rows("SELECT 1 FROM album_part") == []


# --- who is answered


async def command(core: Core, what: str) -> None:
    conversation = await core.value("SELECT id FROM conversation")

    def append(connection: Any) -> int:
        return handover.command(
            connection,
            WORKSPACE,
            conversation,
            what,
            by="agent:1",
            sealer=core.sealer,
            new_id=core.new_id,
            now=core.now,
        )

    await core.do(append)


async def test_the_bot_is_silent_where_a_person_has_taken_over(core: Core) -> None:
    await core.hears("ciao")
    await core.work()
    before = await core.said()
    await command(core, "take_over")
    await core.hears("Bruno", "ciao")
    await core.work()
    assert await core.said() == before
    assert await core.received() == ["ciao", "Bruno", "ciao"], "people read it"
    await command(core, "hand_back")
    await core.hears("Carla")
    await core.work()
    assert (await core.said())[-1] == "Piacere, Carla", "the session goes on where it waited"


async def test_an_answer_from_the_owners_phone_silences_the_bot(core: Core) -> None:
    await core.hears("ciao")
    await core.work()
    before = await core.said()
    who = Person((ExternalId("telegram_user", "1001"),), first_name="Anna")
    await core.takes(Echo(key="e1", person=who, external_id="9", content=ReceivedText("Arrivo!")))
    await core.hears("Bruno")
    await core.work()
    assert await core.said() == before
    assert await core.value("SELECT status FROM conversation") == "human"


async def test_in_a_group_the_bot_speaks_only_when_spoken_to(core: Core) -> None:
    """No first message, no typing, no answer to what people say among themselves; each person has a thread."""
    group = "-1001234567890"
    await core.hears("buonasera a tutti", group=group)
    await core.hears("ciao", person=1002, group=group)
    await core.hears("bella giornata", person=1003, group=group, topic="5")
    await core.work()
    rows = await core.rows("SELECT address, topic FROM outbox ORDER BY id")
    assert [(row.address, row.topic) for row in rows] == [(group, None)] * 2
    assert {row.place for row in await core.rows("SELECT place FROM conversation")} == {"group"}
    assert len(await core.rows("SELECT 1 FROM conversation")) == 3
    typing = [one for one in core.handed.ephemerals if isinstance(one[1], ReadAndTyping)]
    assert len(typing) <= 1, "it shows that it types where it answers"


async def test_another_bot_is_ignored(core: Core) -> None:
    await core.hears("ciao", person=1009, is_bot=True)
    await core.work()
    assert await core.states() == [(DONE, 1)]
    for table in ("message", "conversation", "contact", "outbox"):
        assert await core.rows(f"SELECT 1 FROM {table}") == []


async def test_a_tap_ends_its_waiting_mark_at_once(core: Core) -> None:
    await core.hears(Tap("yes", callback_id="cb1"))
    await core.work()
    assert CallbackAnswer("cb1") in [one[1] for one in core.handed.ephemerals]


async def test_what_waited_too_long_follows_the_flows_late_rule(core: Core) -> None:
    """`late: ignore`: neither started, nor does it end what waits; the message is kept. The default answers."""
    await core.publish(OTHER_FLOW)
    old = core.now - 10 * 60_000 - 1
    await core.hears("ciao", at=old)
    await core.hears("orari", at=old)
    await core.work()
    assert await core.said() == ["Ciao Anna!", "Come ti chiami?"]
    assert [row.status for row in await core.rows("SELECT status FROM flow_session")] == ["waiting"]
    assert await core.received() == ["ciao", "orari"]
    await core.hears("orari", at=core.now - 10 * 60_000)
    await core.work()
    assert (await core.said())[-1] == "Dalle 9 alle 18"


async def test_a_session_stays_on_its_version(core: Core) -> None:
    await core.hears("ciao")
    await core.work()
    await core.publish(FLOW.replace("Piacere", "Benvenuto"))
    await core.hears("Bruno", "ciao", "Bruno")
    await core.work()
    said = await core.said()
    assert (said[2], said[-1]) == ("Piacere, Bruno", "Benvenuto, Bruno")


async def test_stop_works_inside_a_flow_and_the_person_gets_a_word(core: Core) -> None:
    await core.hears("ciao")
    await core.hears("STOP", opt_out=True)
    await core.hears("Bruno")
    await core.work()
    said = await core.said()
    assert len(said) == 3
    assert "Piacere" not in said[-1]
    assert [row.status for row in await core.rows("SELECT status FROM flow_session")] == ["stopped"]


def test_the_registries_of_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that nobody handles, an effect that nobody applies, and a second one for the same fail at start."""
    from bot import effects
    from domain.effects import SendMessage

    handlers.registry()
    effects.registry()
    with pytest.raises(RuntimeError, match="event Echo is handled twice"):
        handlers.handles(Echo)(lambda scope, flows, event: None)
    with pytest.raises(RuntimeError, match="effect SendMessage is applied twice"):
        effects.applies(SendMessage)(lambda scope, effect: None)
    known: Any = handlers.registry()
    monkeypatch.setattr(handlers, "_registry", {k: v for k, v in known.items() if k is not Echo})
    with pytest.raises(RuntimeError, match="nobody handles Echo"):
        handlers.registry.__wrapped__()
    applied: Any = effects.registry()
    monkeypatch.setattr(effects, "_registry", {k: v for k, v in applied.items() if k is not SendMessage})
    with pytest.raises(RuntimeError, match="nobody applies SendMessage"):
        effects.registry.__wrapped__()


async def test_who_is_forgotten_between_the_look_and_the_write_is_not_written_again(
    migrated_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who was known and had no conversation yet: what they wrote is of somebody new."""
    core = await Core.open(migrated_postgres_url)
    await core.publish(FLOW)
    await core.hears("ciao")
    await core.work()
    await core.do(
        lambda c: [c.execute(text(f"DELETE FROM {t}")) for t in ("outbox", "message", "conversation")]
    )
    forgotten = await core.value("SELECT id FROM contact")
    run = core.worker._run

    def late(connection: Any, *rest: Any) -> None:
        run(connection, *rest)
        monkeypatch.setattr(core.worker, "_run", run)
        for table in ("identity_key", "identity", "contact"):
            apart(connection).execute(text(f"DELETE FROM {table}"))

    monkeypatch.setattr(core.worker, "_run", late)
    core.now += 1
    await core.hears("Anna")
    await core.work()
    assert await core.received() == ["Anna"]
    for table in ("message", "conversation", "identity"):
        owners = await core.rows(f"SELECT DISTINCT contact_id FROM {table}")
        assert owners != [(forgotten,)]
        assert len(owners) == 1
    await core.database.close()


async def test_what_is_written_while_somebody_is_being_forgotten_goes_too(migrated_postgres_url: str) -> None:
    """A step that began before: its rows are waited for, and erased with the others."""
    core = await Core.open(migrated_postgres_url)
    await core.publish(FLOW)
    await core.hears("ciao")
    await core.work()
    contact = await core.value("SELECT id FROM contact")
    written = asyncio.Event()
    loop = asyncio.get_running_loop()

    def step(connection: Any) -> None:
        connection.execute(text("UPDATE conversation SET version = version + 1"))
        copied = "workspace_id, conversation_id, session_id, event_id, flow_version_id, payload, at"
        connection.execute(
            text(
                f"INSERT INTO turn (id, {copied}, state_before, state_after) "
                f"SELECT id + 1, {copied}, '', '' FROM turn"
            )
        )
        loop.call_soon(written.set)
        while not connection.execute(text("SELECT 1 FROM pg_sleep(0.01), pg_locks WHERE NOT granted")).all():
            pass

    writing = asyncio.create_task(core.do(step))
    await written.wait()
    receipt = await core.do(
        lambda c: privacy.erase(
            c,
            workspace_id=WORKSPACE,
            contact_id=contact,
            actor="test",
            new_id=core.new_id,
            now=core.now,
        )
    )
    await writing
    assert "conversations" in receipt.erased
    assert await core.rows("SELECT id FROM turn") == []
    await core.database.close()
