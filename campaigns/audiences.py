"""Who a campaign is for: a predicate, narrowed by SQL to those whom `may_send` could allow; one row per person.

`materialise` turns one slice of contacts into recipients with one INSERT … SELECT. The slice and the run's cursor are
written together, and a row that is there already stays as it is, so a crash or a second call repeats nothing. Slices
keep the longest hold of the one SQLite writer at some 8 ms (measured with 1M contacts); conversations go on between.

A person with several identities on the channel is written to at the one that wrote last. Conditions on time ("in the
last 30 days") are of the moment at which the run began, for every slice alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from campaigns.totals import Deltas
from crm import gate
from crm.segments import compile_predicate
from domain import predicates
from domain.errors import RejectedInput
from domain.predicates import All, Predicate
from storage.database import dialect

SLICE = 2_000  # contacts in one transaction

EVERYBODY = All(())


def check(connection: Connection, audience: Any, *, now: int, where: str = "audience") -> Predicate:
    """The predicate of an audience. Raises RejectedInput naming what segments cannot use."""
    predicate = predicates.parse(audience, where=where)
    try:
        compile_predicate(connection, predicate, now=now)
    except RejectedInput as error:  # its place is counted from the predicate
        raise RejectedInput(error.what, where=error.where.replace("predicate", where, 1)) from error
    return predicate


def decode(stored: str) -> Predicate:
    """The predicate of a campaign's column."""
    return predicates.parse(msgspec.json.decode(stored), where="audience")


def materialise(
    connection: Connection, run_id: int, *, new_id: Callable[[], int], now: int, slice_size: int = SLICE
) -> int | None:
    """One slice of a running run: gives how many recipients it added, None when there is nothing (more) to look at."""
    lock = dialect(connection).for_update
    run = connection.execute(
        text(
            "SELECT r.id, r.workspace_id, r.cursor, r.ceiling, r.started_at, c.audience, c.purpose "
            "FROM campaign_run r JOIN campaign c ON c.id = r.campaign_id AND c.workspace_id = r.workspace_id "
            f"WHERE r.id = :run AND r.state = 'running' AND r.materialised = 0 {lock + ' OF r' if lock else ''}"
        ),
        {"run": run_id},
    ).one_or_none()
    if run is None:
        return None
    upper = slice_end(connection, run.workspace_id, run.cursor, run.ceiling, slice_size)
    added = _insert(connection, run, upper) if upper > run.cursor else 0
    connection.execute(
        text("UPDATE campaign_run SET cursor = :upper, materialised = :through WHERE id = :run"),
        {"upper": upper, "through": int(upper >= run.ceiling), "run": run_id},
    )
    if added:
        deltas = Deltas()
        deltas.add(run.workspace_id, run_id, "total", added)
        deltas.add(run.workspace_id, run_id, "pending", added)
        deltas.append(connection, new_id=new_id)
    return added


def slice_end(connection: Connection, workspace_id: int, cursor: int, ceiling: int, size: int) -> int:
    """The last contact id of the slice that begins after `cursor`; `ceiling` when it is the last slice."""
    found = connection.execute(
        text(
            "SELECT id FROM contact WHERE workspace_id = :workspace AND id > :cursor AND id <= :ceiling "
            "ORDER BY id LIMIT 1 OFFSET :skip"
        ),
        {"workspace": workspace_id, "cursor": cursor, "ceiling": ceiling, "skip": size - 1},
    ).scalar()
    return ceiling if found is None else int(found)


def _insert(connection: Connection, run: Any, upper: int) -> int:
    """CROSS JOIN and the plus sign keep SQLite on its way: the slice of identities by index identity_channel, then each
    one's contact and consent by primary key; the other way round it looks through the slice again for every contact. An
    audience without conditions does not look at contacts, an identity has one by its foreign key: a third less time. A
    person's further identities meet the row that the first one made."""
    audience = decode(run.audience)
    wanted = compile_predicate(connection, audience, now=run.started_at)
    contact = ("", "")
    if audience != EVERYBODY:
        contact = (
            "CROSS JOIN contact c",
            f"AND c.id = i.contact_id AND c.workspace_id = r.workspace_id AND ({wanted.sql}) ",
        )
    return connection.execute(
        text(
            "INSERT INTO recipient (workspace_id, run_id, contact_id, identity_id, state, receipt, reason, message_id, "
            "not_before, changed_at) SELECT r.workspace_id, r.id, i.contact_id, i.id, 0, 0, '', 0, 0, 0 "
            f"FROM campaign_run r CROSS JOIN identity i {contact[0]} "
            "WHERE r.id = :run AND i.channel_id = r.channel_id AND i.contact_id > :lower AND i.contact_id <= :upper "
            f"AND +i.workspace_id = r.workspace_id {contact[1]}"
            f"AND {gate.superset(identity='i', purpose=':purpose')} "
            "ORDER BY i.contact_id, COALESCE(i.last_inbound_at, 0) DESC, i.id ON CONFLICT DO NOTHING"
        ),
        {"run": run.id, "lower": run.cursor, "upper": upper, "purpose": run.purpose, **wanted.parameters},
    ).rowcount
