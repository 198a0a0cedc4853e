"""The parts that a measurement is made of do what they say; how fast they are is not asked here."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml

from benchmarks import __main__ as command
from benchmarks import engine, history, loading, population, start, world
from benchmarks.accept import updates
from benchmarks.calibration import fixed_work
from benchmarks.options import Options
from benchmarks.serving import Answering, Counted
from bot.channels.base import channel_of
from domain.events import MessageReceived
from flows import compiler, document
from storage.database import scalar_int


def test_every_measurement_is_a_file_with_a_run() -> None:
    """What the command offers can be imported."""
    for name in command.NAMES:
        module = __import__(f"benchmarks.{name}", fromlist=["run"])
        assert asyncio.iscoroutinefunction(module.run)


def test_an_unknown_name_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, and the names that there are."""
    monkeypatch.setattr("sys.argv", ["benchmarks", "speed"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert "pipeline" in capsys.readouterr().err


def test_quick_makes_less_of_everything() -> None:
    """A tenth, but never less than is needed to see something."""
    quick = Options(Path(), scale=0.1)
    assert (quick.amount(4_000, least=500), quick.amount(10_000)) == (500, 1_000)


def test_the_form_is_walked_to_its_end() -> None:
    """Five turns, as the person of `pipeline` takes them."""
    form = compiler.compile(document.load(world.FORM.read_text(), "form.yaml"), 1)
    assert engine._walk(form) == 5
    assert len(yaml.safe_load(world.FORM.read_text())["steps"]) == 6


def test_the_long_turn_has_a_hundred_steps() -> None:
    """And ends by itself."""
    flow = compiler.compile(document.load(engine._long(), "long"), 1)
    assert len(flow.document.steps) == engine.LONG
    engine._turn(flow)


def test_the_bucket_refuses_what_is_above_its_rate() -> None:
    """One second's worth passes at once; then it is full."""
    counted = Counted(50)
    taken = sum(counted.take() for _ in range(200))
    assert 50 <= taken < 200
    assert counted.sent + counted.refused == 200
    assert all(Counted(0).take() for _ in range(1_000))


async def test_load_is_answered_and_counted() -> None:
    """Requests of several connections reach a server whole, and its answers are told apart by status."""
    counted = Counted(0)
    server = await asyncio.get_running_loop().create_server(lambda: Answering(counted), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    fired = await loading.fire(port, [loading.request("/bot1/sendMessage", b"{}")] * 50, connections=4)
    assert (fired.accepted, len(fired.times_ms)) == (50, 50)
    assert await loading.get_json(port, "/count") == {"sent": 50, "refused": 0}
    server.close()


def test_percentiles() -> None:
    """The value below which the share lies."""
    assert loading.percentile(list(range(100)), 0.99) == 99
    assert loading.percentile([5.0], 0.5) == 5.0


def test_the_fixed_work_takes_time() -> None:
    """It measures something."""
    assert fixed_work() > 0


def test_imports_are_summed_from_the_report(tmp_path: Path) -> None:
    """Only the first column counts: the second one holds what others have counted already."""
    report = tmp_path / "imports.log"
    report.write_text(
        "import time: self [us] | cumulative | imported package\n"
        "import time:       300 |        300 |   zipimport\n"
        "import time:      1200 |       1500 | site\n"
        "something else\n"
    )
    assert start._counted_s(report) == pytest.approx(0.0015)


async def test_an_installation_is_ready_for_a_server(tmp_path: Path) -> None:
    """Migrated, with its channels; the load's updates are messages, and people can be asked for by a campaign."""
    here = await world.prepare(tmp_path, bots=2)
    first = updates(here, 2, first=7, people=2)[0]
    assert first.startswith(here.path("telegram", here.telegram[0]).join(["POST ", " HTTP"]).encode())
    events = channel_of("telegram").parse(first.partition(b"\r\n\r\n")[2])
    assert [type(event) for event in events] == [MessageReceived]
    async with world.opened(here.url) as database:
        await database.write(
            lambda c: population.add(
                c, workspace=here.workspace, channel=here.telegram[0], first=1_000, count=24, now=1
            )
        )
        assert await database.read(lambda c: scalar_int(c, "SELECT count(*) FROM channel")) == 3
        mailable = "SELECT count(*) FROM consent_state WHERE mailable = 1"
        assert await database.read(lambda c: scalar_int(c, mailable)) == population.mailable(24, 1_000) == 22
    assert here.environment(LOG_LEVEL="debug")["PASSAPAROLA_LOG_LEVEL"] == "debug"


async def test_people_have_left_a_conversation_behind(tmp_path: Path) -> None:
    """In several calls, each person once, and nothing of it old enough to be swept away by the server."""
    here = await world.prepare(tmp_path)
    given = {"workspace": here.workspace, "channel": here.telegram[0], "now": world.clock()}
    async with world.opened(here.url) as database:
        for first in (1_000, 1_030):
            await database.write(lambda c, first=first: population.add(c, first=first, count=30, **given))  # type: ignore[misc]
            await database.write(lambda c, first=first: history.add(c, first=first, count=30, **given))  # type: ignore[misc]
        for table in (
            "conversation",
            "flow_session",
            "turn",
            "message",
            "timeline_entry",
            "identity_key",
            "seen",
        ):
            rows = await database.read(lambda c, table=table: scalar_int(c, f"SELECT count(*) FROM {table}"))  # type: ignore[misc]
            assert rows == 60, table
        youngest = await database.read(lambda c: scalar_int(c, "SELECT min(seen_at) FROM seen"))
        assert youngest > given["now"] - 2 * history.DAY_MS
        joined = (
            "SELECT count(*) FROM message m JOIN conversation c ON c.id = m.conversation_id "
            "AND c.contact_id = m.contact_id"
        )
        assert await database.read(lambda c: scalar_int(c, joined)) == 60
