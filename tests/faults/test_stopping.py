"""Ends that are asked for, and starts that are refused: SIGTERM under load, a second server, an unknown crash point."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from pathlib import Path

import pytest

from simulators.control import SimulatorControl
from tests.faults import load
from tests.faults.test_kill import come_through, connected, history_of, opened, rows
from tests.support import checker
from tests.support.processes import Server, Simulators
from tests.support.run import Run
from tests.support.town import until


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that is ready to serve; copied for each test."""
    folder = tmp_path_factory.mktemp("prepared")
    asyncio.run(load.prepare(folder))
    return folder


async def test_stopped_and_started_again_and_again_under_load(
    run: Run, prepared: Path, tmp_path: Path
) -> None:
    """Two stops by SIGTERM in the middle of everything: status 0 within 25 s, leases given back, nothing unknown."""
    folder = tmp_path / "data"
    shutil.copytree(prepared, folder)
    async with (
        Simulators(run, tmp_path, load.SEED) as simulators,
        Server(run, folder, simulators.origin) as server,
        opened(f"sqlite:///{folder / 'passaparola.sqlite3'}") as database,
    ):
        control = simulators.control
        await load.settle_in(control)
        await control.latency("telegram", 30)  # so that requests are on the wire when the signal comes
        child = await server.start()
        assert await connected(control, child)
        begun = await load.begin(control)
        for restart in range(2):
            sent = (await control.counters()).get("telegram.messages", 0)
            await until(lambda sent=sent: _more(control, sent), "messages flow")  # type: ignore[misc]
            child.send(signal.SIGTERM)
            asked = time.monotonic()
            assert await child.ended(within_s=25) == 0, (restart, child.printed[-4000:])
            assert time.monotonic() - asked < 25
            assert await rows(database, "SELECT id FROM outbox WHERE state = 3") == []
            assert await rows(database, "SELECT name FROM lease WHERE owner <> '' OR expires_at <> 0") == []
            await control.freeze()
            child = await server.start()
            await control.unfreeze()
        await come_through(control, database, begun, retries_s=22)
        history = await history_of(control, database, begun, set())
    verdict = checker.check(history)
    assert not verdict.problems, "\n".join(verdict.problems)
    assert (verdict.unknown, verdict.counts["possibly twice"]) == ([], 0)


async def _more(control: SimulatorControl, sent: int) -> bool:
    return int((await control.counters()).get("telegram.messages", 0)) > sent + 5


@pytest.mark.chaos
async def test_a_platform_that_never_answers_does_not_hold_up_a_stop(
    run: Run, prepared: Path, tmp_path: Path
) -> None:
    """Requests hang when the signal comes: they get their 20 s, then the process ends; what they did is in doubt."""
    shutil.copytree(prepared, tmp_path / "data")
    async with (
        Simulators(run, tmp_path, load.SEED) as simulators,
        Server(run, tmp_path / "data", simulators.origin) as server,
        opened(f"sqlite:///{tmp_path / 'data' / 'passaparola.sqlite3'}") as database,
    ):
        control = simulators.control
        await load.settle_in(control)
        await control.fault("telegram", "hang", method="sendMessage", times=3)
        child = await server.start()
        assert await connected(control, child)

        async def hanging() -> bool:
            return len(await rows(database, "SELECT id FROM outbox WHERE state = 3")) >= 3

        await until(hanging, "three requests hang")
        child.send(signal.SIGTERM)
        asked = time.monotonic()
        assert await child.ended(within_s=30) == 0, child.printed[-4000:]
        assert time.monotonic() - asked < 25
        left = await rows(
            database,
            "SELECT m.message_class, m.outlet_id, m.status FROM message m "
            "LEFT JOIN outbox o ON o.id = m.id WHERE o.state = 3 OR m.possibly_twice = 1 OR m.status = 'unknown'",
        )
        assert len(left) == 3
        for row in left:  # replies go once more, marked; a campaign's message and a post never do
            assert row.status != "unknown" or row.message_class == "marketing" or row.outlet_id, left


async def test_a_second_server_on_the_same_file_is_refused(run: Run, prepared: Path, tmp_path: Path) -> None:
    """A plain sentence that names the other process and the way out; the first one is not disturbed."""
    folder = tmp_path / "data"
    shutil.copytree(prepared, folder)
    async with (
        Server(run, folder, "http://127.0.0.1:9") as first,
        Server(run, folder, "http://127.0.0.1:9") as second,
    ):
        running = await first.start()
        refused = await second.start()
        assert await refused.ended() == 1
        for words in ("another Passaparola server", "PASSAPAROLA_DATA_DIR", str(folder)):
            assert words in refused.printed
        assert "Traceback" not in refused.printed
        assert running.status is None
        running.send(signal.SIGINT)
        assert await running.ended(within_s=25) == 0
        third = await second.start()
        assert third.status is None


async def test_a_taken_port_and_an_unknown_crash_point_are_refused(
    run: Run, prepared: Path, tmp_path: Path
) -> None:
    """Status 1 and one sentence each."""
    folder = tmp_path / "data"
    shutil.copytree(prepared, folder)
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    try:
        for setting, words in (
            ({"PASSAPAROLA_PORT": str(port)}, f"port {port} is already taken"),
            ({"PASSAPAROLA_CRASH_AT": "sender.after_lunch"}, "PASSAPAROLA_CRASH_AT"),
        ):
            async with Server(run, folder, "http://127.0.0.1:9", settings=setting) as server:
                child = server.launch()
                assert await child.ended() == 1, child.printed
                assert words in child.printed
                assert "Traceback" not in child.printed
    finally:
        taken.close()
        await taken.wait_closed()
