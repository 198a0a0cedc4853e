"""`accept`: a Telegram update verified, parsed, dropped if it was seen, in a synced row, and only then answered 200.

The server has its web role alone, so nothing but the acceptance is measured; the second row is the same delivery with
the worker handling it as well (no flow answers). Rounds alternate with the bare echo on the same core.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import loading, world
from benchmarks.calibration import Calibration, calibrated
from benchmarks.children import Child, child
from benchmarks.machine import cores
from benchmarks.options import Options
from benchmarks.rows import Row, measured
from storage.database import scalar_int

REQUESTS = 4_000  # of one round
LEAST_SHARE = {"sqlite": 0.55, "postgresql": 0.45}
_BODY = (
    '{{"update_id":{n},"message":{{"message_id":{n},"from":{{"id":{person},"is_bot":false,"first_name":"Anna",'
    '"last_name":"Rossi","username":"anna_example","language_code":"en"}},"chat":{{"id":{person},"first_name":"Anna",'
    '"last_name":"Rossi","username":"anna_example","type":"private"}},"date":{seconds},"reply_to_message":{{'
    '"message_id":3,"from":{{"id":110201543,"is_bot":true,"first_name":"Corner Bakery","username":"corner_bakery_bot"'
    '}},"chat":{{"id":{person},"first_name":"Anna","last_name":"Rossi","username":"anna_example","type":"private"}},'
    '"date":{seconds},"text":"Hello! We bake bread, focaccia and cakes every morning from six. What can we put aside '
    'for you today, and when would you like to come by?"}},"text":"Two loaves of rye bread and a small apple cake, '
    'please: I could be there at a quarter past five if that is early enough."}}}}'
)


def updates(here: world.Installation, count: int, *, first: int, people: int) -> list[bytes]:
    """Deliveries of some 900 bytes from so many people, one after the other."""
    seconds = world.clock() // 1000
    headers = {"X-Telegram-Bot-Api-Secret-Token": world.WEBHOOK_SECRET}
    path = here.path("telegram", here.telegram[0])
    return [
        loading.request(
            path, _BODY.format(n=n, person=7_000_000 + n % people, seconds=seconds).encode(), headers
        )
        for n in range(first, first + count)
    ]


async def run(options: Options) -> list[Row]:
    """Rows for each store that was asked for."""
    rows: list[Row] = []
    for store in options.stores:
        suffix = "" if store == "sqlite" else " on PostgreSQL"
        folder = options.folder / f"accept-{store}"
        async with calibrated(folder / "echo") as calibration:
            accepted = await _measure(options, store, f"accept-{store}", ["web"], calibration)
            handled = await _handled(options, store, calibration)
        share = LEAST_SHARE[store]
        rows += [
            measured(
                f"CPU per accepted update{suffix}",
                [used for used, _ in accepted],
                "µs",
                ratios=[echo / used for used, echo in accepted],
                against="of the echo's rate per CPU",
                ratio_at_least=share,
                budget=f"≥ {share:.0%} of the bare echo",
            ),
            *handled,
            measured(f"bare echo beside accept{suffix}", calibration.echo_us, "µs"),
        ]
    return rows


async def _handled(options: Options, store: str, calibration: Calibration) -> list[Row]:
    """For comparison and without a budget: on SQLite alone."""
    if store != "sqlite":
        return []
    handled = await _measure(options, store, f"handle-{store}", [], calibration)
    return [
        measured(
            "CPU per update accepted and handled without a flow",
            [used for used, _ in handled],
            "µs",
            ratios=[echo / used for used, echo in handled],
            against="of the echo's rate per CPU",
        )
    ]


async def _measure(
    options: Options, store: str, name: str, roles: list[str], calibration: Calibration
) -> list[tuple[float, float]]:
    """(CPU µs an update, CPU µs an echo) of each round."""
    folder = options.folder / name
    count = options.amount(REQUESTS, least=500)
    async with options.store(store, name) as url:
        here = await world.prepare(folder, url=url, flow=False)
        app = child(
            ["benchmarks.serving", "app", *roles],
            core=cores()[0],
            folder=folder / "app",
            environment=here.environment(PUBLIC_URL="", TELEGRAM_API_URL="http://127.0.0.1:9"),
        )
        found = []
        async with app as server:
            await _round(server, updates(here, 300, first=1, people=300), roles, here)
            for number in range(options.rounds):
                echo = await calibration.echo()
                requests = updates(here, count, first=1_000 + number * count, people=count)
                found.append((await _round(server, requests, roles, here), echo))
            if roles:
                await _nothing_lost(here, 300 + options.rounds * count)
    return found


async def _round(server: Child, requests: list[bytes], roles: list[str], here: world.Installation) -> float:
    before = server.cpu_s()
    fired = await loading.fire(here.port, requests)
    assert fired.accepted == len(requests), f"not all were accepted: {dict(fired.statuses)}"
    if not roles:
        await _until_handled(here)
    return (server.cpu_s() - before) / len(requests) * 1e6


async def _until_handled(here: world.Installation) -> None:
    await _until(here, "SELECT count(*) FROM intake WHERE state = 0", lambda left: left == 0)


async def _nothing_lost(here: world.Installation, accepted: int) -> None:
    await _until(here, "SELECT count(*) FROM intake", lambda rows: rows == accepted)


async def _until(here: world.Installation, sql: str, reached: Callable[[int], bool]) -> None:
    async with world.opened(here.url) as database:
        await world.until(lambda: database.read(lambda c: scalar_int(c, sql)), reached, sql)
