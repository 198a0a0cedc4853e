"""The consent ledger: what people agreed to, and the state folded from it. Its proof is in `crm.proof`, the list of
addresses that get no marketing in `crm.suppression`.

Theory of operation. The ledger is append-only. Each identity has its own chain: a row's hash covers its content, the
hash of the row before, and salted commitments in place of what is personal (the person's own words and address).
Erasure empties evidence and salt: the commitments then say nothing about anybody, and the chain still verifies.
`anchor` writes the ends of all chains into one chain of the workspace, so that nobody can rewrite a chain as a whole.

The state of (identity, purpose) is the fold of its rows by `advance`, written in the ledger's transaction;
`verify` proves it equal to the fold over everything. Rules of the fold:
  * a grant with double opt-in is not mailable until confirmed; a confirmation without a grant before it is nothing;
  * denied, withdrawn and expired end a consent; being asked again ends nothing;
  * an import counts only with evidence, and never against what the person said here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import msgspec
from sqlalchemy import Connection

from crm import suppression
from crm.identities import KeyedHash, NewId, external_key
from crm.suppression import ANY_PURPOSE
from domain.errors import RejectedInput
from domain.events import ExternalId, MessageReceived, PlatformEvent, Preference, Reachability
from storage.database import dialect
from storage.statements import bulk, bulk_values, insert_rows, json_rows, prepared

ACTIONS = ("asked", "granted", "confirmed", "denied", "withdrawn", "expired", "imported")

encode = msgspec.json.Encoder(order="deterministic").encode
decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class NewConsent:
    """A row to append.

    `source`: where it came from and nothing personal: `{"flow", "version", "step", "message"}`, `{"form"}`,
    `{"import", "row"}`, `{"operator"}` or `{"platform"}`. `evidence`: the person's own words, external message id,
    address: personal, emptied by erasure; {} when there is none. `occurred_at`: when the person's act was accepted
    (intake's `received_at`), ms UTC: the same clock that suppression is dated by.
    """

    workspace_id: int
    identity_id: int
    contact_id: int
    channel_id: int
    purpose: str
    action: str
    wording: str
    wording_version: str
    language: str
    occurred_at: int
    source: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    double_opt_in: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """Consent of an identity for a purpose now. `consent_id`: the ledger row that proves it (0: nothing decided)."""

    state: str = ""
    mailable: bool = False
    consent_id: int = 0
    double_opt_in: bool = False
    changed_at: int = 0


def advance(
    before: State, *, entry_id: int, action: str, double_opt_in: bool, proven: bool, at: int
) -> State:
    """The state after one more row. `proven`: the row has evidence."""
    after = State(action, False, entry_id, double_opt_in, at)
    if action == "asked":
        return before if before.state else after
    if action == "granted":
        if double_opt_in:
            return before if before.mailable else after
        return replace(after, mailable=True)
    if action == "confirmed":
        pending = before.mailable or before.state == "granted"
        return replace(after, mailable=True, double_opt_in=before.double_opt_in) if pending else before
    if action == "expired":
        return after if before.mailable or before.state == "granted" else before
    if action == "imported":
        return replace(after, mailable=proven) if before.state in ("", "asked") else before
    return after  # denied, withdrawn


# --- appending --------------------------------------------------------------------------------------------------------


def record(
    connection: Connection,
    entries: Sequence[NewConsent],
    *,
    keyed_hash: KeyedHash,
    new_id: NewId,
    now: int,
    gathering: Connection | None = None,
) -> list[int]:
    """Appends rows in their order, folds the states, and lifts suppression where a person agreed anew.

    Returns the rows' ids, aligned. Raises RejectedInput for an unknown action or identity. The identities' chains are
    locked in ascending id until the transaction ends. `gathering` takes what is written.
    """
    if not entries:
        return []
    _check(entries)
    heads = _lock_heads(connection, {(e.workspace_id, e.identity_id) for e in entries})
    states = _states_of(connection, heads)
    rows: list[dict[str, Any]] = []
    lifting: list[NewConsent] = []
    touched: dict[tuple[int, str], tuple[NewConsent, State]] = {}
    for entry in entries:
        head = heads.get(entry.identity_id)
        if head is None or head.workspace_id != entry.workspace_id:
            raise RejectedInput("there is no such identity", where="identity_id")
        row = _row(entry, head, keyed_hash=keyed_hash, entry_id=new_id(), now=now)
        rows.append(row)
        head.position, head.hash = row["position"], row["hash"]
        key = (entry.identity_id, entry.purpose)
        state = touched[key][1] if key in touched else states.get(key, State())
        after = advance(
            state,
            entry_id=row["id"],
            action=entry.action,
            double_opt_in=entry.double_opt_in,
            proven=row["evidence_commitment"] != "",
            at=now,
        )
        touched[key] = (entry, after)
        decided = after.mailable and after.consent_id == row["id"]
        if decided and entry.action in ("granted", "confirmed"):
            lifting.append(entry)
    writes = gathering or connection
    writes.execute(prepared(_INSERT_ENTRIES), {"rows": bulk(rows)})
    _write_states(writes, touched)
    _write_heads(writes, {entry.identity_id for entry in entries}, heads)
    suppression.lift(writes, lifting)
    return [row["id"] for row in rows]


def load_states(connection: Connection, identity_ids: Iterable[int]) -> dict[tuple[int, str], State]:
    """The states of identities that the caller holds, by (identity id, purpose)."""
    found = connection.execute(
        prepared(
            "SELECT s.identity_id, s.purpose, s.state, s.mailable, s.consent_id, s.double_opt_in, s.changed_at "
            "FROM (SELECT CAST(e.value ->> 'v' AS BIGINT) AS identity_id FROM json_each(:ids) e) r "
            "JOIN consent_state s ON s.identity_id = r.identity_id "
            "JOIN identity i ON i.id = s.identity_id AND i.workspace_id = +s.workspace_id"
        ),
        {"ids": bulk_values(sorted(identity_ids))},
    )
    return {(row[0], row[1]): State(row[2], bool(row[3]), row[4], bool(row[5]), row[6]) for row in found}


def _states_of(connection: Connection, heads: dict[int, _Head]) -> dict[tuple[int, str], State]:
    """The states of chains that are locked; one without an entry has none."""
    begun = [identity_id for identity_id, head in heads.items() if head.position >= 0]
    return load_states(connection, begun) if begun else {}


def withdraw(
    connection: Connection,
    *,
    workspace_id: int,
    identity_id: int,
    purpose: str = ANY_PURPOSE,
    source: dict[str, Any],
    evidence: dict[str, Any],
    language: str,
    at: int,
    reason: str,
    keyed_hash: KeyedHash,
    new_id: NewId,
    now: int,
) -> list[int]:
    """Ends the consent for one purpose, or for all, and puts the person's addresses on the suppression list.

    `at`: when the person's wish was accepted. `reason`: stop_word | platform | blocked | preference | operator.
    With no consent to end there still is one row (purpose "*") that proves the wish. Returns the ledger rows.
    """
    return opt_out(
        connection,
        [OptOut(workspace_id, identity_id, purpose, source, evidence, language, at, reason)],
        keyed_hash=keyed_hash,
        new_id=new_id,
        now=now,
    )


@dataclass(frozen=True, slots=True)
class OptOut:
    """A wish to hear no more, for `opt_out`; members as in `withdraw`."""

    workspace_id: int
    identity_id: int
    purpose: str
    source: dict[str, Any]
    evidence: dict[str, Any]
    language: str
    at: int
    reason: str


def opt_out(
    connection: Connection, wishes: Sequence[OptOut], *, keyed_hash: KeyedHash, new_id: NewId, now: int
) -> list[int]:
    """`withdraw` for many. A block is a withdrawal without suppression: the channel cannot reach them anyway, and
    another channel of the business was not meant."""
    heads = _lock_heads(connection, {(wish.workspace_id, wish.identity_id) for wish in wishes})
    states = _states_of(connection, heads)
    entries = []
    for wish in wishes:
        head = heads.get(wish.identity_id)
        if head is None or head.workspace_id != wish.workspace_id:
            raise RejectedInput("there is no such identity", where="identity_id")
        open_purposes = [
            purpose
            for (identity_id, purpose), state in sorted(states.items())
            if identity_id == wish.identity_id
            and wish.purpose in (ANY_PURPOSE, purpose)
            and state.state not in ("withdrawn", "denied")
        ]
        for purpose in open_purposes or [wish.purpose]:
            entries.append(
                NewConsent(
                    workspace_id=wish.workspace_id,
                    identity_id=wish.identity_id,
                    contact_id=head.contact_id,
                    channel_id=head.channel_id,
                    purpose=purpose,
                    action="withdrawn",
                    wording="",
                    wording_version="",
                    language=wish.language,
                    occurred_at=wish.at,
                    source={**wish.source, "reason": wish.reason},
                    evidence=wish.evidence,
                )
            )
    ids = record(connection, entries, keyed_hash=keyed_hash, new_id=new_id, now=now)
    suppression.suppress_identities(connection, [wish for wish in wishes if wish.reason != "blocked"])
    return ids


def write(
    connection: Connection,
    items: Sequence[NewConsent | OptOut],
    *,
    keyed_hash: KeyedHash,
    new_id: NewId,
    now: int,
    gathering: Connection | None = None,
) -> None:
    """Ledger rows and opt-outs of a batch in the order in which they happened: a "yes" before a STOP must not be
    written after it. `gathering` takes what is written where there are ledger rows alone: nothing reads them there."""
    if any(isinstance(item, OptOut) for item in items):
        gathering = None
    for kind, group in groupby(items, type):
        if kind is OptOut:
            wishes = [item for item in group if isinstance(item, OptOut)]
            opt_out(connection, wishes, keyed_hash=keyed_hash, new_id=new_id, now=now)
        else:
            entries = [item for item in group if isinstance(item, NewConsent)]
            record(connection, entries, keyed_hash=keyed_hash, new_id=new_id, now=now, gathering=gathering)


def event_opt_out(
    event: PlatformEvent, *, workspace_id: int, identity_id: int, language: str, at: int
) -> OptOut | None:
    """What an event says about not wanting to hear from us, for the ledger (the worker); None: nothing.

    `at`: the event's acceptance time, the one that its suppression was dated by at intake.
    """
    match event:
        case MessageReceived(opt_out=True):
            return OptOut(
                workspace_id,
                identity_id,
                ANY_PURPOSE,
                {"message": True},
                {"external_id": event.external_id, "content": msgspec.to_builtins(event.content)},
                language,
                at,
                "stop_word",
            )
        case Preference(wanted=False):
            evidence = {"event": event.key, "detail": event.detail}
            return OptOut(
                workspace_id, identity_id, ANY_PURPOSE, {"platform": True}, evidence, language, at, "platform"
            )
        case Reachability(reachable=False):
            return OptOut(
                workspace_id,
                identity_id,
                ANY_PURPOSE,
                {"platform": True},
                {"event": event.key},
                language,
                at,
                "blocked",
            )
    return None


def _check(entries: Sequence[NewConsent]) -> None:
    for entry in entries:
        if entry.action not in ACTIONS:
            raise RejectedInput(f"must be one of {', '.join(ACTIONS)}", where="action")
        if not entry.purpose:
            raise RejectedInput("a consent is for a purpose", where="purpose")


@dataclass(slots=True)
class _Head:
    """The end of a chain, and what of its identity goes into the next row."""

    workspace_id: int
    contact_id: int
    channel_id: int
    kind: str
    address: str
    salt: str
    position: int
    hash: str


_HEADS = json_rows({"workspace_id": "BIGINT", "identity_id": "BIGINT"})
_START_HEADS = f"""
INSERT INTO consent_head (workspace_id, identity_id, position, hash)
SELECT i.workspace_id, i.id, -1, '' FROM ({_HEADS}) r
JOIN identity i ON i.id = r.identity_id AND i.workspace_id = r.workspace_id
WHERE NOT EXISTS (SELECT 1 FROM consent_head h WHERE h.identity_id = i.id AND h.workspace_id = i.workspace_id)
ORDER BY i.id ON CONFLICT DO NOTHING
"""


def _read_heads(lock: str) -> str:
    return f"""
SELECT h.identity_id, i.workspace_id, i.contact_id, i.channel_id, i.kind, i.address, i.salt, h.position, h.hash
FROM ({_HEADS}) r
JOIN consent_head h ON h.identity_id = r.identity_id AND h.workspace_id = r.workspace_id
JOIN identity i ON i.id = h.identity_id AND i.workspace_id = h.workspace_id
ORDER BY h.identity_id {lock}
"""


# On PostgreSQL by one statement; who starts a head has it. It does not see one that somebody else starts meanwhile.
_START_OR_LOCK = f"""
WITH started AS ({_START_HEADS} RETURNING identity_id, workspace_id), locked AS ({_read_heads("FOR UPDATE OF h")})
SELECT * FROM locked UNION ALL
SELECT i.id, i.workspace_id, i.contact_id, i.channel_id, i.kind, i.address, i.salt, -1, ''
FROM started s JOIN identity i ON i.id = s.identity_id AND i.workspace_id = s.workspace_id
"""


def _lock_heads(connection: Connection, identities: set[tuple[int, int]]) -> dict[int, _Head]:
    if not identities:
        return {}
    rows = {"rows": bulk({"workspace_id": w, "identity_id": i} for w, i in sorted(identities))}
    if dialect(connection).for_update:
        found = connection.execute(prepared(_START_OR_LOCK), rows).all()
        if len(found) < len(identities):
            found = connection.execute(prepared(_read_heads("FOR UPDATE OF h")), rows).all()
    else:
        connection.execute(prepared(_START_HEADS), rows)
        found = connection.execute(prepared(_read_heads("")), rows).all()
    return {row[0]: _Head(*row[1:]) for row in found}


def _row(entry: NewConsent, head: _Head, *, keyed_hash: KeyedHash, entry_id: int, now: int) -> dict[str, Any]:
    evidence = encode(entry.evidence).decode()
    person = external_key(keyed_hash, entry.workspace_id, ExternalId(head.kind, head.address))
    row = {
        "id": entry_id,
        "workspace_id": entry.workspace_id,
        "identity_id": entry.identity_id,
        "contact_id": entry.contact_id,
        "channel_id": entry.channel_id,
        "position": head.position + 1,
        "purpose": entry.purpose,
        "action": entry.action,
        "wording": entry.wording,
        "wording_version": entry.wording_version,
        "language": entry.language,
        "double_opt_in": int(entry.double_opt_in),
        "source": encode(entry.source).decode(),
        "evidence": evidence,
        "evidence_commitment": commitment(head.salt, entry_id, evidence) if entry.evidence else "",
        "person_commitment": commitment(head.salt, entry_id, person),
        "occurred_at": entry.occurred_at,
        "recorded_at": now,
        "previous_hash": head.hash,
    }
    row["hash"] = chain_hash(row)
    return row


def commitment(salt: str, entry_id: int, value: str) -> str:
    """What stands in the chain for a personal value: worthless once the salt is gone."""
    return hashlib.sha256(f"{salt}\x1f{entry_id}\x1f{value}".encode()).hexdigest()


_CHAINED = (
    "id",
    "workspace_id",
    "identity_id",
    "contact_id",
    "channel_id",
    "position",
    "purpose",
    "action",
    "wording",
    "wording_version",
    "language",
    "double_opt_in",
    "source",
    "evidence_commitment",
    "person_commitment",
    "occurred_at",
    "recorded_at",
    "previous_hash",
)


def chain_hash(row: dict[str, Any]) -> str:
    """The hash of a ledger row: SHA-256 of the JSON array of its columns in the order of `_CHAINED`."""
    return hashlib.sha256(encode([row[name] for name in _CHAINED])).hexdigest()


ENTRY_COLUMNS = {
    **dict.fromkeys(("id", "workspace_id", "identity_id", "contact_id", "channel_id", "position"), "BIGINT"),
    **dict.fromkeys(("purpose", "action", "wording", "wording_version", "language"), "TEXT"),
    "double_opt_in": "SMALLINT",
    **dict.fromkeys(("source", "evidence", "evidence_commitment", "person_commitment"), "TEXT"),
    "occurred_at": "BIGINT",
    "recorded_at": "BIGINT",
    "previous_hash": "TEXT",
    "hash": "TEXT",
}
_INSERT_ENTRIES = insert_rows("consent_entry", ENTRY_COLUMNS)
_STATE_COLUMNS = {
    "workspace_id": "BIGINT",
    "identity_id": "BIGINT",
    "purpose": "TEXT",
    "contact_id": "BIGINT",
    "channel_id": "BIGINT",
    "state": "TEXT",
    "mailable": "SMALLINT",
    "consent_id": "BIGINT",
    "double_opt_in": "SMALLINT",
    "changed_at": "BIGINT",
}
_WRITE_STATES = insert_rows(
    "consent_state",
    _STATE_COLUMNS,
    conflict="ON CONFLICT (identity_id, purpose) DO UPDATE SET state = excluded.state, mailable = excluded.mailable,"
    " consent_id = excluded.consent_id, double_opt_in = excluded.double_opt_in, changed_at = excluded.changed_at",
)


def _write_states(connection: Connection, touched: dict[tuple[int, str], tuple[NewConsent, State]]) -> None:
    rows = [
        {
            "workspace_id": entry.workspace_id,
            "identity_id": identity_id,
            "purpose": purpose,
            "contact_id": entry.contact_id,
            "channel_id": entry.channel_id,
            "state": state.state,
            "mailable": int(state.mailable),
            "consent_id": state.consent_id,
            "double_opt_in": int(state.double_opt_in),
            "changed_at": state.changed_at,
        }
        for (identity_id, purpose), (entry, state) in sorted(touched.items(), key=lambda item: item[0])
        if state.state
    ]
    if rows:
        connection.execute(prepared(_WRITE_STATES), {"rows": bulk(rows)})


_HEAD_COLUMNS = {"workspace_id": "BIGINT", "identity_id": "BIGINT", "position": "BIGINT", "hash": "TEXT"}
_WRITE_HEADS = f"""
UPDATE consent_head SET position = r.position, hash = r.hash FROM ({json_rows(_HEAD_COLUMNS)}) AS r
WHERE consent_head.identity_id = r.identity_id AND consent_head.workspace_id = r.workspace_id
"""


def _write_heads(connection: Connection, identity_ids: set[int], heads: dict[int, _Head]) -> None:
    rows = [
        {
            "workspace_id": heads[one].workspace_id,
            "identity_id": one,
            "position": heads[one].position,
            "hash": heads[one].hash,
        }
        for one in sorted(identity_ids)
    ]
    connection.execute(prepared(_WRITE_HEADS), {"rows": bulk(rows)})
