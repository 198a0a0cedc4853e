"""Proof of consent: what an identity agreed to and when, and that nobody has changed the ledger since.

`verify` folds every chain anew and compares it with the states; `anchor` writes the ends of all chains into one chain
of the workspace, so that nobody can rewrite a chain as a whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from crm.consent import ENTRY_COLUMNS, State, advance, chain_hash, commitment, decode, encode
from crm.identities import NewId
from crm.suppression import ANY_PURPOSE
from domain.ids import first_id_at
from storage.statements import bulk, bulk_values, insert_rows, prepared

SETTLED_MS = (
    60_000  # rows younger than this wait for the next anchor: a transaction with an older id may still commit
)
_PAGE = 2_000  # identities that `verify` holds at a time


@dataclass(frozen=True, slots=True)
class Proof:
    """The proof sheet of one person and purpose. `entries` are the ledger rows as `{column: value}` with `source` and
    `evidence` as objects; `intact`: the whole chain of the identity verifies."""

    identity_id: int
    purpose: str
    state: State
    entries: list[dict[str, Any]]
    intact: bool
    anchored_until: int  # id up to which the workspace's anchors cover the ledger


def sheet(connection: Connection, *, workspace_id: int, identity_id: int, purpose: str) -> Proof:
    """What can be shown about a consent: wording, when, how, the person's own words, and an intact chain."""
    chain = next(iter(_chains(connection, workspace_id, [identity_id])), _Chain(identity_id))
    entries = [
        {**row, "source": decode(row["source"]), "evidence": decode(row["evidence"])}
        for row in chain.entries
        if row["purpose"] in (purpose, ANY_PURPOSE)
    ]
    anchored = connection.execute(
        prepared(
            "SELECT until_id FROM consent_anchor WHERE workspace_id = :workspace_id ORDER BY position DESC LIMIT 1"
        ),
        {"workspace_id": workspace_id},
    ).scalar()
    state = fold(chain.entries).get(purpose, State())
    return Proof(identity_id, purpose, state, entries, not list(_chain_problems(chain)), anchored or 0)


def fold(entries: Iterable[dict[str, Any]]) -> dict[str, State]:
    """The states by purpose after these ledger rows of one identity, in the order of their positions."""
    states: dict[str, State] = {}
    for row in entries:
        states[row["purpose"]] = advance(
            states.get(row["purpose"], State()),
            entry_id=row["id"],
            action=row["action"],
            double_opt_in=bool(row["double_opt_in"]),
            proven=row["evidence_commitment"] != "",
            at=row["recorded_at"],
        )
    return {purpose: state for purpose, state in states.items() if state.state}


def verify(connection: Connection, *, workspace_id: int) -> list[str]:
    """Everything in the ledger that does not hold together, as sentences; [] when all is well.

    Checks every chain link and hash, commitments that can still be opened, the stored heads and states against the
    fold, and the anchors against the rows that they cover.
    """
    problems: list[str] = []
    after = -1
    while ids := _identity_page(connection, workspace_id, after):
        states = _states_of(connection, workspace_id, ids)
        for chain in _chains(connection, workspace_id, ids):
            problems.extend(_chain_problems(chain))
            # An erased identity keeps its proof and has no state any more.
            folded = fold(chain.entries) if chain.salt is not None else {}
            if folded != states.get(chain.identity_id, {}):
                problems.append(f"identity {chain.identity_id}: the stored state is not what the ledger says")
        after = ids[-1]
    problems.extend(_anchor_problems(connection, workspace_id))
    return problems


@dataclass(slots=True)
class _Chain:
    identity_id: int
    entries: list[dict[str, Any]] = field(default_factory=list)
    position: int = -1
    hash: str = ""
    salt: str | None = None  # None: the person was erased


