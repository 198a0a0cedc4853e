"""`memory`: what the server holds after very many conversations have begun and now wait.

Each person writes once and is asked the form's first question by a platform that answers at once; then everything is
idle. What an idle conversation needs lies in the store, so memory may only grow by what buffers and caches took.
"""

from __future__ import annotations

from benchmarks import loading, world
from benchmarks.accept import updates
from benchmarks.children import Child, child
from benchmarks.machine import cores
from benchmarks.options import Options
from benchmarks.rows import Row, measured
from storage.database import scalar_int

CONVERSATIONS = 100_000
PART = 5_000  # begun at a time, then waited for, so that nobody is turned away
GROWTH_MB = 30.0
WARM = 500


async def run(options: Options) -> list[Row]:
    """One round: the growth over the first few hundred conversations, which open pools and fill caches."""
    folder = options.folder / "memory"
    served, other = cores()
    count = options.amount(CONVERSATIONS)
    async with child(["benchmarks.serving", "answers", "0"], core=other, folder=folder / "api") as platform:
        here = await world.prepare(folder)
        settings = here.environment(PUBLIC_URL="", TELEGRAM_API_URL=f"http://127.0.0.1:{platform.port}")
        async with child(
            ["benchmarks.serving", "app"], core=served, folder=folder / "app", environment=settings
        ) as app:
            await _converse(here, platform, first=1, count=WARM)
            before = app.resident_mb()
            for first in range(WARM + 1, WARM + 1 + count, PART):
                await _converse(here, platform, first=first, count=min(PART, WARM + 1 + count - first))
            await _all_wait(here, WARM + count)
            return _rows(app, before, count)


def _rows(app: Child, before: float, count: int) -> list[Row]:
    after = app.resident_mb()
    return [
        measured(f"memory after {WARM} conversations", [before], "MB"),
        measured(
            f"growth by {count:,} idle conversations",
            [after - before],
            "MB",
            at_most=GROWTH_MB,
            budget=f"≤ {GROWTH_MB:.0f} MB",
        ),
    ]


async def _converse(here: world.Installation, platform: Child, *, first: int, count: int) -> None:
    """So many new people write, and each has got an answer."""
    before = (await loading.get_json(platform.port, "/count"))["sent"]
    fired = await loading.fire(here.port, updates(here, count, first=first, people=10**6))
    assert fired.accepted == count, f"not all were accepted: {dict(fired.statuses)}"

    async def answered() -> int:
        return (await loading.get_json(platform.port, "/count"))["sent"] - before

    await world.until(answered, lambda n: n >= count, "answers")


async def _all_wait(here: world.Installation, people: int) -> None:
    waiting = "SELECT count(*) FROM flow_session WHERE status = 'waiting'"
    async with world.opened(here.url) as database:
        await world.until(
            lambda: database.read(lambda c: scalar_int(c, waiting)),
            lambda n: n == people,
            "sessions that wait",
        )
