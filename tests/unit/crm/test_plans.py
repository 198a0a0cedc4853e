"""On the message path every row is found by a key: what a statement costs does not grow with the contacts (SQLite)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from sqlalchemy import Connection

from crm import consent, gate, privacy, proof, suppression
from crm.contacts import ContactPatch, TimelineLine, append_timeline, apply_patches, load_views
from crm.identities import Reached, move, resolve, set_reachability
from domain.effects import PatchContact
from domain.messages import MessageClass
from storage.database import Database
from tests.unit.crm.conftest import BOT, NOW, WORKSPACE, Desk, prepare_tables, telegram
from tests.unit.crm.test_consent import entry, stop

# json_each is the parameter, subqueries are what was made of it. By workspace alone: the few stop buttons that stand,
# and the last anchor.
HARMLESS = re.compile(r"SCAN (e|p|r|\(subquery-\d+\)|SUBQUERY \d+)( VIRTUAL.*)?$")
BY_WORKSPACE_ALONE = re.compile(r"SEARCH (?!halt USING PRIMARY KEY|consent_anchor ).*\(workspace_id=\?\)$")


@pytest.fixture
async def desk(sqlite_url: str) -> AsyncIterator[Desk]:
    database = await Database.open(sqlite_url)
    desk = Desk(database)
    await desk.do(prepare_tables)
    yield desk
    await database.close()


async def test_no_statement_of_the_message_path_walks_a_table(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privacy, "_erasers", {})  # other rooms' statements are theirs to watch
    monkeypatch.setattr(privacy, "_exporters", {})
    plans = await desk.do(lambda connection: _plans(connection, desk))
    assert len(plans) > 20
    walking = [
        f"{line}\n    in {statement[:300]}"
        for statement, lines in plans.items()
        for line in lines
        if (line.startswith("SCAN") and not HARMLESS.match(line)) or BY_WORKSPACE_ALONE.search(line)
    ]
    assert not walking, "\n".join(walking)


def _plans(connection: Connection, desk: Desk) -> dict[str, list[str]]:
    seen: dict[str, Any] = {}

    class Noting:
        """Notes every statement on its way to the connection."""

        def execute(self, statement: Any, parameters: Any = None) -> Any:
            seen.setdefault(statement.text, parameters or {})
            return connection.execute(statement, parameters)

        def __getattr__(self, name: str) -> Any:
            return getattr(connection, name)

    _everything(cast(Connection, Noting()), desk)
    raw: Any = connection.connection.driver_connection
    return {
        statement: [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
        for statement, parameters in seen.items()
        if statement.lstrip().split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
    }


def _everything(connection: Connection, desk: Desk) -> None:
    with_hash: dict[str, Any] = {"keyed_hash": desk.sealer.keyed_hash}
    writing = {**with_hash, "new_id": desk.new_id, "now": NOW}
    people = [telegram(n) for n in range(5)]
    resolve(connection, people, **writing)
    found = resolve(connection, people, **writing)
    refs = [(WORKSPACE, person.contact_id, person.identity_id) for person in found]
    load_views(connection, refs)
    patch = PatchContact(step_id="s", set={"fields.x": 1}, add_tags=("a",), remove_tags=("b",))
    apply_patches(connection, [ContactPatch(w, c, patch) for w, c, _ in refs], now=NOW)
    append_timeline(connection, [TimelineLine(w, c, "note", NOW) for w, c, _ in refs], new_id=desk.new_id)
    consent.record(connection, [entry(person) for person in found], **writing)
    suppression.suppress_at_intake(
        connection, [suppression.Accepted(WORKSPACE, BOT, stop(1), NOW)], **with_hash
    )
    wish = consent.OptOut(WORKSPACE, found[1].identity_id, "*", {}, {}, "it", NOW, "stop_word")
    consent.opt_out(connection, [wish], **writing)
    set_reachability(connection, [Reached(WORKSPACE, BOT, people[2].person, "blocked", NOW)], **with_hash)
    asked = [
        gate.Asked(n, WORKSPACE, BOT, person.identity_id, MessageClass.marketing, purpose="marketing")
        for n, person in enumerate(found)
    ]
    move(
        connection,
        workspace_id=WORKSPACE,
        channel_id=BOT,
        old=people[3].person.ids,
        new=telegram(77).person.ids,
        keyed_hash=desk.sealer.keyed_hash,
        now=NOW,
    )
    facts = gate.load_facts(connection, asked, now=NOW, lock=True)
    gate.spend(connection, facts.values(), now=NOW)
    identity_id = found[0].identity_id
    proof.sheet(connection, workspace_id=WORKSPACE, identity_id=identity_id, purpose="marketing")
    privacy.erase(
        connection,
        workspace_id=WORKSPACE,
        contact_id=found[0].contact_id,
        actor="",
        new_id=desk.new_id,
        now=NOW,
    )
