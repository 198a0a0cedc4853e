"""The machine's clock jumps by an hour or a day, there and back, under a campaign and conversations.

What has to happen at a time is in the rows by that time and happens once; what takes a time (rates, leases, looks) is
measured by clocks that do not jump.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from campaigns import drafts, runs
from campaigns.drafts import Draft
from storage.database import rows_of
from tests.faults import load
from tests.faults.conftest import Counted
from tests.support import checker
from tests.support.town import BOT, Town, until

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
JUMPS = {"an hour ahead": HOUR_MS, "an hour back": -HOUR_MS, "a day ahead": DAY_MS, "a day back": -DAY_MS}
AUDIENCE = 75
FIRST, WRITER, WAITING = 5_500_000, 5_500_900, 5_500_901
BULK = 30  # a second
REMINDERS = "SELECT count(*) FROM timer WHERE purpose = 'wait'"
BURST = 3 + 4  # what the bucket holds, and what late wakings add at the edge of a second
TALK = """
flow: talk
title: {it: Prova, en: Test}
languages: [it, en]
triggers: [fallback]
start: answer
steps:
  answer: {send: {it: Eccomi, en: Here I am}, next: end}
"""
SLOW = """
flow: slow
title: {it: Promemoria, en: Reminder}
languages: [it, en]
triggers: [{keyword: [promemoria], interrupts: true}]
start: pause
steps:
  pause: {wait: 30 minutes, next: remind}
  remind: {send: {it: Ecco il promemoria, en: Here is your reminder}, next: end}
"""


class Clock:
    """The machine's clock, somebody turning its hands. Gives ms since 1970 UTC."""

    def __init__(self) -> None:
        self.offset_ms = 0

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 + self.offset_ms


@pytest.fixture
async def turned(tmp_path: Path, sqlite_url: str) -> AsyncIterator[tuple[Town, Clock]]:
    """A town and its clock."""
    clock = Clock()
    async with Town(tmp_path, sqlite_url, clock=clock) as town:
        yield town, clock


@pytest.mark.parametrize(
    "jump",
    [
        "an hour back",
        pytest.param("a day ahead", marks=pytest.mark.chaos),
        pytest.param("an hour ahead", marks=pytest.mark.chaos),
        pytest.param("a day back", marks=pytest.mark.chaos),
    ],
)
async def test_the_clock_jumps_there_and_back(
    jump: str, turned: tuple[Town, Clock], counted: Counted
) -> None:
    """A scheduled campaign fires once, at its rate; people are answered; ids grow; a timer fires once, at its time."""
    town, clock = turned
    channel = await town.telegram()
    await town.publish(TALK, "talk")
    await town.publish(SLOW, "slow")
    audience = town.crowd(FIRST, AUDIENCE)
    town.crowd(WRITER, 2)
    await town.app.database.write(lambda c: _schedule(c, town, channel, audience))
    numbers = [town.app.runtime.new_id()]
    await town.simulators.telegram_act(BOT, WAITING, "say", text="promemoria")
    await until(lambda: _sent(town, 10), "the campaign is under way")
    waiting = await town.value(REMINDERS)
    for offset in (JUMPS[jump], 0):
        clock.offset_ms = offset
        numbers += [town.app.runtime.new_id() for _ in range(5_000)]
        before = len(await town.telegram_messages(WRITER, 0))
        asked = time.monotonic()
        await town.simulators.telegram_act(BOT, WRITER, "say", text="ciao")
        await town.telegram_messages(WRITER, before + 1)
        assert time.monotonic() - asked < 5
        await until(lambda o=offset: _sent(town, 30 if o else AUDIENCE), "the campaign goes on")  # type: ignore[misc]
        if offset > 0:
            await town.telegram_messages(WAITING, 1)  # half an hour has passed
    await town.settle()
    assert numbers == sorted(set(numbers))
    assert waiting == 1
    assert await town.value("SELECT count(*) FROM campaign_run") == 1
    reminders = await town.telegram_messages(WAITING, 0)
    assert len(reminders) == (1 if JUMPS[jump] > 0 else 0)  # back at the right time it has half an hour to go
    assert await town.value(REMINDERS) == (0 if JUMPS[jump] > 0 else 1)
    log = await town.simulators.log()
    bulk = [e for e in log if e["kind"] == "message" and e["text"] == load.CAMPAIGN_TEXT]
    assert Counter(entry["to"] for entry in bulk) == Counter(str(person) for person in audience)
    busiest = max(sum(a["at"] <= b["at"] < a["at"] + 1_000 for b in bulk) for a in bulk)
    assert busiest <= BULK + BURST
    rows = await town.app.database.read(lambda c: checker.load(lambda sql: rows_of(c, sql)))
    verdict = checker.check(checker.History(log=log, rows=rows))
    assert not verdict.problems, "\n".join(verdict.problems[:20])
    counted(f"clock {jump} and to rights", sent=len(bulk), busiest_second=busiest, ids=len(numbers))


async def test_a_campaign_for_a_time_that_comes_twice_fires_once(
    turned: tuple[Town, Clock], counted: Counted
) -> None:
    """It is due in half an hour; the clock jumps past that, back before it, and past it again: one run, one message."""
    town, clock = turned
    channel = await town.telegram()
    audience = town.crowd(FIRST, 5)
    await town.app.database.write(lambda c: _schedule(c, town, channel, audience, in_ms=HOUR_MS // 2))
    for offset in (HOUR_MS, 0, HOUR_MS, -DAY_MS, DAY_MS):
        clock.offset_ms = offset
        await until(lambda: _sent(town, 5), "the campaign was sent")
        await asyncio.sleep(0.6)  # a look of the scheduler and one of the sender, on the clock of the moment
    bulk = [e for e in await town.simulators.log() if e["kind"] == "message"]
    assert Counter(entry["to"] for entry in bulk) == Counter(str(person) for person in audience)
    assert await town.value("SELECT count(*) FROM campaign_run") == 1
    counted("a time that comes three times", runs=1, sent=len(bulk))


def _schedule(connection: Connection, town: Town, channel: int, audience: range, *, in_ms: int = 50) -> None:
    app = town.app
    load.agree(connection, app, town.workspace_id, channel, audience)
    draft = Draft(name="Saldi", channel_id=channel, content={"it": load.CAMPAIGN_TEXT})
    campaign = drafts.create(connection, town.workspace_id, draft, new_id=app.runtime.new_id, now=app.clock())
    at = app.clock() + in_ms
    runs.schedule(connection, town.workspace_id, campaign, at=at, now=app.clock())


async def _sent(town: Town, count: int) -> bool:
    return bool(await town.value("SELECT count(*) FROM recipient WHERE state = 2") >= count)
