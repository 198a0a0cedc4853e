"""The way in (DESIGN 2.2): what `append` returned for is stored once, what it raised for is not acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import Connection, text

from bot import intake
from bot.intake import DONE, OPEN, PARKED, open_event
from crm.identities import external_key
from domain.errors import Unavailable
from domain.events import MessageReceived, Unrecognised
from domain.messages import FormAnswer, ReceivedText
from storage.database import Database
from tests.support.core import WORKSPACE, Core

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
async def core(store_url: str) -> AsyncIterator[Core]:
    made = await Core.open(store_url)
    yield made
    await made.database.close()


async def stored(core: Core) -> list[object]:
    rows = await core.rows("SELECT id, payload FROM intake ORDER BY id")
    return [open_event(core.sealer, row.id, row.payload) for row in rows]


async def test_what_was_taken_is_committed_sealed_and_open(core: Core) -> None:
    message = core.message("il mio segreto")
    await core.takes(message)
    assert await stored(core) == [message]
    row = (await core.rows("SELECT * FROM intake"))[0]
    assert (row.state, row.attempts, row.received_at) == (OPEN, 0, core.now)
    assert "segreto" not in row.payload
    assert "1001" not in row.intake_key


async def test_many_deliveries_of_the_same_at_once_are_one(core: Core) -> None:
    messages = [core.message(f"{n}", person=1001 + n % 3) for n in range(10)]
    await asyncio.gather(*(core.takes(*messages[n:], *messages[:n]) for n in range(10)))
    found = [one.key for one in await stored(core) if isinstance(one, MessageReceived)]
    assert sorted(found) == sorted(message.key for message in messages)


async def test_order_of_acceptance_is_the_order_of_ids(core: Core) -> None:
    await asyncio.gather(*(core.takes(core.message(f"{n}")) for n in range(20)))
    texts = [one.content.text for one in await stored(core) if isinstance(one, MessageReceived)]  # type: ignore[union-attr]
    assert texts == [f"{n}" for n in range(20)]


async def test_text_that_no_database_holds_is_mended_and_the_person_is_heard(core: Core) -> None:
    """NUL and lone surrogates, in text, names and structured answers."""
    await core.takes(
        core.message("a\x00b\ud83dc"), core.message(FormAnswer("f\x00", {"k\ud800": ["\x00", {"x": "ok"}]}))
    )
    first, second = await stored(core)
    assert isinstance(first, MessageReceived)
    assert isinstance(second, MessageReceived)
    assert first.content == ReceivedText("a\ufffdb\ufffdc")
    assert second.content == FormAnswer("f\ufffd", {"k\ufffd": ["\ufffd", {"x": "ok"}]})
    await core.work()
    assert await core.states() == [(DONE, 1)] * 2
    assert (await core.received())[0] == "a\ufffdb\ufffdc"


async def test_an_unknown_kind_is_kept_a_malformed_one_waits_for_a_person(core: Core) -> None:
    await core.takes(
        Unrecognised(key="u1", what="seance", raw="{}"),
        Unrecognised(key="u2", what="message\x00", raw="{}", problem="no sender", malformed=True),
        core.message("ciao"),
    )
    assert [state for state, _ in await core.states()] == [DONE, PARKED, OPEN]
    problems = [row.problem for row in await core.rows("SELECT problem FROM intake ORDER BY id")]
    assert problems == ["unrecognised: seance", "message\ufffd: no sender", ""]


async def test_nothing_is_acknowledged_when_the_store_is_away(core: Core, store: Database) -> None:
    """All who wait for that commit are told; after it is back the same events are taken, once."""
    messages = [core.message(f"{n}") for n in range(3)]
    await core.do(lambda c: c.execute(text("ALTER TABLE seen RENAME TO seen_away")))
    results = await asyncio.gather(*(core.takes(message) for message in messages), return_exceptions=True)
    assert all(isinstance(one, Exception) for one in results)
    assert await core.rows("SELECT 1 FROM intake") == []
    await core.do(lambda c: c.execute(text("ALTER TABLE seen_away RENAME TO seen")))
    await asyncio.gather(*(core.takes(message) for message in messages))
    assert len(await stored(core)) == 3


async def test_too_many_waiting_are_told_to_come_back(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_WAITING", 3)
    waiting = [asyncio.create_task(core.takes(core.message(f"{n}"))) for n in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as refused:
        await core.takes(core.message("one too many"))
    assert refused.value.retry_after > 0
    await asyncio.gather(*waiting)
    assert len(await stored(core)) == 3
    await core.takes(core.message("now there is room"))


async def test_a_caller_that_goes_away_leaves_the_others_committed(core: Core) -> None:
    tasks = [asyncio.create_task(core.takes(core.message(f"{n}"))) for n in range(5)]
    await asyncio.sleep(0)
    tasks[2].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in results] == [False, False, True, False, False]
    assert len(await stored(core)) == 5


async def test_nothing_to_store_is_nothing(core: Core) -> None:
    await core.intake.append([])
    assert await core.rows("SELECT 1 FROM intake") == []


async def test_two_processes_that_get_the_same_events_in_other_orders_do_not_block_each_other(
    core: Core,
) -> None:
    """The platform repeats to another process what the first has not answered yet."""
    channel = core.channels.get(core.channel_id)
    assert channel is not None
    other = intake.Intake(core.process("there"))
    for _ in range(4):
        events = [core.message(f"{n}", person=1001 + n) for n in range(40)]
        await asyncio.gather(
            core.intake.append([(channel, event) for event in events]),
            other.append([(channel, event) for event in reversed(events)]),
        )
    assert len(await stored(core)) == 4 * 40


@asynccontextmanager
async def held(core: Core, person: int, *, seconds: int) -> AsyncIterator[None]:
    """Another transaction holds the rows that a person's STOP would write; ends with it."""
    stop = core.message("STOP", person=person, opt_out=True)
    key = external_key(core.sealer.keyed_hash, WORKSPACE, stop.person.ids[0])

    def hold(connection: Connection) -> None:
        connection.execute(
            text("INSERT INTO suppression VALUES (:w, :key, '*', 'stop_word', 0)"),
            {"w": WORKSPACE, "key": key},
        )
        connection.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": float(seconds)}).all()

    holding = asyncio.create_task(core.do(hold))
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    while not await core.value(asleep):  # noqa: ASYNC110 (the server tells it)
        await asyncio.sleep(0.01)
    yield
    await holding


