"""Jobs: at least once, from their cursor, tried again with back-off, failed where people see it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, text

from domain.ids import IdMaker
from storage import jobs
from storage.database import Database, rows_of
from storage.jobs import AT_ONCE, BACK_OFF_MS, LEASE_MS, MAX_ATTEMPTS, Again, Done, Runner, Running
from storage.sealing import Sealer
from storage.signals.local import LocalSignals

WORKSPACE, START = 11, 1_797_000_000_000

pytestmark = pytest.mark.usefixtures("quiet")


class Shop:
    """A store, a clock and what the steps were called with."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = START
        self.sealer = Sealer("test secret that is long enough to be one")
        self.new_id = IdMaker(1, lambda: self.now).next
        self.ran: list[Running] = []
        self.answers: list[Any] = []  # what the next steps give or raise

    def runner(self, owner: str = "here") -> Runner:
        return Runner(self.database, self.sealer, lambda: self.now, owner, self)

    async def add(self, key: str, *, kind: str = "count", due_at: int = 0, **payload: Any) -> None:
        await self.database.write(
            lambda c: jobs.add(
                c,
                workspace_id=WORKSPACE,
                kind=kind,
                key=key,
                payload=payload,
                due_at=due_at,
                sealer=self.sealer,
                new_id=self.new_id,
                now=self.now,
            )
        )

    async def rows(self) -> list[Any]:
        return list(await self.database.read(lambda c: rows_of(c, "SELECT * FROM job ORDER BY id")))

    async def row(self) -> Any:
        (row,) = await self.rows()
        return row


@pytest.fixture
async def shop(store: Database) -> Shop:
    return Shop(store)


