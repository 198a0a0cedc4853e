"""`growth`: what a step, a segment and a campaign cost with a thousand contacts, and with a million.

Stores of 1,000 … 1,000,000 contacts, each of whom has walked through the form before (`history`), stand side by side
with a server each; in every round the same number of new people walks through the form on one after the other. On the
largest one conversations are then measured quiet and while a campaign's recipients are made, and at last such a
campaign is dispatched to a platform that takes everything: a part of it, and with `--long` all of it.

`--long` also compares the smallest and the largest store on PostgreSQL.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, text

from benchmarks import history, loading, population, world
from benchmarks.audience import size_ms
from benchmarks.children import Child, child
from benchmarks.machine import cores
from benchmarks.options import Options
from benchmarks.rows import Row, measured
from benchmarks.script import STEPS, Walk, walk
from campaigns import drafts, runs
from campaigns.drafts import Draft
from simulators.control import SimulatorControl
from storage.database import scalar_int

SIZES = (1_000, 10_000, 100_000, 1_000_000)
BOTS = 4  # of every installation: a campaign goes over all of them, conversations over the first
PEOPLE = 150  # who walk through the form on every store in a round
STEP_RATIO = 1.2
RATE, RATE_S = 50.0, 2.5  # steps a second beside the making of recipients
P99_RATIO = 2.0
FIRST = 1_000_000
DISPATCH_S = 6.0  # of the part of the campaign that is measured
ALL_S = 3_600.0  # for the whole of it
TEXT = "Ciao {{ contact.first_name }}, domani siamo aperti fino alle 20: la focaccia è per te."
FAR = 1 << 50  # ms: a time that does not come


@dataclass
class Seen:
    """What one size showed, by round."""

    full: list[Walk] = field(default_factory=list)
    segment_ms: list[float] = field(default_factory=list)


@dataclass
class Beside:
    """Conversations on the largest store by round: quiet, and while recipients were made."""

    quiet: list[Walk] = field(default_factory=list)
    busy: list[Walk] = field(default_factory=list)
    made_s: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Dispatched:
    """The measured part of a campaign."""

    messages: int
    elapsed_s: float
    cpu_s: float


@dataclass(frozen=True)
class _Store:
    here: world.Installation
    size: int
    first_bot: int

    @property
    def token(self) -> str:
        """Of the bot that conversations go over."""
        return world.token(self.first_bot)


async def run(options: Options) -> list[Row]:
    """On SQLite; with `--long` the smallest and the largest on PostgreSQL as well."""
    sizes = [options.amount(size) for size in SIZES]
    rows = await _grown(options, "sqlite", sizes)
    if options.long:
        rows += await _grown(options, "postgresql", [sizes[0], sizes[-1]])
    return rows


async def _grown(options: Options, kind: str, sizes: Sequence[int]) -> list[Row]:
    folder = options.folder / f"growth-{kind}"
    seen = {size: Seen() for size in sizes}
    beside = Beside()
    async with AsyncExitStack() as kept:
        stores = [
            await _filled(options, kept, kind, folder, size, BOTS * number)
            for number, size in enumerate(sizes)
        ]
        async with _simulator(folder) as control, _servers(control, stores) as servers:
            for store in stores:  # warm
                await walk(control, servers[store.size], store.token, people=20)
            for _ in range(options.rounds):
                for store in stores:
                    people = options.amount(PEOPLE, least=50)
                    found = await walk(control, servers[store.size], store.token, people=people)
                    seen[store.size].full.append(found)
                    async with world.opened(store.here.url) as database:
                        seen[store.size].segment_ms.append(await size_ms(database, store.here.workspace))
            for _ in range(options.rounds):
                await _beside_recipients(options, control, servers[sizes[-1]], stores[-1], beside)
        dispatched = await _dispatched(options, stores[-1])
    suffix = "" if kind == "sqlite" else " on PostgreSQL"
    return [
        *step_rows(seen, suffix),
        *beside_rows(beside, sizes[-1], suffix),
        *dispatch_rows(dispatched, sizes[-1], suffix),
    ]


def step_rows(seen: Mapping[int, Seen], suffix: str) -> list[Row]:
    """CPU of a step at each size, beside that at the smallest in the same round; and what a segment's size takes."""
    smallest, largest = min(seen), max(seen)
    first = [w.cpu_us for w in seen[smallest].full]
    rows = []
    for size, one in seen.items():
        cpu = [w.cpu_us for w in one.full]
        rows.append(
            measured(
                f"CPU per step at {size:,} contacts and old messages{suffix}",
                cpu,
                "µs",
                ratios=[used / other for used, other in zip(cpu, first, strict=True)],
                against=f"that at {smallest:,}",
                ratio_at_most=STEP_RATIO if size == largest else None,
                budget=f"≤ {STEP_RATIO} × that at {smallest:,}" if size == largest else "",
            )
        )
    rows += [
        measured(f"size of a segment beside conversations at {size:,}{suffix}", one.segment_ms, "ms")
        for size, one in seen.items()
    ]
    return rows


