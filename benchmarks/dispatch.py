"""`dispatch`: a campaign's messages by gate, template, message row, marks and settle, beside a bare aiohttp client.

At full speed four bots send at once (each is paced at 1,000 a second); then one bot at its own cap, against a platform
that answers 429 to whatever comes above it. Measured between a fifth and nine tenths of the messages, so that neither
the first people of a run, whose outcomes are waited for, nor the last ones count.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection

from benchmarks import loading, population, world
from benchmarks.calibration import calibrated
from benchmarks.children import Child, child
from benchmarks.machine import cores
from benchmarks.options import Options
from benchmarks.rows import Row, measured
from campaigns import drafts, runs
from campaigns.drafts import Draft
from storage.database import scalar_int

BOTS = 4
PEOPLE = 2_000  # of each bot in one round at full speed
LEAST_SHARE = 0.70
CAP_SHARE = 0.97
CORE_SHARE = 50.0  # percent at 1,000 a second
TEXT = "Ciao {{ contact.first_name }}, domani siamo aperti fino alle 20: la focaccia è per te."
FIRST = 1_000_000


@dataclass
class _Measured:
    """One window of a running campaign."""

    per_s: float
    cpu_us: float
    busy: float
    refused: int


@dataclass
class _Rounds:
    full: list[_Measured] = field(default_factory=list)
    bare_us: list[float] = field(default_factory=list)
    bare_per_s: list[float] = field(default_factory=list)


async def run(options: Options) -> list[Row]:
    """Full speed, then the two caps."""
    folder = options.folder / "dispatch"
    async with calibrated(folder / "echo") as calibration:
        rounds = await _full_speed(options, folder)
        slow = await _capped(
            options, folder / "cap-30", cap=30, people=180 if options.scale == 1 else 60, times=1
        )
        fast = await _capped(
            options,
            folder / "cap-1000",
            cap=1_000,
            people=options.amount(3_000, least=1_000),
            times=options.rounds,
        )
        await calibration.echo()
    rows = [
        measured(
            "campaign messages per second at full speed", [one.per_s for one in rounds.full], "messages/s"
        ),
        measured(
            "CPU per campaign message at full speed",
            [one.cpu_us for one in rounds.full],
            "µs",
            ratios=[bare / one.cpu_us for one, bare in zip(rounds.full, rounds.bare_us, strict=True)],
            against="of the bare client's rate per CPU",
            ratio_at_least=LEAST_SHARE,
            budget=f"≥ {LEAST_SHARE:.0%} of the bare client",
        ),
        measured("CPU per message of a bare aiohttp client", rounds.bare_us, "µs"),
        measured("messages per second of a bare aiohttp client", rounds.bare_per_s, "messages/s"),
    ]
    for cap, windows in ((30, slow), (1_000, fast)):
        rows.append(
            measured(
                f"rate at a cap of {cap:,}/s",
                [one.per_s for one in windows],
                "messages/s",
                at_least=cap * CAP_SHARE,
                budget=f"≥ {CAP_SHARE:.0%} of the cap",
            )
        )
        rows.append(
            measured(
                f"429 of our own making at a cap of {cap:,}/s",
                [float(one.refused) for one in windows],
                "answers",
                at_most=0,
                budget="none",
            )
        )
    limit = CORE_SHARE * calibration.scale
    rows.append(
        measured(
            "share of a core at 1,000/s",
            [one.busy for one in fast],
            "%",
            at_most=limit,
            budget=f"≤ 50 %, here {limit:.0f} %",
        )
    )
    rows.append(measured("bare echo beside dispatch", [statistics.median(calibration.echo_us)], "µs"))
    return rows


async def _full_speed(options: Options, folder: Path) -> _Rounds:
    rounds = _Rounds()
    served, other = cores()
    people = options.amount(PEOPLE, least=300)
    here = await world.prepare(folder, bots=BOTS, flow=False, bulk_per_second=1_000)
    await _populate(here, people)
    async with child(["benchmarks.serving", "answers", "0"], core=other, folder=folder / "api") as platform:
        settings = here.environment(PUBLIC_URL="", TELEGRAM_API_URL=f"http://127.0.0.1:{platform.port}")
        roles = ["worker", "sender", "scheduler"]
        app = child(
            ["benchmarks.serving", "app", *roles], core=served, folder=folder / "app", environment=settings
        )
        async with app as server:
            await _campaign(here, server, platform, people)  # warm
            for _ in range(options.rounds):
                url = f"http://127.0.0.1:{platform.port}/bot{world.token(9)}/sendMessage"
                count = people * BOTS
                sends = ["benchmarks.serving", "sends", url, str(count)]
                async with child(sends, core=served, folder=folder / "bare") as bare:
                    rounds.bare_us.append(float(bare.ready["cpu_s"]) / count * 1e6)
                    rounds.bare_per_s.append(count / float(bare.ready["elapsed_s"]))
                rounds.full.append(await _campaign(here, server, platform, people))
    return rounds


async def _capped(options: Options, folder: Path, *, cap: int, people: int, times: int) -> list[_Measured]:
    served, other = cores()
    here = await world.prepare(folder, flow=False, bulk_per_second=cap)
    await _populate(here, people)
    async with child(
        ["benchmarks.serving", "answers", str(cap)], core=other, folder=folder / "api"
    ) as platform:
        settings = here.environment(PUBLIC_URL="", TELEGRAM_API_URL=f"http://127.0.0.1:{platform.port}")
        roles = ["worker", "sender", "scheduler"]
        app = child(
            ["benchmarks.serving", "app", *roles], core=served, folder=folder / "app", environment=settings
        )
        async with app as server:
            return [await _campaign(here, server, platform, people) for _ in range(times)]


async def _populate(here: world.Installation, people: int) -> None:
    async with world.opened(here.url) as database:
        for number, channel in enumerate(here.telegram):
            first = FIRST + number * people
            await database.write(
                lambda c, first=first, channel=channel: population.add(  # type: ignore[misc]
                    c, workspace=here.workspace, channel=channel, first=first, count=people, now=world.clock()
                )
            )


async def _campaign(here: world.Installation, server: Child, platform: Child, people: int) -> _Measured:
    """One campaign on every bot, from its start until everybody's outcome is known."""
    wanted = sum(population.mailable(people, FIRST + n * people) for n in range(len(here.telegram)))
    before = await loading.get_json(platform.port, "/count")
    started = await _start(here)

    async def sent() -> int:
        return (await loading.get_json(platform.port, "/count"))["sent"] - before["sent"]

    first = await world.until(sent, lambda n: n >= wanted * 0.2, "campaign messages")
    begun, cpu = time.perf_counter(), server.cpu_s()
    last = await world.until(sent, lambda n: n >= wanted * 0.9, "campaign messages")
    elapsed, used = time.perf_counter() - begun, server.cpu_s() - cpu
    await _all_known(here, started, wanted)
    refused = (await loading.get_json(platform.port, "/count"))["refused"] - before["refused"]
    return _Measured((last - first) / elapsed, used / (last - first) * 1e6, used / elapsed * 100, refused)


async def _start(here: world.Installation) -> list[int]:
    def start(connection: Connection) -> list[int]:
        started = []
        for channel in here.telegram:
            draft = Draft(name="Tomorrow", channel_id=channel, content={"it": TEXT})
            campaign = drafts.create(connection, here.workspace, draft, new_id=here.new_id, now=world.clock())
            started.append(
                runs.start(connection, here.workspace, campaign, new_id=here.new_id, now=world.clock())
            )
        return started

    async with world.opened(here.url) as database:
        return await database.write(start)


async def _all_known(here: world.Installation, started: list[int], wanted: int) -> None:
    """Everybody's row says sent: what is not recorded was not dispatched."""
    known = f"SELECT count(*) FROM recipient WHERE state = 2 AND run_id IN ({', '.join(map(str, started))})"
    async with world.opened(here.url) as database:
        await world.until(
            lambda: database.read(lambda c: scalar_int(c, known)), lambda n: n == wanted, "recipients sent"
        )
