"""A schedule's date under kill -9: the server ends between two slices of people, and everybody still starts once."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from bot import flow_store
from bot.schedules import SLICE
from config.bootstrap import App, build
from config.settings import Settings
from storage.database import Database, rows_of
from tests.faults import load
from tests.support.processes import Server, Simulators
from tests.support.run import Run
from tests.support.town import until

CASES = ("scheduler.after_schedule:2",)
PEOPLE = 2 * SLICE + 100
FLOW = """
flow: daily
triggers: [{schedule: daily, at: "00:00"}]
start: mark
steps: {mark: {tag: [seen], next: end}}
"""
STARTED = "SELECT count(*) AS n, count(DISTINCT contact_id) AS people FROM flow_session"


def fill(connection: Connection, app: App) -> None:
    """A shop with many people who have written before, and a schedule that was due at midnight."""
    [channel] = connection.execute(text("SELECT id, workspace_id FROM channel ORDER BY id LIMIT 1")).all()
    new_id, now = app.runtime.new_id, app.clock()
    flow_store.publish(
        connection, workspace_id=channel.workspace_id, source=FLOW, name="daily", new_id=new_id, now=now
    )
    for number in range(PEOPLE):
        values = {
            "w": channel.workspace_id,
            "ch": channel.id,
            "now": now,
            "n": f"{number}",
            "slot": number % 4096,
        }
        values |= {"contact": new_id(), "identity": new_id(), "conversation": new_id()}
        for statement in (
            "INSERT INTO contact (id, workspace_id, name, first_name, last_name, fields, source, created_at, "
            "updated_at) VALUES (:contact, :w, '', '', '', '{}', '', :now, :now)",
            "INSERT INTO identity (id, workspace_id, channel_id, contact_id, kind, address, display_name, state, "
            "marketing_day, marketing_count, salt, created_at) VALUES (:identity, :w, :ch, :contact, "
            "'telegram_user', :n, '', 'reachable', 0, 0, '', :now)",
            "INSERT INTO conversation (id, workspace_id, channel_id, conversation_key, intake_key, slot, identity_id, "
            "contact_id, address, place, status, assignee, session_id, question_id, version, last_message_at, "
            "created_at) VALUES (:conversation, :w, :ch, :n, :n, :slot, :identity, :contact, :n, 'private', 'bot', '', "
            "0, 0, 0, :now, :now)",
        ):
            connection.execute(text(statement), values)
    connection.execute(
        text("UPDATE flow_schedule SET due_at = 1, cursor = :cursor"), {"cursor": '{"date":"2026-01-01"}'}
    )


@pytest.mark.parametrize("crash_at", CASES)
async def test_everybody_starts_once(crash_at: str, run: Run, tmp_path: Path) -> None:
    """Killed after a slice was committed and nobody was woken for it."""
    folder = tmp_path / "data"
    await load.prepare_mirror(folder)
    url = f"sqlite:///{folder / 'passaparola.sqlite3'}"
    async with build(Settings(data_dir=folder, database_url=url, _env_file=None), roles=()) as app:
        await app.database.write(lambda connection: fill(connection, app))
    async with Simulators(run, tmp_path, load.SEED) as simulators:
        server = Server(run, folder, simulators.origin)
        async with server:
            child = await server.start(crash_at=crash_at)
            assert await child.ended(within_s=30) == 137
            await server.start()
            database = await Database.open(url)

            async def all_started() -> bool:
                rows = await database.read(lambda c: list(rows_of(c, STARTED, {})))
                return int(rows[0].people) >= PEOPLE

            await until(all_started, "everybody has started", within_s=60)
            [row] = await database.read(lambda c: list(rows_of(c, STARTED, {})))
            [left] = await database.read(lambda c: list(rows_of(c, "SELECT cursor FROM flow_schedule", {})))
            await database.close()
            assert (row.n, row.people) == (PEOPLE, PEOPLE)
            assert '"after"' not in left.cursor, "it waits for the next date"
