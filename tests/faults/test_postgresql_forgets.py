"""A server that crashed forgets its last moment: results of sends that it had taken are recorded once more.

Results and the marks of replies are not fsynced. When the database's machine goes down while our process lives, a row
says `sending` though its message was sent and settled: nobody sends it again, and what became of it is still known.
"""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, text

from bot import channel_sender
from bot.results import Results
from simulators.control import SimulatorControl
from storage.database import rows_of
from tests.support.town import BOT, Town, until

MESSAGE = "status, status_rank, external_id, sent_at"


@pytest.mark.parametrize("remembered", [True, False])
async def test_a_settle_that_the_store_has_forgotten(
    any_town: Town, monkeypatch: pytest.MonkeyPatch, remembered: bool
) -> None:
    """With its result at hand the row ends as it had; without it a reply goes once more, marked "possibly twice"."""
    monkeypatch.setattr(channel_sender, "FORGOTTEN_S", 0.1)
    if not remembered:
        monkeypatch.setattr(Results, "known", lambda *_: None)
    town = any_town
    await town.telegram()
    await town.publish_lead()
    person = await town.simulators.telegram_person(first_name="Anna", language_code="it")
    await town.simulators.latency("telegram", 300)
    await town.simulators.telegram_act(BOT, person, "say", text="ciao")
    row = await _on_the_wire(town)
    before = (await town.rows(f"SELECT {MESSAGE} FROM message WHERE id = :id", id=row["id"]))[0]
    await town.settle()
    await town.simulators.latency("telegram", 0)
    after = (await town.rows(f"SELECT {MESSAGE} FROM message WHERE id = :id", id=row["id"]))[0]
    sent = await _calls(town.simulators)
    await town.app.database.write(lambda connection: _forget(connection, row, before))

    await town.settle()
    again = (await town.rows(f"SELECT {MESSAGE}, possibly_twice FROM message WHERE id = :id", id=row["id"]))[
        0
    ]
    assert again.status == after.status == "sent"
    assert again.possibly_twice == int(not remembered)
    assert await _calls(town.simulators) == sent + int(not remembered)
    if remembered:
        assert again.external_id == after.external_id


async def test_a_mark_and_a_settle_that_the_store_has_forgotten(any_town: Town) -> None:
    """The row is queued as if nothing had been: its message is not sent again, the result is at hand."""
    town = any_town
    await town.telegram()
    await town.publish_lead()
    person = await town.simulators.telegram_person(first_name="Anna", language_code="it")
    await town.simulators.latency("telegram", 300)
    await town.simulators.telegram_act(BOT, person, "say", text="ciao")
    row = await _on_the_wire(town)
    before = (await town.rows(f"SELECT {MESSAGE} FROM message WHERE id = :id", id=row["id"]))[0]
    await town.settle()
    sent = await _calls(town.simulators)
    queued = {**row, "state": 1, "attempt": row["attempt"] - 1}
    await town.app.database.write(lambda connection: _forget(connection, queued, before))
    await town.settle()
    assert await _calls(town.simulators) == sent
    [again] = await town.rows("SELECT status, possibly_twice FROM message WHERE id = :id", id=row["id"])
    assert tuple(again) == ("sent", 0)


async def _on_the_wire(town: Town) -> dict[str, Any]:
    """The first message of the answer, as its row is while the request is under way."""
    found: list[dict[str, Any]] = []

    async def marked() -> bool:
        rows = await town.app.database.read(lambda c: rows_of(c, "SELECT * FROM outbox WHERE state = 3"))
        found.extend(dict(row._mapping) for row in rows)
        return bool(found)

    await until(marked, "a request is under way")
    return found[0]


def _forget(connection: Connection, row: dict[str, Any], before: Any) -> None:
    """The state of a moment ago."""
    columns = ", ".join(row)
    connection.execute(
        text(f"INSERT INTO outbox ({columns}) VALUES ({', '.join(f':{name}' for name in row)})"), row
    )
    connection.execute(
        text(
            "UPDATE message SET status = :status, status_rank = :status_rank, external_id = :external_id, "
            "sent_at = :sent_at WHERE id = :id"
        ),
        {"id": row["id"], **before._mapping},
    )


async def _calls(simulators: SimulatorControl) -> int:
    return int((await simulators.counters()).get("telegram.calls.sendMessage.200", 0))
