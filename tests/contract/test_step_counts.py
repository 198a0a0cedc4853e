"""How people get through flows is counted in the worker's transactions, exactly, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from bot import passages, step_counts
from bot.passages import Passage, StepView
from tests.support.core import OTHER_WORKSPACE, WORKSPACE, Core

FLOW = """
flow: survey
triggers: [{keyword: [ciao], interrupts: true}]
start: greet
steps:
  greet: {send: Ciao!, next: age}
  age: {ask: number, text: Quanti anni hai?, skip: true, timeout: {after: 1 hour, goto: gone}, next: bye}
  bye: {send: Grazie, next: over}
  gone: {send: Ci sei ancora?, next: over}
  over: {end: done}
"""

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
async def core(store_url: str) -> AsyncIterator[Core]:
    made = await Core.open(store_url)
    await made.publish(FLOW)
    yield made
    await made.database.close()


async def passage(core: Core, workspace_id: int = WORKSPACE) -> Passage:
    version = (await core.rows("SELECT current_version_id AS v FROM flow WHERE key = 'survey'"))[0].v
    return await core.database.read(lambda c: passages.passage(c, workspace_id, version))


def step(found: Passage, step_id: str) -> StepView:
    return next(one for one in found.steps if one.step_id == step_id)


async def test_every_step_tells_what_happened_there(core: Core) -> None:
    """Entered, refused, answered, skipped, left for good: and how the flow began and ended."""
    await core.hears("ciao", "boh", "40", person=1)
    await core.hears("ciao", "salta", person=2)
    await core.hears("ciao", "ciao", person=3)
    await core.work()
    found = await passage(core)
    age = step(found, "age")
    assert (age.entered, age.answered, age.invalid, age.skipped, age.left) == (4, 1, 1, 1, 1)
    assert step(found, "bye").entered == 2
    assert found.starts == {"keyword": 4}
    assert found.ends == {"done": 2, "replaced": 1}
    assert found.steps[0].entered == 4, "those that most people entered come first"


async def test_folding_changes_no_number(core: Core) -> None:
    """Deltas and totals tell the same; folding twice, or with nothing there, too."""
    await core.hears("ciao", "40")
    await core.work()
    before = await passage(core)
    for _ in range(3):
        assert not await core.database.write(step_counts.fold)
        assert await passage(core) == before
    assert await core.rows("SELECT id FROM step_count_delta") == []
    await core.hears("ciao", "41")
    await core.work()
    await core.database.write(step_counts.fold)
    assert step(await passage(core), "age").answered == 2 * step(before, "age").answered


async def test_the_time_of_an_answer_is_known_within_a_tenth(core: Core) -> None:
    """The median over those who answered."""
    for person, seconds in ((1, 10), (2, 100), (3, 1_000)):
        await core.hears("ciao", person=person)
        await core.work()
        await core.time(seconds * 1_000)
        await core.hears("40", person=person)
        await core.work()
    assert step(await passage(core), "age").median_s == pytest.approx(100, rel=0.1)


async def test_another_business_sees_nothing_of_it(core: Core) -> None:
    """A version that is not of the workspace has no counts."""
    await core.hears("ciao", "40")
    await core.work()
    assert await passage(core, OTHER_WORKSPACE) == Passage(
        flow_version_id=(await passage(core)).flow_version_id
    )


async def test_an_event_that_fails_counts_nothing(core: Core) -> None:
    """What its transaction takes back was not counted."""
    await core.hears("ciao")
    await core.work()
    before = await passage(core)

    await core.database.write(lambda c: c.execute(text("UPDATE flow_session SET state = '{'")))
    await core.hears("40")
    await core.work()
    assert await passage(core) == before


@pytest.mark.parametrize("ms", [0, 500, 1_000, 1_500, 7_000, 60_000, 3_600_000, 10**13])
def test_buckets_are_narrow(ms: int) -> None:
    """A time lies within a tenth of its bucket's middle; the shortest and the longest are cut."""
    seconds = step_counts.seconds_of(step_counts.bucket_of(ms))
    assert seconds == pytest.approx(min(max(ms / 1000, 1), 2**30), rel=0.1)
