"""`processes`: the form of `pipeline` with roles apart, on PostgreSQL and Redis: two worker processes beside one.

Two installations stand side by side: web, sender and scheduler in one process, and one or two workers. Nothing is
pinned: all processes, PostgreSQL and the simulators share the machine's cores, and every round walks both. A step costs
what all our processes spend on it; what PostgreSQL and the simulator spend, and how busy the cores are in all, tells
what the limit was: when the cores are full, a second worker cannot add anything on this machine.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import psutil

from benchmarks import machine, redis_server, world
from benchmarks.children import Child, child
from benchmarks.machine import cores
from benchmarks.options import Options
from benchmarks.rows import Row, measured
from benchmarks.script import Walk, walk
from simulators.control import SimulatorControl
from storage.database import Database, rows_of

PEOPLE = 120  # of one round
ROUNDS = 3  # two installations and seven processes: it is to end within a minute
FRONT = ("web", "sender", "scheduler")
SETTLE_S = 10.0  # for the workers to have their share of the lanes
Cpu = Callable[[], float]


@dataclass
class _Seen:
    """By round: the walk, and how much of one core each party used meanwhile, in per cent."""

    walks: list[Walk] = field(default_factory=list)
    ours_us: list[float] = field(default_factory=list)
    busy: dict[str, list[float]] = field(default_factory=dict)
    full: list[float] = field(
        default_factory=list
    )  # per cent of all cores, everything on the machine counted


@dataclass(frozen=True)
class _Served:
    token: str
    front: Child
    workers: Sequence[Child]
    database: Database
    seen: _Seen


async def run(options: Options) -> list[Row]:
    """Rows for one and two workers."""
    folder = options.folder / "processes"
    async with AsyncExitStack() as stack:
        simulated = await stack.enter_async_context(
            child(
                ["simulators", "--print-url", "--no-limits", "--log-limit", "20000"],
                core=cores()[1],
                folder=folder / "simulators",
                plain_url=True,
            )
        )
        machine.spread(simulated.pid)
        control = await stack.enter_async_context(SimulatorControl(f"http://127.0.0.1:{simulated.port}"))
        redis = await stack.enter_async_context(redis_server.server(folder / "redis"))
        served = [
            await stack.enter_async_context(_served(options, control, count, redis)) for count in (1, 2)
        ]
        for one in served:  # warm: connections, templates, statements
            await walk(control, one.front, one.token, people=20)
        for _ in range(min(options.rounds, ROUNDS)):
            for one in served:
                await _round(control, simulated, one, people=options.amount(PEOPLE, least=30))
    return rows(served[0].seen, served[1].seen)


@asynccontextmanager
async def _served(
    options: Options, control: SimulatorControl, workers: int, redis: str
) -> AsyncIterator[_Served]:
    folder, token = options.folder / f"processes-{workers}", world.token(workers)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(options.store("postgresql", f"processes-{workers}"))
        await control.telegram_bot(token, username=f"corner_bakery_{workers}_bot")
        here = await world.prepare(folder, url=url, first_bot=workers)
        # A database of Redis for each: signals of the one would wake the other.
        settings = here.environment(
            TELEGRAM_API_URL=control.base_url, REDIS_URL=f"{redis.rpartition('/')[0]}/{workers}"
        )

        async def process(name: str, *roles: str) -> Child:
            running = await stack.enter_async_context(
                child(
                    ["benchmarks.serving", "app", *roles],
                    core=cores()[0],
                    folder=folder / name,
                    environment=settings,
                )
            )
            machine.spread(running.pid)
            return running

        front = await process("front", *FRONT)
        await control.wait_for("call", method="setWebhook", timeout_s=30, token=token)
        working = [await process(f"worker-{n}", "worker") for n in range(workers)]
        database = await stack.enter_async_context(world.opened(url))
        await world.until(lambda: _owners(database), lambda n: n == workers, "workers", limit_s=SETTLE_S)
        yield _Served(token, front, working, database, _Seen())


async def _round(control: SimulatorControl, simulated: Child, one: _Served, *, people: int) -> None:
    backends = await _backends(one.database)
    for pid in backends:
        machine.spread(pid)
    parties: dict[str, Cpu] = {
        "web, sender": one.front.cpu_s,
        **{f"worker {n + 1}": worker.cpu_s for n, worker in enumerate(one.workers)},
        "PostgreSQL": lambda: sum(machine.cpu_s(pid) for pid in backends),
        "the simulator": simulated.cpu_s,
    }
    before = {name: cpu() for name, cpu in parties.items()}
    (all_before, idle_before), begun = _machine(), time.perf_counter()
    found = await walk(control, one.front, one.token, people=people)
    elapsed = time.perf_counter() - begun
    used = {name: cpu() - before[name] for name, cpu in parties.items()}
    ours = sum(spent for name, spent in used.items() if name == "web, sender" or name.startswith("worker"))
    one.seen.walks.append(found)
    one.seen.ours_us.append(ours / found.steps * 1e6)
    for name, spent in used.items():
        one.seen.busy.setdefault(name, []).append(spent / elapsed * 100)
    all_after, idle_after = _machine()
    one.seen.full.append((1 - (idle_after - idle_before) / max(all_after - all_before, 1e-9)) * 100)


def _machine() -> tuple[float, float]:
    """CPU seconds of all cores since the machine started: all of them, and those in which they had nothing to do."""
    times = psutil.cpu_times()
    return sum(times), times.idle


async def _backends(database: Database) -> list[int]:
    """The processes of the server that work for this database."""
    found = await database.read(
        lambda c: rows_of(c, "SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
    )
    return [row.pid for row in found]


async def _owners(database: Database) -> int:
    """How many processes own lanes."""
    found = await database.read(
        lambda c: rows_of(c, "SELECT DISTINCT owner FROM lease WHERE name LIKE 'lane:%' AND owner <> ''")
    )
    return len(found)


def rows(one: _Seen, two: _Seen) -> list[Row]:
    """Two workers are compared with one in the same round."""
    found: list[Row] = []
    for seen, name in ((one, "one worker process"), (two, "two worker processes")):
        against = "" if seen is one else "one worker"
        found += [
            measured(
                f"steps per second, {name}",
                [w.per_s for w in seen.walks],
                "steps/s",
                ratios=_ratios([w.per_s for w in seen.walks], [w.per_s for w in one.walks], against),
                against=against,
            ),
            measured(
                f"CPU per step, {name}",
                seen.ours_us,
                "µs",
                ratios=_ratios(seen.ours_us, one.ours_us, against),
                against=against,
            ),
            measured(f"p50 of a reply, {name}", [w.p50_ms for w in seen.walks], "ms"),
            *(measured(f"of a core, {party}, {name}", busy, "%") for party, busy in seen.busy.items()),
            measured(f"of all cores busy, {name}", seen.full, "%"),
        ]
    return found


def _ratios(values: Sequence[float], others: Sequence[float], against: str) -> list[float]:
    return [value / other for value, other in zip(values, others, strict=True)] if against else []