def beside_rows(beside: Beside, size: int, suffix: str) -> list[Row]:
    """How conversations fare while a campaign's recipients are made."""
    quiet, busy = [w.p99_ms for w in beside.quiet], [w.p99_ms for w in beside.busy]
    return [
        measured(f"p99 of a reply at 50 steps/s with {size:,} contacts, quiet{suffix}", quiet, "ms"),
        measured(
            f"p99 of a reply at 50 steps/s while recipients of {size:,} are made{suffix}",
            busy,
            "ms",
            ratios=[one / other for one, other in zip(busy, quiet, strict=True)],
            against="quiet",
            ratio_at_most=P99_RATIO,
            budget=f"≤ {P99_RATIO:g} × quiet",
        ),
        measured(f"recipients of {size:,} contacts made by a server in use{suffix}", beside.made_s, "s"),
    ]


def dispatch_rows(dispatched: Dispatched, size: int, suffix: str) -> list[Row]:
    """A part of the campaign, or all of it, and how long everybody who consented takes at that speed."""
    everybody = population.mailable(size, FIRST)
    per_s = dispatched.messages / dispatched.elapsed_s
    cpu_us = dispatched.cpu_s / dispatched.messages * 1e6
    return [
        measured(f"messages of it that were measured{suffix}", [float(dispatched.messages)], "messages"),
        measured(f"messages per second of a campaign to {size:,}{suffix}", [per_s], "messages/s"),
        measured(f"CPU per message of a campaign to {size:,}{suffix}", [cpu_us], "µs"),
        measured(
            f"all {everybody:,} of it at that speed (projected){suffix}", [everybody / per_s / 60], "min"
        ),
    ]


async def _filled(
    options: Options, kept: AsyncExitStack, kind: str, folder: Path, size: int, first_bot: int
) -> _Store:
    """A store of that size, its people in equal parts on every bot."""
    url = await kept.enter_async_context(options.store(kind, f"growth-{size}"))
    here = await world.prepare(
        folder / str(size), url=url, bots=BOTS, first_bot=first_bot, bulk_per_second=1_000
    )
    part = size // BOTS

    async with world.opened(url) as database:
        for number, channel in enumerate(here.telegram):
            begun = FIRST + number * part
            for start in range(begun, begun + part, population.SLICE):
                count = min(population.SLICE, begun + part - start)

                def people(
                    connection: Connection, start: int = start, count: int = count, channel: int = channel
                ) -> None:
                    given = {"workspace": here.workspace, "channel": channel, "now": world.clock()}
                    population.add(connection, first=start, count=count, **given)
                    history.add(connection, first=start, count=count, **given)

                await database.write(people, durable=False)
        await database.write(_analysed)
    return _Store(here, size, first_bot)


def _analysed(connection: Connection) -> None:
    """Both databases do this by themselves in time; here the rows have come at once."""
    connection.execute(text("ANALYZE"))


@asynccontextmanager
async def _simulator(folder: Path) -> AsyncIterator[SimulatorControl]:
    arguments = ["simulators", "--print-url", "--no-limits", "--log-limit", "20000"]
    async with (
        child(arguments, core=cores()[1], folder=folder / "simulators", plain_url=True) as running,
        SimulatorControl(f"http://127.0.0.1:{running.port}") as control,
    ):
        yield control


