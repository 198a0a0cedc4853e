"""On the message path no statement walks through a table that grows with people and messages (SQLite): what a message
costs must not depend on how many there have been."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from sqlalchemy import Connection

from campaigns.drafts import Draft
from storage.direct import DirectConnection
from tests.integration.test_campaigns_end_to_end import run_campaign
from tests.integration.test_main_job import walk_lead_form
from tests.support.town import Town

GROWING = (
    "consent_entry",
    "consent_head",
    "consent_state",
    "contact",
    "contact_tag",
    "conversation",
    "flow_session",
    "identity",
    "identity_key",
    "intake",
    "message",
    "outbox",
    "recipient",
    "seen",
    "suppression",
    "timeline_entry",
    "timer",
    "turn",
)
# Partial indexes of what is under way right now, whose number is limited.
SHORT = ("intake_open", "intake_held", "outbox_due", "outbox_run", "outbox_sending")
OPENING, FROM_THE_END, ENDING = ("OpenRead", "OpenWrite"), ("Rewind", "Last"), ("IdxGT", "IdxGE")
STATEMENTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")


async def test_no_statement_walks_what_grows(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody walks through a form and gets a campaign; every statement of that is looked at."""
    noted: dict[str, Mapping[str, Any]] = {}
    execute, repeat = DirectConnection.execute, DirectConnection.repeat

    def noting(self: DirectConnection, statement: Any, parameters: Any = None, **options: Any) -> Any:
        if hasattr(statement, "text"):
            noted.setdefault(statement.text, parameters or {})
        return execute(self, statement, parameters, **options)

    def noting_each(self: DirectConnection, sql: str, rows: Iterable[Mapping[str, Any]]) -> int:
        given = list(rows)
        noted.setdefault(sql, given[0])
        return repeat(self, sql, given)

    channel = await town.telegram()
    await town.publish_lead()
    monkeypatch.setattr(DirectConnection, "execute", noting)
    monkeypatch.setattr(DirectConnection, "repeat", noting_each)
    await walk_lead_form(town)
    await run_campaign(town, Draft(name="Saldi", channel_id=channel, content={"it": "Saldi!"}))
    monkeypatch.undo()

    looked_at = {sql: given for sql, given in noted.items() if sql.split(maxsplit=1)[0] in STATEMENTS}
    assert len(looked_at) > 80
    walks = await town.app.database.read(lambda connection: _walks(connection, looked_at))
    assert not walks, "\n".join(walks)


def _walks(connection: Connection, statements: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is read from one end to the other, by the statements' programs (https://sqlite.org/opcode.html): a cursor
    on a table, or on an index of it, that is put to an end of it instead of to a key."""
    driver: Any = connection.connection.driver_connection
    pages = {
        page: name
        for page, name, table in driver.execute("SELECT rootpage, name, tbl_name FROM sqlite_master")
        if table in GROWING and name not in SHORT
    }
    walks = []
    for sql, given in statements.items():
        program = driver.execute(f"EXPLAIN {sql}", given).fetchall()
        opened = {one: pages[two] for _, op, one, two, *_ in program if op in OPENING and two in pages}
        bounded = {one for _, op, one, *_ in program if op in ENDING}  # from the beginning to what is due
        for _, op, one, *_ in program:
            if op in FROM_THE_END and one in opened and one not in bounded:
                walks.append(f"{opened[one]} in {' '.join(sql.split())}")
    return walks