def _identity_page(connection: Connection, workspace_id: int, after: int) -> list[int]:
    found = connection.execute(
        prepared(
            "SELECT identity_id FROM ("
            f"SELECT identity_id FROM ({_page_of('consent_head')}) AS h "
            f"UNION SELECT identity_id FROM ({_page_of('consent_state')}) AS s "
            f"UNION SELECT identity_id FROM ({_page_of('consent_entry')}) AS e"
            ") AS known ORDER BY identity_id LIMIT :limit"
        ),
        {"w": workspace_id, "a": after, "limit": _PAGE},
    )
    return [row[0] for row in found]


def _page_of(table: str) -> str:
    """By the table's key, which begins with the identity."""
    return (
        f"SELECT DISTINCT identity_id FROM {table} "
        "WHERE +workspace_id = :w AND identity_id > :a ORDER BY identity_id LIMIT :limit"
    )


def _chains(connection: Connection, workspace_id: int, identity_ids: Sequence[int]) -> Iterator[_Chain]:
    parameters = {"workspace_id": workspace_id, "ids": bulk_values(identity_ids)}
    ids = "(SELECT CAST(e.value ->> 'v' AS BIGINT) AS id FROM json_each(:ids) e)"
    chains = {one: _Chain(one) for one in identity_ids}
    heads = connection.execute(
        prepared(
            "SELECT r.id, h.position, h.hash, i.salt "
            f"FROM {ids} r LEFT JOIN consent_head h ON h.identity_id = r.id AND h.workspace_id = :workspace_id "
            "LEFT JOIN identity i ON i.id = r.id AND i.workspace_id = :workspace_id"
        ),
        parameters,
    )
    for identity_id, position, head, salt in heads:
        chain = chains[identity_id]
        chain.position, chain.hash, chain.salt = -1 if position is None else position, head or "", salt
    rows = connection.execute(
        prepared(
            f"SELECT {', '.join(f'c.{name}' for name in ENTRY_COLUMNS)} FROM {ids} r "
            "JOIN consent_entry c ON c.identity_id = r.id AND +c.workspace_id = :workspace_id "
            "ORDER BY c.identity_id, c.position"
        ),
        parameters,
    )
    for row in rows:
        entry = dict(zip(ENTRY_COLUMNS, row, strict=True))
        chains[entry["identity_id"]].entries.append(entry)
    yield from chains.values()


def _states_of(
    connection: Connection, workspace_id: int, identity_ids: Sequence[int]
) -> dict[int, dict[str, State]]:
    rows = connection.execute(
        prepared(
            "SELECT s.identity_id, s.purpose, s.state, s.mailable, s.consent_id, s.double_opt_in, s.changed_at "
            "FROM (SELECT CAST(e.value ->> 'v' AS BIGINT) AS id FROM json_each(:ids) e) r "
            "JOIN consent_state s ON s.identity_id = r.id AND +s.workspace_id = :workspace_id"
        ),
        {"workspace_id": workspace_id, "ids": bulk_values(identity_ids)},
    )
    states: dict[int, dict[str, State]] = {}
    for row in rows:
        states.setdefault(row[0], {})[row[1]] = State(row[2], bool(row[3]), row[4], bool(row[5]), row[6])
    return states


def _chain_problems(chain: _Chain) -> Iterator[str]:
    previous, who = "", f"identity {chain.identity_id}"
    for position, row in enumerate(chain.entries):
        if row["position"] != position or row["previous_hash"] != previous:
            yield f"{who}: row {position} of the ledger does not follow the one before"
        if chain_hash(row) != row["hash"]:
            yield f"{who}: row {position} of the ledger was changed"
        if chain.salt and row["evidence"] != "{}":
            if commitment(chain.salt, row["id"], row["evidence"]) != row["evidence_commitment"]:
                yield f"{who}: the evidence of row {position} was changed"
        elif chain.salt and row["evidence_commitment"]:
            yield f"{who}: the evidence of row {position} is missing"
        previous = row["hash"]
    if (chain.position, chain.hash) != (len(chain.entries) - 1, previous):
        yield f"{who}: the end of the ledger is not where it was"


