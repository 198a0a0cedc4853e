"""Platforms that say "not so fast" again and again, and platforms that take a message and break the connection.

Seen from the simulator's log: what was asked for after a 429, who was answered meanwhile, how fast it went afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from simulators.control import SimulatorControl
from storage.database import Database
from tests.faults import load
from tests.faults.conftest import Counted
from tests.faults.test_kill import connected, drained, history_of, opened, rows
from tests.support import checker
from tests.support.posting import percentile
from tests.support.processes import Server, Simulators
from tests.support.run import Run
from tests.support.town import until

FIRST = 1_500_000
CURIOUS = range(1_900_000, 1_900_040)  # who writes while the campaign is told to wait
PER_SECOND = 30.0
RETRY_AFTER_S = 1
ON_THE_WAY_MS = 30  # what leaves before the refusal has reached us was in flight
REPLY_WITHIN_MS = (
    900  # less than the wait that the campaign was told: who is answered so soon did not share it
)
LONG = [pytest.mark.chaos, pytest.mark.timeout(240)]


@dataclass
class Storm:
    """A campaign that is under way, and the hands on the platform."""

    control: SimulatorControl
    database: Database
    people: int

    async def sent(self) -> int:
        """Messages of the campaign that the platform has taken."""
        return int((await rows(self.database, "SELECT count(*) FROM recipient WHERE state = 2"))[0][0])

    async def reached(self, count: int) -> None:
        async def enough() -> bool:
            return await self.sent() >= count

        await until(enough, f"{count} of {self.people} sent", within_s=120)

    async def refused(self) -> int:
        return int((await self.control.counters()).get("telegram.calls.sendMessage.429", 0))

    async def over(self) -> bool:
        return await drained(self.database)


@pytest.mark.parametrize(("people", "storms"), [(110, 2), pytest.param(1_500, 15, marks=LONG)])
async def test_a_storm_of_429(people: int, storms: int, run: Run, tmp_path: Path, counted: Counted) -> None:
    """At most one request of the campaign leaves while it was told to wait; people are answered meanwhile; then it goes
    on at four fifths of its limit at least."""
    async with campaign(run, tmp_path, people) as storm:
        control = storm.control
        for number in range(storms):
            await storm.reached((number + 1) * people // (storms + 2))
            before = await storm.refused()
            await control.fault("telegram", "429", retry_after=RETRY_AFTER_S, method="sendMessage")

            async def told(before: int = before) -> bool:
                return await storm.refused() > before

            await until(told, "the campaign was told to wait")
            await control.telegram_act(load.BOT, CURIOUS[number], "say", text="ciao")
        await until(storm.over, "the campaign has ended", within_s=people / PER_SECOND * 2 + 30)
        history = await history_of(control, storm.database, load.Begun((), {}), set())
    verdict = checker.check(history)
    assert not verdict.problems, "\n".join(verdict.problems[:20])
    assert verdict.counts["campaign sent"] == people
    bulk = [entry for entry in history.log if _is_bulk(entry)]
    windows = [(entry["at"], entry["at"] + RETRY_AFTER_S * 1000) for entry in bulk if entry["status"] == 429]
    forbidden = [
        sum(begins + ON_THE_WAY_MS < entry["at"] < ends for entry in bulk) for begins, ends in windows
    ]
    replies = _reply_times(history.log)
    after = [entry["at"] for entry in bulk if entry["status"] == 200 and entry["at"] > windows[-1][1]]
    rate = (len(after) - 1) / (after[-1] - after[0]) * 1000
    counted(
        f"storm of 429, {people} people",
        told_to_wait=len(windows),
        requests_meanwhile=sum(forbidden),
        replies_meanwhile=len(replies),
        slowest_reply_ms=max(replies),
        per_second_afterwards=round(rate, 1),
    )
    assert len(windows) == storms
    assert max(forbidden) <= 1, forbidden
    assert percentile(replies, 0.5) < REPLY_WITHIN_MS, replies
    assert rate >= 0.8 * PER_SECOND


@pytest.mark.parametrize(("people", "resets"), [(90, 4), pytest.param(1_500, 60, marks=LONG)])
async def test_a_platform_that_takes_and_breaks_the_connection(
    people: int, resets: int, run: Run, tmp_path: Path, counted: Counted
) -> None:
    """What was taken though no answer came: a campaign's message is unknown and never sent again, a reply goes once
    more and says so."""
    async with campaign(run, tmp_path, people) as storm:
        control = storm.control
        for number in range(resets):
            await storm.reached((number + 1) * people // (resets + 2))
            await control.fault("telegram", "reset", when="after", method="sendMessage")
            curious = CURIOUS[number % len(CURIOUS)]
            await control.fault("telegram", "reset", when="after", method="sendMessage", target=str(curious))
            await control.telegram_act(load.BOT, curious, "say", text="ciao")
        await until(storm.over, "the campaign has ended", within_s=people / PER_SECOND * 2 + 60)
        doubtful = await rows(
            storm.database,
            "SELECT id, message_class, possibly_twice FROM message WHERE possibly_twice = 1 OR status = 'unknown'",
        )
        allowed = {row.id for row in doubtful}
        history = await history_of(control, storm.database, load.Begun((), {}), allowed)
    verdict = checker.check(history)
    broken = [entry for entry in history.log if entry["kind"] == "call" and entry["fault"] == "reset"]
    marketing = sum(_is_bulk(entry) for entry in broken)
    counted(
        f"taken and reset, {people} people",
        resets=len(broken),
        campaign_unknown=verdict.counts["campaign unknown"],
        replies_possibly_twice=verdict.counts["possibly twice"],
    )
    assert not verdict.problems, "\n".join(verdict.problems[:20])
    assert verdict.counts["campaign unknown"] == marketing
    assert verdict.counts["campaign sent"] == people - marketing
    assert all(not row.possibly_twice for row in doubtful if row.message_class == "marketing")
    assert len(doubtful) <= len(broken)
    reached = Counter(entry["chat"] for entry in history.log if _is_bulk(entry) and entry["executed"])
    assert max(reached.values()) == 1


@asynccontextmanager
async def campaign(run: Run, tmp_path: Path, people: int) -> AsyncIterator[Storm]:
    """A server in the middle of a campaign at 30 a second, with its flows."""
    audience = range(FIRST, FIRST + people)
    folder = tmp_path / "data"
    await load.prepare(folder, audience=audience)
    seed = load.crowd_seed(audience)
    more = {"first": CURIOUS.start, "count": len(CURIOUS), "bot": load.BOT, "language_code": "it"}
    seed["telegram"]["crowds"].append(more)
    async with (
        Simulators(run, tmp_path, seed) as simulators,
        Server(run, folder, simulators.origin) as server,
        opened(f"sqlite:///{folder / 'passaparola.sqlite3'}") as database,
    ):
        await load.settle_in(simulators.control, audience=())
        child = await server.start()
        assert await connected(simulators.control, child), child.printed[-4000:]
        yield Storm(simulators.control, database, people)


def _is_bulk(entry: Any) -> bool:
    return bool(entry["kind"] == "call" and entry["params"].get("text") == load.CAMPAIGN_TEXT)


def _reply_times(log: Any) -> list[int]:
    """Milliseconds from each text of the curious to the first message that reached them."""
    said: dict[str, int] = {}
    times: list[int] = []
    for entry in log:
        if entry["kind"] == "action" and entry.get("do") == "say":
            said[str(entry["person"])] = entry["at"]
        elif entry["kind"] == "message" and entry["to"] in said:
            times.append(entry["at"] - said.pop(entry["to"]))
    return times