@asynccontextmanager
async def _servers(control: SimulatorControl, stores: Sequence[_Store]) -> AsyncIterator[dict[int, Child]]:
    """A server for each store, by its size."""
    async with AsyncExitStack() as stack:
        servers: dict[int, Child] = {}
        for store in stores:
            for number in range(store.first_bot, store.first_bot + BOTS):
                await control.telegram_bot(world.token(number), username=f"corner_bakery_{number}_bot")
            environment = store.here.environment(TELEGRAM_API_URL=control.base_url)
            servers[store.size] = await stack.enter_async_context(
                child(
                    ["benchmarks.serving", "app"],
                    core=cores()[0],
                    folder=store.here.folder / "app",
                    environment=environment,
                )
            )
            await control.wait_for("call", method="setWebhook", timeout_s=30, token=store.token)
        yield servers


async def _beside_recipients(
    options: Options, control: SimulatorControl, server: Child, store: _Store, beside: Beside
) -> None:
    """Quiet first; then the same walk begins with campaigns whose messages do not leave yet."""
    people = options.amount(int(RATE * RATE_S / STEPS), least=10)
    beside.quiet.append(await walk(control, server, store.token, people=people, steps_per_s=RATE))
    async with world.opened(store.here.url) as database:
        started = await database.write(lambda c: _start(c, store.here, held=True))
        listed = ", ".join(map(str, started))
        left = f"SELECT count(*) FROM campaign_run WHERE materialised = 0 AND id IN ({listed})"
        begun = time.perf_counter()
        beside.busy.append(await walk(control, server, store.token, people=people, steps_per_s=RATE))
        await world.until(
            lambda: database.read(lambda c: scalar_int(c, left)), lambda n: n == 0, "runs to be filled"
        )
        beside.made_s.append(time.perf_counter() - begun)
        await database.write(lambda c: _end(c, listed))


def _start(connection: Connection, here: world.Installation, *, held: bool) -> list[int]:
    """A campaign on every bot; `held`: nothing of it leaves."""
    started = []
    for channel in here.telegram:
        draft = Draft(name="Tomorrow", channel_id=channel, content={"it": TEXT}, rate=1 if held else None)
        campaign = drafts.create(connection, here.workspace, draft, new_id=here.new_id, now=world.clock())
        run_id = runs.start(connection, here.workspace, campaign, new_id=here.new_id, now=world.clock())
        if held:
            connection.execute(
                text("UPDATE campaign_run SET next_slot_at = :never WHERE id = :run"),
                {"never": FAR, "run": run_id},
            )
        started.append(run_id)
    return started


def _end(connection: Connection, runs_listed: str) -> None:
    """As if everybody had been written to: sweeping a million people would be measured with the next round."""
    connection.execute(text(f"UPDATE campaign_run SET state = 'finished' WHERE id IN ({runs_listed})"))
    connection.execute(text(f"UPDATE campaign SET state = 'finished' WHERE run_id IN ({runs_listed})"))


async def _dispatched(options: Options, store: _Store) -> Dispatched:
    """A server of its own on the largest store, and campaigns on all bots; measured once they are on their way."""
    here, folder = store.here, store.here.folder / "dispatch"
    wanted = population.mailable(store.size, FIRST)
    platform = child(["benchmarks.serving", "answers", "0"], core=cores()[1], folder=folder / "api")
    async with platform as api:
        environment = here.environment(PUBLIC_URL="", TELEGRAM_API_URL=f"http://127.0.0.1:{api.port}")
        arguments = ["benchmarks.serving", "app", "worker", "sender", "scheduler"]
        server = child(arguments, core=cores()[0], folder=folder / "app", environment=environment)
        async with server as app, world.opened(here.url) as database:
            await database.write(lambda c: _start(c, here, held=False))

            async def sent() -> int:
                return (await loading.get_json(api.port, "/count"))["sent"]

            first = await world.until(sent, lambda n: n >= wanted * 0.005, "the first campaign messages")
            begun, cpu = time.perf_counter(), app.cpu_s()
            if options.long:
                last = await world.until(sent, lambda n: n >= wanted, "the whole campaign", limit_s=ALL_S)
            else:
                ends = begun + DISPATCH_S
                last = await world.until(
                    sent, lambda n: n >= wanted or time.perf_counter() >= ends, "campaign messages"
                )
            return Dispatched(last - first, time.perf_counter() - begun, app.cpu_s() - cpu)
