"""The peers and Passaparola on the same form, the same simulator and the same core, one after the other in each round.

All five programs run at once and wait; only one is asked at a time. Load, simulator, PostgreSQL and Redis have the
other core, so CPU is that of the program alone. Ours is fully durable (SQLite `synchronous=FULL`, PostgreSQL as it
ships); the peers keep conversations in memory, in a pickle written once a minute, or on Redis, and only the finished
contact is synced to SQLite. Four loads:

    saturation      400 people at once, as in `pipeline`, an API that answers at once
    50 steps/s      ten people a second, who think between their steps: nothing batches, latency is what counts
    10 steps/s      two people a second, of aiogram in memory and ours on PostgreSQL + Redis: code that runs cold, which
                    costs everybody more (decision 0032)
    50 ms           the API takes as long as over the internet: whoever waits for it one at a time, waits

What is compared is the ratio within a round; the verdict is on the median of the rounds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks import redis_server, world
from benchmarks.children import ROOT, Child, child
from benchmarks.machine import cores
from benchmarks.options import Options, Skipped
from benchmarks.rows import Row, measured
from benchmarks.script import CROWD, STEPS, WARM_S, Walk, walk, warm
from simulators.control import SimulatorControl

PYTHON = ROOT / ".venv" / "peers" / "bin" / "python"
HOW = "the libraries to compare with are not installed; `make peers` does it"

OURS, SCALED = "Passaparola on SQLite", "Passaparola on PostgreSQL + Redis"
PTB, MEMORY, REDIS = "python-telegram-bot", "aiogram in memory", "aiogram on Redis"
NAMES = (OURS, SCALED, PTB, MEMORY, REDIS)

# python-telegram-bot handles one update at a time: its steps a second do not depend on how many people wait (480 with
# 128 and with 400; at an API of 50 ms 13.6 with 8 and 13.3 with 64), so fewer walk, or its rounds would be most of all.
PEOPLE = {OURS: CROWD, SCALED: CROWD, PTB: 128, MEMORY: CROWD, REDIS: CROWD}
RATE = 50.0  # steps a second of the moderate load
RATE_S = 2.0
LOW_RATE = 10.0
LOW_PEOPLE = 3
API_MS = 50.0
API_PEOPLE = {OURS: 64, SCALED: 64, PTB: 4, MEMORY: 64, REDIS: 64}

LEAST_RATE = {PTB: 5.0, MEMORY: 2.5, REDIS: 4.0}
LEAST_RATE_SLOW_API = {PTB: 20.0}
MOST_P50 = {MEMORY: 2.0}
MOST_P99 = {MEMORY: 3.0}
MOST_COLD = 2.5  # decision 0032


@dataclass
class Seen:
    """What one program showed, by round."""

    full: list[Walk] = field(default_factory=list)
    paced: list[Walk] = field(default_factory=list)
    low: list[Walk] = field(default_factory=list)
    slow_api: list[Walk] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    def lost(self) -> list[float]:
        """People who waited in vain, by round."""
        rounds = zip(self.full, self.paced, self.slow_api, strict=True)
        return [float(sum(walk.lost for walk in walks)) for walks in rounds]


@dataclass(frozen=True)
class Contestant:
    """A running program and the bot that it answers for."""

    name: str
    token: str
    server: Child
    control: SimulatorControl

    async def walk(self, people: int, *, steps_per_s: float = 0) -> Walk:
        """So many people walk through its form. A peer may lose some, which is a row of its own; we may not."""
        ours = self.name in (OURS, SCALED)
        try:
            return await walk(
                self.control,
                self.server,
                self.token,
                people=people,
                steps_per_s=steps_per_s,
                may_lose=not ours,
            )
        except AssertionError as lost:
            raise AssertionError(f"{self.name}: {lost}") from lost


async def run(options: Options) -> list[Row]:
    """Raises Skipped where the peers are not installed."""
    if not PYTHON.exists():
        raise Skipped(HOW)
    seen = {name: Seen() for name in NAMES}
    async with (
        _simulator(options.folder / "peers") as (control, api),
        _contestants(options, control, api) as contestants,
    ):
        walks = [partial(one.walk, options.amount(PEOPLE[one.name], least=40)) for one in contestants]
        await warm(walks, seconds=WARM_S * options.scale)
        for _ in range(options.rounds):
            await _round(options, control, contestants, seen)
    return rows(seen)


async def _round(
    options: Options, control: SimulatorControl, contestants: Sequence[Contestant], seen: dict[str, Seen]
) -> None:
    paced = options.amount(int(RATE_S * RATE / STEPS), least=10)
    for one in contestants:
        seen[one.name].full.append(await one.walk(options.amount(PEOPLE[one.name], least=40)))
    for one in contestants:
        seen[one.name].paced.append(await one.walk(paced, steps_per_s=RATE))
    for one in contestants:
        if one.name in (SCALED, MEMORY):
            seen[one.name].low.append(await one.walk(LOW_PEOPLE, steps_per_s=LOW_RATE))
    await control.latency("telegram", API_MS)
    for one in contestants:
        seen[one.name].slow_api.append(await one.walk(API_PEOPLE[one.name]))
        seen[one.name].memory.append(one.server.resident_mb())
    await control.latency("telegram", 0)


def rows(seen: dict[str, Seen]) -> list[Row]:
    """Each program's figures, then ours beside each peer: ratios of the same round, some with a budget."""
    found: list[Row] = []
    for name, one in seen.items():
        found += [
            measured(f"steps per second at saturation, {name}", [w.per_s for w in one.full], "steps/s"),
            measured(f"CPU per 1,000 steps at saturation, {name}", [w.cpu_us for w in one.full], "ms"),
            measured(f"p50 of a reply at 50 steps/s, {name}", [w.p50_ms for w in one.paced], "ms"),
            measured(f"p99 of a reply at 50 steps/s, {name}", [w.p99_ms for w in one.paced], "ms"),
            measured(f"CPU per 1,000 steps at 50 steps/s, {name}", [w.cpu_us for w in one.paced], "ms"),
            measured(
                f"steps per second with an API of 50 ms, {name}", [w.per_s for w in one.slow_api], "steps/s"
            ),
            measured(f"memory, {name}", one.memory, "MB"),
            measured(f"people left without an answer, {name}", one.lost(), "people"),
        ]
    found += _cold(seen[SCALED], seen[MEMORY])
    for ours in (OURS, SCALED):
        for peer in (PTB, MEMORY, REDIS):
            found += beside(ours, seen[ours], peer, seen[peer], promised=ours == OURS)
    return found