@pytest.fixture(autouse=True)
def kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind "count" whose steps give what the test has laid ready."""
    monkeypatch.setattr(jobs, "_kinds", {})

    @jobs.job("count")
    async def count(context: Shop, running: Running) -> Done | Again:
        context.ran.append(running)
        answer = context.answers.pop(0) if context.answers else Done()
        if isinstance(answer, BaseException):
            raise answer
        assert isinstance(answer, Done | Again)
        return answer


async def test_a_job_runs_once_with_its_payload_and_loses_it_when_done(shop: Shop) -> None:
    await shop.add("one", email="anna@example.com", n=[1, 2])
    assert "anna" not in (await shop.row()).payload
    shop.answers = [Done({"rows": 3})]
    assert await shop.runner().round() == 1
    assert await shop.runner().round() == 0
    (running,) = shop.ran
    assert running[1:] == (WORKSPACE, "count", "one", {"email": "anna@example.com", "n": [1, 2]}, "", 1)
    row = await shop.row()
    assert (row.state, row.progress, row.payload, row.problem) == (2, '{"rows":3}', "", "")


async def test_the_same_key_is_one_job(shop: Shop) -> None:
    await shop.add("one", n=1)
    await shop.add("one", n=2)
    await shop.add("two")
    assert [row.key for row in await shop.rows()] == ["one", "two"]
    await shop.runner().round()
    await shop.add("one", n=3)
    assert await shop.runner().round() == 0, "done is done"


async def test_again_goes_on_from_the_cursor_when_its_time_has_come(shop: Shop) -> None:
    await shop.add("one")
    shop.answers = [Again("row 100", {"rows": 100}), Again("row 200", {"rows": 200}, START + 60_000)]
    runner = shop.runner()
    await runner.round()
    assert (await shop.row()).progress == '{"rows":100}'
    await runner.round()
    assert await runner.round() == 0, "not before its time"
    shop.now += 60_000
    await runner.round()
    assert [(one.cursor, one.attempts) for one in shop.ran] == [("", 1), ("row 100", 1), ("row 200", 1)]
    row = await shop.row()
    assert (row.state, row.cursor) == (2, "row 200")


async def test_not_before_it_is_due(shop: Shop) -> None:
    await shop.add("later", due_at=START + 1)
    assert await shop.runner().round() == 0
    shop.now += 1
    assert await shop.runner().round() == 1


async def test_an_error_is_tried_again_with_back_off_then_failed_for_people_to_see(shop: Shop) -> None:
    await shop.add("one", n=1)
    shop.answers = [ValueError("anna@example.com")] * MAX_ATTEMPTS
    runner = shop.runner()
    for attempt in range(1, MAX_ATTEMPTS):
        assert await runner.round() == 1
        row = await shop.row()
        wait = BACK_OFF_MS[min(attempt - 1, len(BACK_OFF_MS) - 1)]
        assert (row.state, row.attempts, row.due_at - shop.now, row.problem) == (
            0,
            attempt,
            wait,
            "ValueError",
        )
        shop.now += wait - 1
        assert await runner.round() == 0
        shop.now += 1
    await runner.round()
    row = await shop.row()
    assert (row.state, row.attempts, row.problem) == (1, MAX_ATTEMPTS, "ValueError")
    shop.now += 10**9
    assert await runner.round() == 0
    assert row.payload, "a person may have it tried again"


async def test_a_success_between_forgives_the_failures_before(shop: Shop) -> None:
    await shop.add("one")
    shop.answers = [ValueError(), ValueError(), Again("half"), ValueError()]
    for _ in range(4):
        await shop.runner().round()
        shop.now += 3_600_000
    row = await shop.row()
    assert (row.state, row.attempts, row.cursor) == (0, 1, "half")


async def test_a_kind_that_nobody_runs_fails_visibly(shop: Shop) -> None:
    await shop.add("one", kind="unheard of")
    await shop.add("two")
    await shop.runner().round()
    first, second = await shop.rows()
    assert (first.state, first.problem) == (0, "LookupError")
    assert second.state == 2


async def test_a_payload_that_cannot_be_opened_is_that_jobs_problem_only(shop: Shop) -> None:
    """Sealed with another secret: it fails visibly, the others run."""
    await shop.add("broken")
    await shop.add("whole")
    await shop.database.write(
        lambda c: c.execute(text("UPDATE job SET payload = 'QUFBQQ==' WHERE key = 'broken'"))
    )
    await shop.runner().round()
    broken, whole = await shop.rows()
    assert (broken.state, broken.attempts, broken.problem) == (0, 1, "RejectedInput")
    assert whole.state == 2
    assert [one.key for one in shop.ran] == ["whole"]


async def test_a_job_in_hand_is_nobody_elses_until_its_lease_ends(shop: Shop) -> None:
    """After a crash between work and record it runs again from the same cursor."""
    await shop.add("one")
    shop.answers = [Again("half")]
    await shop.runner().round()
    taken = await shop.database.write(shop.runner("crashed")._take)
    assert [(one.cursor, one.attempts) for one in taken] == [("half", 1)]
    assert await shop.runner("other").round() == 0
    shop.now += LEASE_MS + 1
    assert await shop.runner("other").round() == 1
    assert (shop.ran[-1].cursor, shop.ran[-1].attempts) == ("half", 2)
    assert (await shop.row()).state == 2


async def test_a_runner_that_is_cut_short_gives_its_jobs_back(shop: Shop) -> None:
    """A process that must end does not wait for a long step: another one begins it anew at once."""
    begun, runs = asyncio.Event(), list[int]()

    @jobs.job("long")
    async def long(context: Shop, running: Running) -> Done:
        runs.append(running.attempts)
        if len(runs) == 1:
            begun.set()
            await asyncio.Event().wait()
        return Done()

    await shop.add("one", kind="long")
    running = asyncio.create_task(shop.runner("leaving").run())
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await shop.runner("there").round() == 1
    row = await shop.row()
    assert (row.state, row.owner, runs) == (2, "there", [1, 1])


async def test_a_runner_that_is_cut_short_gives_back_what_it_was_about_to_take(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store finishes what it was asked though nobody waits: the job is taken after its runner was told to go."""
    await shop.add("a")
    asked, go_on = asyncio.Event(), asyncio.Event()
    write = shop.database.write

    async def late(take: Any) -> Any:
        asked.set()
        await go_on.wait()
        return await write(take)

    async def writes(work: Any, **options: Any) -> Any:
        if isinstance(work, partial):
            return await asyncio.shield(asyncio.ensure_future(late(work)))
        return await write(work, **options)

    monkeypatch.setattr(shop.database, "write", writes)
    running = asyncio.create_task(shop.runner().run())
    await asyncio.wait_for(asked.wait(), 10)
    running.cancel()
    await asyncio.wait([running], timeout=0.1)
    go_on.set()
    await asyncio.gather(running, return_exceptions=True)
    await asyncio.wait_for(_taken_or_given_back(shop), 10)
    assert await shop.runner("another").round() == 1


