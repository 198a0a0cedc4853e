"""A campaign to many, its process killed and frozen at random moments, one in a hundred opting out meanwhile.

Everybody is written to at most once, whatever the moments were; what nobody can know is listed as unknown, and only
messages that were on the wire at a death may be. FAULT_SEED chooses the moments.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import Connection

from campaigns import runs
from domain.errors import Conflict, Unavailable
from simulators.control import SimulatorControl
from storage import sqlite as store
from storage.database import Database
from tests.faults import load
from tests.faults.conftest import Counted
from tests.faults.test_kill import connected, drained, history_of, hung_up, opened, rows
from tests.support import checker
from tests.support.processes import Child, Server, Simulators
from tests.support.run import Run
from tests.support.town import until

FIRST = 1_000_000
PER_SECOND = 1_000  # what the channel may send in bulk
LATENCY_MS = 20  # of the platform, so that requests are on the wire at every moment
OPT_OUTS = 100  # one person in so many says STOP


@pytest.mark.parametrize(
    ("people", "kills", "freezes", "within_s"),
    [
        (1_000, 1, 1, 40),
        pytest.param(50_000, 12, 3, 400, marks=[pytest.mark.chaos, pytest.mark.timeout(700)]),
    ],
)
async def test_everybody_is_written_to_at_most_once(
    people: int,
    kills: int,
    freezes: int,
    within_s: int,
    run: Run,
    tmp_path: Path,
    chance: random.Random,
    monkeypatch: pytest.MonkeyPatch,
    counted: Counted,
) -> None:
    """kill -9 and SIGSTOP at random under a campaign, STOPs arriving all the time; every promise holds at the end."""
    monkeypatch.setattr(store, "READ_LIMIT_S", 120.0)  # the test reads whole tables at once
    audience = range(FIRST, FIRST + people)
    folder = tmp_path / "data"
    await load.prepare(folder, audience=audience, bulk_per_second=PER_SECOND)
    async with (
        Simulators(run, tmp_path, load.crowd_seed(audience)) as simulators,
        Server(run, folder, simulators.origin) as server,
        opened(f"sqlite:///{folder / 'passaparola.sqlite3'}") as database,
    ):
        control = simulators.control
        await load_settled(control)
        town = _Run(control, database, people, chance)
        child = await server.start()
        assert await connected(control, child), child.printed[-4000:]
        sending: set[int] = set()
        talking = asyncio.create_task(town.talk(audience))
        owner = asyncio.create_task(town.resume_what_the_brake_stopped())
        try:
            # Spread over the run: the n-th fault comes somewhere in the n-th part of what has to be sent.
            faults = [signal.SIGKILL] * kills + [signal.SIGSTOP] * freezes
            chance.shuffle(faults)
            for number, fault in enumerate(faults):
                await town.reached((number + chance.random()) / (len(faults) + 1))
                child = await _hit(child, fault, server, database, sending, chance)
            await talking
            await until(town.delivered, "the platform has delivered what people said", within_s=60)
            await until(town.over, "the campaign has ended", town.where, within_s=within_s, every_s=0.2)
        finally:
            talking.cancel()
            owner.cancel()
            await asyncio.gather(talking, owner, return_exceptions=True)
        begun = load.Begun((), town.stops)
        history = await history_of(control, database, begun, sending)
    verdict = checker.check(history)
    counted(
        f"campaign killed, {people} people",
        kills=kills,
        freezes=freezes,
        opt_outs=len(town.stops),
        pauses=town.pauses,
        on_the_wire_at_deaths=len(sending),
        **{name.replace(" ", "_"): n for name, n in verdict.counts.items()},
    )
    assert not verdict.problems, "\n".join(verdict.problems[:20])
    total = sum(verdict.counts[f"campaign {name}"] for name in ("sent", "failed", "skipped", "unknown"))
    assert (
        people - len(town.stops) <= total <= people
    )  # who opts out before the audience is made is not in it
    assert verdict.counts["campaign failed"] == 0
    reached = Counter(
        entry["to"]
        for entry in history.log
        if entry["kind"] == "message" and load.CAMPAIGN_TEXT in entry["text"]
    )
    assert max(reached.values()) == 1


async def load_settled(control: SimulatorControl) -> None:
    """The number of WhatsApp exists; Telegram takes its time to answer."""
    await load.settle_in(control, audience=())
    await control.latency("telegram", LATENCY_MS)


async def _hit(
    child: Child,
    fault: signal.Signals,
    server: Server,
    database: Database,
    sending: set[int],
    chance: random.Random,
) -> Child:
    """One fault; gives the process that runs afterwards."""
    child.send(fault)
    if fault == signal.SIGSTOP:
        await asyncio.sleep(chance.uniform(0.5, 2.0))  # how long it lies frozen is what is tried
        child.send(signal.SIGCONT)
        return child
    assert await child.ended() == 137, child.printed[-4000:]
    if database.dialect.for_update:
        await until(lambda: hung_up(database, child.pid), "the server has ended what was asked for last")
    sending |= {row.id for row in await rows(database, "SELECT id FROM outbox WHERE state = 3")}
    return await server.start()


class _Run:
    """The campaign and the people around it. `said`: every update; `stops`: person → the one of their opt-out."""

    def __init__(
        self, control: SimulatorControl, database: Database, people: int, chance: random.Random
    ) -> None:
        self._control = control
        self._database = database
        self._people = people
        self._chance = chance
        self.said: set[int] = set()
        self.stops: dict[int, int] = {}
        self.pauses = 0
        self._sent = 0

    async def reached(self, share: float) -> None:
        """Returns once so much of the audience has been written to."""

        async def enough() -> bool:
            self._sent = int((await self._control.counters()).get("telegram.calls.sendMessage.200", 0))
            return self._sent >= share * self._people

        await until(enough, f"{share:.0%} sent", self.where, within_s=200, every_s=0.02)

    def where(self) -> str:
        return f"{self._sent} of {self._people} sent"

    async def talk(self, audience: range) -> None:
        """One in a hundred says STOP and one says hello, all along the run."""
        chosen = self._chance.sample(audience, 2 * (len(audience) // OPT_OUTS))
        for number, person in enumerate(chosen):
            await self.reached(number / len(chosen) * 0.9)
            word = "Stop!" if number % 2 else "ciao"
            updates = await self._control.telegram_act(load.BOT, person, "say", text=word)
            self.said.update(updates)
            if number % 2:
                self.stops[person] = updates[0]

    async def resume_what_the_brake_stopped(self) -> None:
        """After a kill the share of unknown ones may be too high for the brake: the owner looks and goes on."""
        while True:
            await asyncio.sleep(0.2)
            paused = await rows(
                self._database, "SELECT workspace_id, id FROM campaign WHERE state = 'paused'"
            )
            for campaign in paused:
                try:
                    await self._database.write(lambda c, at=campaign: self._resume(c, at))  # type: ignore[misc]
                    self.pauses += 1
                except (Unavailable, Conflict):
                    continue  # the server holds the file just now: at the next look

    def _resume(self, connection: Connection, campaign: tuple[int, int]) -> None:
        runs.resume(connection, campaign[0], campaign[1], now=0)

    async def delivered(self) -> bool:
        """What was refused while the process was dead comes again; a second of the platform's time passes at once."""
        log = await self._control.log(kind="delivery", network="telegram")
        if self.said <= {entry["update_id"] for entry in log if entry["status"] == 200}:
            return True
        await self._control.advance(1)
        return False

    async def over(self) -> bool:
        """Everything accepted is handled, everything queued has left, the run is done."""
        running = await rows(
            self._database, "SELECT count(*) FROM campaign_run WHERE state NOT IN ('finished', 'cancelled')"
        )
        return running[0][0] == 0 and await drained(self._database)