def _cold(we: Seen, they: Seen) -> list[Row]:
    """Ours on PostgreSQL + Redis beside aiogram in memory, where both run cold."""
    return [
        *(
            measured(f"CPU per 1,000 steps at 10 steps/s, {name}", [w.cpu_us for w in one.low], "ms")
            for name, one in ((SCALED, we), (MEMORY, they))
        ),
        measured(
            f"CPU per step at 10 steps/s: {SCALED} ÷ {MEMORY}",
            ratios(we.low, they.low, lambda w: w.cpu_us),
            "×",
            at_most=MOST_COLD,
            budget=f"≤ {MOST_COLD:g} ×",
        ),
    ]


def beside(ours: str, we: Seen, peer: str, they: Seen, *, promised: bool) -> list[Row]:
    """Ours divided by the peer's, round by round. `promised`: the budgets count."""

    def row(
        what: str,
        values: Sequence[float],
        least: dict[str, float] | None = None,
        most: dict[str, float] | None = None,
    ) -> Row:
        at_least = least.get(peer) if least and promised else None
        at_most = most.get(peer) if most and promised else None
        bound = f"≥ {at_least:g} ×" if at_least else f"≤ {at_most:g} ×" if at_most else ""
        return measured(
            f"{what}: {ours} ÷ {peer}", values, "×", at_least=at_least, at_most=at_most, budget=bound
        )

    return [
        row("steps per second", ratios(we.full, they.full, lambda w: w.per_s), least=LEAST_RATE),
        row("CPU per step", ratios(we.full, they.full, lambda w: w.cpu_us)),
        row(
            "steps per second, API of 50 ms",
            ratios(we.slow_api, they.slow_api, lambda w: w.per_s),
            least=LEAST_RATE_SLOW_API,
        ),
        row("p50 at 50 steps/s", ratios(we.paced, they.paced, lambda w: w.p50_ms), most=MOST_P50),
        row("p99 at 50 steps/s", ratios(we.paced, they.paced, lambda w: w.p99_ms), most=MOST_P99),
        row("memory", [one / other for one, other in zip(we.memory, they.memory, strict=True)]),
    ]


def ratios(we: Sequence[Walk], they: Sequence[Walk], of: Callable[[Walk], float]) -> list[float]:
    """Ours divided by theirs in each round."""
    return [of(one) / of(other) for one, other in zip(we, they, strict=True)]


@asynccontextmanager
async def _simulator(folder: Path) -> AsyncIterator[tuple[SimulatorControl, str]]:
    arguments = ["simulators", "--print-url", "--no-limits", "--log-limit", "20000"]
    async with child(arguments, core=cores()[1], folder=folder / "simulators", plain_url=True) as running:
        api = f"http://127.0.0.1:{running.port}"
        async with SimulatorControl(api) as control:
            yield control, api


@asynccontextmanager
async def _contestants(
    options: Options, control: SimulatorControl, api: str
) -> AsyncIterator[list[Contestant]]:
    """All five, started one after the other, each with a bot of its own."""
    folder = options.folder / "peers"
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server.server(folder / "redis"))
        postgresql = await stack.enter_async_context(options.store("postgresql", "peers"))
        started: list[Contestant] = []
        for number, name in enumerate(NAMES):
            token = world.token(number)
            await control.telegram_bot(token, username=f"corner_bakery_{number}_bot")
            if name in (OURS, SCALED):
                settings = (
                    {"DATABASE_URL": postgresql, "REDIS_URL": f"{redis[:-1]}1"} if name == SCALED else {}
                )
                server = _ours(folder / f"ours-{number}", number, api, settings)
            else:
                server = _peer(name, folder / f"peer-{number}", token, api, redis if name == REDIS else "")
            started.append(Contestant(name, token, await stack.enter_async_context(server), control))
            await control.wait_for("call", method="setWebhook", timeout_s=30, token=token)
        yield started


@asynccontextmanager
async def _ours(folder: Path, number: int, api: str, settings: dict[str, str]) -> AsyncIterator[Child]:
    here = await world.prepare(folder, url=settings.get("DATABASE_URL", ""), first_bot=number)
    environment = here.environment(TELEGRAM_API_URL=api, **settings)
    app = child(
        ["benchmarks.serving", "app"], core=cores()[0], folder=folder / "app", environment=environment
    )
    async with app as server:
        yield server


@asynccontextmanager
async def _peer(name: str, folder: Path, token: str, api: str, redis: str) -> AsyncIterator[Child]:
    module = "benchmarks.peers.ptb_form" if name == PTB else "benchmarks.peers.aiogram_form"
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 (nothing else runs here meanwhile)
    given = [
        api,
        token,
        str(world.free_port()),
        world.WEBHOOK_SECRET,
        str(folder),
        *([redis] if redis else []),
    ]
    async with child([module, *given], core=cores()[0], folder=folder, python=PYTHON) as server:
        yield server