async def _taken_or_given_back(shop: Shop) -> None:
    while (await shop.row()).owner == "":  # noqa: ASYNC110 (a row tells nobody)
        await asyncio.sleep(0)


async def test_what_a_former_owner_records_late_does_not_count(shop: Shop) -> None:
    await shop.add("one")
    slow = shop.runner("slow")
    (taken,) = await shop.database.write(slow._take)
    shop.now += LEASE_MS + 1
    other = shop.runner("other")
    await shop.database.write(other._take)

    def late(connection: Connection) -> None:
        slow._finished(connection, taken, Done())

    await shop.database.write(late)
    assert (await shop.row()).state == 0


async def test_a_few_at_a_time_oldest_due_first(shop: Shop) -> None:
    for number in range(AT_ONCE + 2):
        await shop.add(f"{number}", due_at=START - number)
    runner = shop.runner()
    assert await runner.round() == AT_ONCE
    assert await runner.round() == 2
    assert {one.key for one in shop.ran[-2:]} == {"1", "0"}


async def test_a_step_that_takes_too_long_is_cut_off(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "STEP_SHARE", 0.01 / (jobs.LEASE_MS / 1000))

    @jobs.job("endless")
    async def endless(context: Shop, running: Running) -> Done:
        await asyncio.Event().wait()
        return Done()

    await shop.add("one", kind="endless")
    await shop.runner().round()
    assert (await shop.row()).problem == "TimeoutError"


def test_a_kind_registered_twice_fails_at_start() -> None:
    async def second(context: Any, running: Running) -> Done:
        return Done()

    with pytest.raises(RuntimeError, match="'count' is registered twice"):
        jobs.job("count")(second)


# --- runners side by side


async def test_a_runner_of_one_kind_and_a_runner_of_the_others(shop: Shop) -> None:
    """Neither takes what is the other's, also when it gives back."""

    @jobs.job("call")
    async def call(context: Shop, running: Running) -> Done:
        context.ran.append(running)
        return Done()

    def runner(**which: Any) -> Runner:
        return Runner(shop.database, shop.sealer, lambda: shop.now, "here", shop, **which)

    await shop.add("one")
    await shop.add("two", kind="call")
    assert await runner(only="call").round() == 1
    assert await runner(but="call").round() == 1
    assert [running.kind for running in shop.ran] == ["call", "count"]


async def test_what_is_done_with_the_record_is_not_done_by_one_who_lost_the_job(shop: Shop) -> None:
    """`also` stands in the transaction of the record, and only in that of the owner."""
    written: list[str] = []
    shop.answers = [Done(also=lambda c: written.append("one")), Done(also=lambda c: written.append("two"))]
    await shop.add("one")
    await shop.runner().round()
    assert written == ["one"]
    await shop.add("two")
    runner = shop.runner()
    [taken] = await shop.database.write(runner._take)
    shop.now += LEASE_MS + 1
    await shop.database.write(shop.runner("another")._take)
    await runner._step(taken)
    assert written == ["one"]
    assert (await shop.rows())[1].state == 0


async def test_a_runner_is_woken_and_does_not_wait_for_a_slow_one(shop: Shop) -> None:
    """Each job ends by itself, and the next one begins when there is room."""
    slow, ended = asyncio.Event(), asyncio.Event()

    @jobs.job("slow")
    async def wait(context: Shop, running: Running) -> Done:
        await slow.wait()
        return Done()

    @jobs.job("last")
    async def last(context: Shop, running: Running) -> Done:
        ended.set()
        return Done()

    signals = LocalSignals()
    runner = Runner(shop.database, shop.sealer, lambda: shop.now, "here", shop, signals=signals)
    task = asyncio.create_task(runner.run())
    await shop.add("slow", kind="slow")
    for n in range(3 * AT_ONCE):
        await shop.add(f"quick {n}")
    await shop.add("last", kind="last", due_at=START)
    signals.notify("jobs")
    await asyncio.wait_for(ended.wait(), 10)
    slow.set()
    runner.stop()
    await asyncio.wait_for(task, 10)
    assert {row.state for row in await shop.rows()} == {2}