# --- anchors ----------------------------------------------------------------------------------------------------------


def anchor(connection: Connection, *, workspace_id: int, new_id: NewId, now: int) -> int | None:
    """Writes the ends of all chains that grew since the last anchor into the workspace's chain.

    Returns the anchor's id, or None when nothing settled has been added. Cost grows with what is new, not with the
    ledger. Callers take turns (the scheduler's lease); a second one at the same position fails on the unique key.
    """
    last = connection.execute(
        prepared(
            "SELECT position, until_id, hash FROM consent_anchor WHERE workspace_id = :workspace_id "
            "ORDER BY position DESC LIMIT 1"
        ),
        {"workspace_id": workspace_id},
    ).first() or (-1, 0, "")
    until = max(last[1], first_id_at(now - SETTLED_MS) - 1)
    heads, digest = _digest(connection, workspace_id, last[1], until)
    if heads == 0:
        return None
    row = {
        "id": new_id(),
        "workspace_id": workspace_id,
        "position": last[0] + 1,
        "until_id": until,
        "heads": heads,
        "digest": digest,
        "previous_hash": last[2],
        "at": now,
    }
    row["hash"] = _anchor_hash(row)
    connection.execute(prepared(_INSERT_ANCHOR), {"rows": bulk([row])})
    return int(row["id"])


_ANCHOR_COLUMNS = {
    **dict.fromkeys(("id", "workspace_id", "position", "until_id", "heads"), "BIGINT"),
    **dict.fromkeys(("digest", "previous_hash", "hash"), "TEXT"),
    "at": "BIGINT",
}
_INSERT_ANCHOR = insert_rows("consent_anchor", _ANCHOR_COLUMNS)


def _anchor_hash(row: dict[str, Any]) -> str:
    return hashlib.sha256(encode([row[name] for name in _ANCHOR_COLUMNS if name != "hash"])).hexdigest()


def _digest(connection: Connection, workspace_id: int, after: int, until: int) -> tuple[int, str]:
    """How many chains have rows with ids in (after, until], and one hash over the last such row of each."""
    rows = connection.execute(
        prepared(
            "SELECT e.identity_id, e.position, e.hash FROM consent_entry e "
            "WHERE e.workspace_id = :w AND e.id > :after AND e.id <= :until AND NOT EXISTS ("
            " SELECT 1 FROM consent_entry l WHERE +l.workspace_id = e.workspace_id AND l.identity_id = e.identity_id"
            " AND l.position > e.position AND +l.id > :after AND +l.id <= :until) ORDER BY e.identity_id"
        ),
        {"w": workspace_id, "after": after, "until": until},
    )
    count, digest = 0, hashlib.sha256()
    for identity_id, position, row_hash in rows:
        count += 1
        digest.update(f"{identity_id}:{position}:{row_hash}\n".encode())
    return count, digest.hexdigest()


def _anchor_problems(connection: Connection, workspace_id: int) -> Iterator[str]:
    rows = connection.execute(
        prepared(
            f"SELECT {', '.join(_ANCHOR_COLUMNS)} FROM consent_anchor "
            "WHERE workspace_id = :workspace_id ORDER BY position"
        ),
        {"workspace_id": workspace_id},
    ).all()
    previous, after = "", 0
    for position, found in enumerate(rows):
        row = dict(zip(_ANCHOR_COLUMNS, found, strict=True))
        if (
            row["position"] != position
            or row["previous_hash"] != previous
            or _anchor_hash(row) != row["hash"]
        ):
            yield f"anchor {position} was changed or does not follow the one before"
        if _digest(connection, workspace_id, after, row["until_id"]) != (row["heads"], row["digest"]):
            yield f"anchor {position} does not fit the ledger that it covers"
        previous, after = row["hash"], row["until_id"]