async def test_an_opt_out_that_has_to_wait_keeps_nobody_else_waiting(core: Core) -> None:
    """Its person's rows may be held by a process that is frozen (PostgreSQL; SQLite has one writer)."""
    if core.database.dialect.name == "sqlite":
        pytest.skip("one writer: nobody else can hold a row")
    stop = core.message("STOP", person=1001, opt_out=True)
    async with held(core, 1001, seconds=1):
        waits = asyncio.create_task(core.takes(stop))
        await asyncio.gather(*(core.takes(core.message("ciao", person=2000 + n)) for n in range(5)))
        assert not waits.done()
        assert len(await stored(core)) == 5
    await waits
    assert len(await stored(core)) == 6


async def test_opt_outs_that_have_to_wait_do_not_take_all_connections(core: Core) -> None:
    """However often a person whose rows are held says STOP, others are taken in without waiting."""
    if core.database.dialect.name == "sqlite":
        pytest.skip("one writer: nobody else can hold a row")
    async with held(core, 1001, seconds=3):
        stops = []
        slow = []
        for n in range(40):
            stops.append(asyncio.create_task(core.takes(core.message("STOP", person=1001, opt_out=True))))
            began = time.monotonic()
            await core.takes(core.message("ciao", person=2000 + n))
            slow.append(time.monotonic() - began)
    told = await asyncio.gather(*stops, return_exceptions=True)
    assert max(slow) < 1.0, "a free connection was found at once"
    assert {type(one) for one in told} <= {type(None), Unavailable}
    assert len(await stored(core)) >= 40
