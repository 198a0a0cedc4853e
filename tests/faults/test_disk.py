"""The disk is full, or somebody else holds the file: told honestly, nothing acknowledged is lost, and it passes by
itself when there is room again, without a restart."""

from __future__ import annotations

import asyncio
import resource
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import Engine, event

from domain import ids
from storage.database import Database, rows_of
from tests.faults import load
from tests.faults.conftest import Counted
from tests.faults.test_kill import drained, opened, rows
from tests.support import checker
from tests.support.posting import MIRROR, Poster
from tests.support.processes import Server, Simulators
from tests.support.run import Run
from tests.support.town import Town, until

FIRST = 5_000_000
ROOM = 12  # pages of 4 kB that are still there when the disk "gets full"


class Disk:
    """How large a SQLite file may become: for every connection of this process, those made later as well."""

    def __init__(self) -> None:
        self.pages = 0  # 0: as many as it likes

    def prepare(self, connection: Any, _record: Any) -> None:
        if self.pages:
            connection.execute(f"PRAGMA max_page_count={self.pages}")


@contextmanager
def watched_disk() -> Iterator[Disk]:
    disk = Disk()
    event.listen(Engine, "connect", disk.prepare)
    try:
        yield disk
    finally:
        event.remove(Engine, "connect", disk.prepare)


async def test_a_full_disk_is_told_and_passes(tmp_path: Path, counted: Counted) -> None:
    """PRAGMA max_page_count: 503 with Retry-After and no 200 without a row; reading goes on; then all of it arrives."""
    with watched_disk() as disk:
        async with Town(tmp_path, f"sqlite:///{tmp_path / 'town.sqlite3'}") as town:
            channel = await town.telegram()
            await town.publish(MIRROR, "mirror")
            people = town.crowd(FIRST, 40)
            async with Poster(town.webhook(channel)) as poster:
                for person in people[:5]:
                    assert (await poster.say(person, "ciao")).status == 200
                await town.settle()
                disk.pages = await town.value("PRAGMA page_count") + ROOM
                await town.app.database.write(
                    lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={disk.pages}")
                )
                refused = [(person, text) for person in people for text in ("uno " * 700, "due " * 700)]
                held: list[tuple[int, bytes]] = []
                for person, text in refused:
                    update_id, body = poster.update(person, text)
                    answered = await poster.post(update_id, body)
                    assert answered.status in (200, 503), answered
                    if answered.status == 503:
                        assert float(answered.retry_after) >= 1
                        held.append((update_id, body))
                assert len(held) >= 20
                known = await town.value("SELECT count(*) FROM seen")
                assert known >= sum(one.status == 200 for one in poster.answers)
                await _still_readable(town.app.base_url, town)
                disk.pages = 0
                await town.app.database.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count=4294967294"))
                freed = time.monotonic()
                for one in held:
                    await poster.insist(*one)
                recovered = time.monotonic() - freed
                await town.settle()
                await _as_promised(town.app.database, await town.simulators.log() + poster.log, 85)
                assert await town.value("PRAGMA integrity_check") == "ok"
                counted(
                    "disk full by max_page_count",
                    accepted=known,
                    refused=len(held),
                    recovered_s=round(recovered, 2),
                )


async def _still_readable(base_url: str, town: Town) -> None:
    for path, status in (("/healthz", 200), ("/readyz", 200), ("/console/", 200), ("/metrics", 200)):
        async with town.app.session.get(base_url + path) as response:
            assert response.status == status, (path, response.status, await response.text())


async def _as_promised(database: Database, log: list[dict[str, Any]], messages: int) -> None:
    history = checker.History(
        log=log, rows=await database.read(lambda c: checker.load(lambda sql: rows_of(c, sql)))
    )
    verdict = checker.check(history)
    assert not verdict.problems, "\n".join(verdict.problems[:20])
    assert verdict.counts["turns"] == messages


async def test_a_full_disk_under_a_server_process(
    run: Run, prepared_mirror: Path, tmp_path: Path, counted: Counted
) -> None:
    """RLIMIT_FSIZE: no file of the process may grow. The same promises, and the process goes on when it may."""
    folder = tmp_path / "data"
    shutil.copytree(prepared_mirror, folder)
    audience = range(FIRST, FIRST + 30)
    async with (
        Simulators(run, tmp_path, load.crowd_seed(audience)) as simulators,
        Server(run, folder, simulators.origin) as server,
        opened(f"sqlite:///{folder / 'passaparola.sqlite3'}") as database,
    ):
        child = await server.start()
        [channel] = await rows(database, "SELECT id FROM channel WHERE kind = 'telegram'")
        url = f"{server.base_url}/webhooks/telegram/{ids.to_text('channel', channel.id)}"
        async with Poster(url) as poster:
            for person in audience[:5]:
                assert (await poster.say(person, "ciao")).status == 200
            wal = folder / "passaparola.sqlite3-wal"
            child.limit_files(wal.stat().st_size + 4_096 * ROOM)
            held: list[tuple[int, bytes]] = []
            for person in audience:
                update_id, body = poster.update(person, "uno " * 700)
                answered = await poster.post(update_id, body)
                assert answered.status in (200, 503), answered
                if answered.status == 503:
                    held.append((update_id, body))
            assert len(held) >= 10
            # A commit that failed over its last bytes may stand all the same: it comes again and is known.
            known = (await rows(database, "SELECT count(*) FROM seen"))[0][0]
            assert known >= sum(one.status == 200 for one in poster.answers)
            async with aiohttp.ClientSession() as session:
                for path in ("/healthz", "/readyz", "/console/"):
                    async with session.get(server.base_url + path) as response:
                        assert response.status == 200, (path, response.status)
            child.limit_files(resource.RLIM_INFINITY)
            freed = time.monotonic()
            for one in held:
                await poster.insist(*one)
            recovered = time.monotonic() - freed
            await until(lambda: drained(database), "everything handled and sent")
            assert child.status is None
            await _as_promised(database, await simulators.control.log() + poster.log, 35)
            assert (await rows(database, "PRAGMA integrity_check"))[0][0] == "ok"
    counted("disk full by RLIMIT_FSIZE", accepted=known, refused=len(held), recovered_s=round(recovered, 2))


async def test_a_file_that_somebody_else_holds(tmp_path: Path, counted: Counted) -> None:
    """BEGIN EXCLUSIVE for 3 s: all are answered 200 within 5 s; for longer: 503 after 5 s; then all arrive, once."""
    async with Town(tmp_path, f"sqlite:///{tmp_path / 'town.sqlite3'}") as town:
        channel = await town.telegram()
        await town.publish(MIRROR, "mirror")
        people = town.crowd(FIRST, 30)
        async with Poster(town.webhook(channel)) as poster:
            with _holding(tmp_path / "town.sqlite3", 3.0):
                first = await asyncio.gather(*(poster.say(person, "uno") for person in people))
            assert {one.status for one in first} == {200}
            assert max(one.ms for one in first) < 5_000
            await town.settle()
            with _holding(tmp_path / "town.sqlite3", 6.0):
                updates = [poster.update(person, "due") for person in people]
                second = await asyncio.gather(*(poster.post(*one) for one in updates))
                async with town.app.session.get(town.app.base_url + "/readyz") as response:
                    assert response.status == 200  # readers do not wait for a writer
            assert {one.status for one in second} == {503}
            assert all(one.retry_after for one in second)
            assert max(one.ms for one in second) < 6_500
            for one in updates:
                await poster.insist(*one)
            await town.settle()
            await _as_promised(town.app.database, await town.simulators.log() + poster.log, 60)
            counted("file held by another process", taken=len(first), sent_away=len(second))


@pytest.fixture(scope="module")
def prepared_mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the bot and the mirror; copied for each test."""
    folder = tmp_path_factory.mktemp("prepared-mirror")
    asyncio.run(load.prepare_mirror(folder))
    return folder


@contextmanager
def _holding(file: Path, seconds: float) -> Iterator[None]:
    """Another program has the file to itself for so long."""
    held = threading.Event()

    def hold() -> None:
        connection = sqlite3.connect(file, isolation_level=None, timeout=5)
        connection.execute("BEGIN EXCLUSIVE")
        held.set()
        time.sleep(seconds)
        connection.execute("COMMIT")
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    try:
        yield
    finally:
        thread.join()
