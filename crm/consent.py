"""The consent ledger: what people agreed to, with proof; the state folded from it; and the suppression list.

Theory of operation. The ledger is append-only. Each identity has its own chain: a row's hash covers its content, the
hash of the row before, and salted commitments in place of what is personal (the person's own words and address).
Erasure empties evidence and salt: the commitments then say nothing about anybody, and the chain still verifies.
`anchor` writes the ends of all chains into one chain of the workspace, so that nobody can rewrite a chain as a whole.

The state of (identity, purpose) is the fold of its rows by `advance`, written in the ledger's transaction;
`verify` proves it equal to the fold over everything. Rules of the fold:
  * a grant with double opt-in is not mailable until confirmed; a confirmation without a grant before it is nothing;
  * denied, withdrawn and expired end a consent; being asked again ends nothing;
  * an import counts only with evidence, and never against what the person said here.

The suppression list holds keyed hashes of addresses that must not get marketing, whatever anybody imports later. It
is written at intake, before the event is handled (an opt-out is effective with the platform's 200), and survives
erasure. Only a consent that the person gives *after* it lifts it; one set by an operator only an operator lifts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import msgspec
from sqlalchemy import Connection

from crm.identities import KeyedHash, NewId, Reached, external_key, set_reachability
from crm.statements import prepared
from domain.errors import RejectedInput
from domain.events import ExternalId, MessageReceived, Person, PlatformEvent, Preference, Reachability
from domain.ids import first_id_at
from storage.database import bulk, bulk_values, dialect, insert_rows, json_rows

ACTIONS = ("asked", "granted", "confirmed", "denied", "withdrawn", "expired", "imported")
ANY_PURPOSE = "*"
SETTLED_MS = (
    60_000  # rows younger than this wait for the next anchor: a transaction with an older id may still commit
)
_PAGE = 2_000  # identities that `verify` holds at a time

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder().decode


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
    connection: Connection, entries: Sequence[NewConsent], *, keyed_hash: KeyedHash, new_id: NewId, now: int
) -> list[int]:
    """Appends rows in their order, folds the states, and lifts suppression where a person agreed anew.

    Returns the rows' ids, aligned. Raises RejectedInput for an unknown action or identity. The identities' chains are
    locked in ascending id until the transaction ends.
    """
    if not entries:
        return []
    _check(entries)
    heads = _lock_heads(connection, {(e.workspace_id, e.identity_id) for e in entries})
    states = load_states(connection, heads)
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
    connection.execute(prepared(_INSERT_ENTRIES), {"rows": bulk(rows)})
    _write_states(connection, touched)
    _write_heads(connection, {entry.identity_id for entry in entries}, heads)
    _lift(connection, lifting)
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
    states = load_states(connection, heads)
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
    _suppress_identities(connection, [wish for wish in wishes if wish.reason != "blocked"])
    return ids


def write(
    connection: Connection,
    items: Sequence[NewConsent | OptOut],
    *,
    keyed_hash: KeyedHash,
    new_id: NewId,
    now: int,
) -> None:
    """Ledger rows and opt-outs of a batch in the order in which they happened: a "yes" before a STOP must not be
    written after it."""
    for kind, group in groupby(items, type):
        if kind is OptOut:
            wishes = [item for item in group if isinstance(item, OptOut)]
            opt_out(connection, wishes, keyed_hash=keyed_hash, new_id=new_id, now=now)
        else:
            entries = [item for item in group if isinstance(item, NewConsent)]
            record(connection, entries, keyed_hash=keyed_hash, new_id=new_id, now=now)


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


def _lock_heads(connection: Connection, identities: set[tuple[int, int]]) -> dict[int, _Head]:
    if not identities:
        return {}
    rows = bulk({"workspace_id": w, "identity_id": i} for w, i in sorted(identities))
    connection.execute(prepared(_START_HEADS), {"rows": rows})
    d = dialect(connection)
    lock = f"{d.for_update} OF h" if d.for_update else ""
    found = connection.execute(
        prepared(
            "SELECT h.identity_id, i.workspace_id, i.contact_id, i.channel_id, i.kind, i.address, i.salt, "
            f"h.position, h.hash FROM ({_HEADS}) r "
            "JOIN consent_head h ON h.identity_id = r.identity_id AND h.workspace_id = r.workspace_id "
            "JOIN identity i ON i.id = h.identity_id AND i.workspace_id = h.workspace_id "
            f"ORDER BY h.identity_id {lock}"
        ),
        {"rows": rows},
    )
    return {row[0]: _Head(*row[1:]) for row in found}


def _row(entry: NewConsent, head: _Head, *, keyed_hash: KeyedHash, entry_id: int, now: int) -> dict[str, Any]:
    evidence = _encode(entry.evidence).decode()
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
        "source": _encode(entry.source).decode(),
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
    return hashlib.sha256(_encode([row[name] for name in _CHAINED])).hexdigest()


_ENTRY_COLUMNS = {
    **dict.fromkeys(("id", "workspace_id", "identity_id", "contact_id", "channel_id", "position"), "BIGINT"),
    **dict.fromkeys(("purpose", "action", "wording", "wording_version", "language"), "TEXT"),
    "double_opt_in": "SMALLINT",
    **dict.fromkeys(("source", "evidence", "evidence_commitment", "person_commitment"), "TEXT"),
    "occurred_at": "BIGINT",
    "recorded_at": "BIGINT",
    "previous_hash": "TEXT",
    "hash": "TEXT",
}
_INSERT_ENTRIES = insert_rows("consent_entry", _ENTRY_COLUMNS)
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


# --- suppression ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Suppress:
    """Addresses that must not get marketing of a purpose ("*": of any). `reason`: stop_word | platform | preference |
    operator | erased. `at`: when the wish was accepted, ms UTC."""

    workspace_id: int
    externals: tuple[ExternalId, ...]
    reason: str
    at: int
    purpose: str = ANY_PURPOSE


_SUPPRESSION_COLUMNS = {
    "workspace_id": "BIGINT",
    "external_key": "TEXT",
    "purpose": "TEXT",
    "reason": "TEXT",
    "at": "BIGINT",
}
# An operator's entry stays the operator's: a later consent of the person must not lift it.
_KEEP = (
    "ON CONFLICT (workspace_id, external_key, purpose) DO UPDATE SET"
    " reason = CASE WHEN suppression.reason = 'operator' THEN suppression.reason ELSE excluded.reason END,"
    " at = CASE WHEN excluded.at > suppression.at THEN excluded.at ELSE suppression.at END"
)
_SUPPRESS = insert_rows("suppression", _SUPPRESSION_COLUMNS, conflict=_KEEP)
# Whoever marks a marketing message as being sent holds this row: we wait for them, and they see us afterwards (I5).
_LOCK_STATES = f"""
SELECT s.identity_id FROM ({json_rows({"workspace_id": "BIGINT", "external_key": "TEXT"})}) r
JOIN identity_key k ON k.external_key = r.external_key AND k.workspace_id = r.workspace_id
JOIN consent_state s ON s.identity_id = k.identity_id AND +s.workspace_id = k.workspace_id
ORDER BY s.identity_id, s.purpose FOR UPDATE OF s
"""


def suppress(connection: Connection, rows: Sequence[Suppress], *, keyed_hash: KeyedHash) -> None:
    """Puts addresses on the suppression list, one statement for all. Idempotent; the newest date stands."""
    written: dict[tuple[int, str, str], dict[str, Any]] = {}
    for row in rows:
        for external in row.externals:
            key = (row.workspace_id, external_key(keyed_hash, row.workspace_id, external), row.purpose)
            if key not in written or written[key]["at"] <= row.at:
                written[key] = dict(zip(_SUPPRESSION_COLUMNS, (*key, row.reason, row.at), strict=True))
    if not written:
        return
    parameter = {"rows": bulk(written[key] for key in sorted(written))}
    if dialect(connection).for_update:
        connection.execute(prepared(_LOCK_STATES), parameter).all()
    connection.execute(prepared(_SUPPRESS), parameter)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A platform's event as intake takes it. `at`: its acceptance, ms UTC."""

    workspace_id: int
    channel_id: int
    event: PlatformEvent
    at: int


def locks_rows(event: PlatformEvent) -> bool:
    """Whether `suppress_at_intake` will lock the person's rows for this event."""
    if isinstance(event, MessageReceived):
        return event.opt_out
    return isinstance(event, Reachability) or (isinstance(event, Preference) and not event.wanted)


def suppress_at_intake(
    connection: Connection, accepted: Sequence[Accepted], *, keyed_hash: KeyedHash
) -> None:
    """What must hold from the 200 on: STOP words and the platforms' opt-outs suppress, a block marks the identity.

    At most three statements for a batch and none for one without such events, which nearly all are.
    """
    wishes: list[Suppress] = []
    reached: list[Reached] = []
    for one in accepted:
        event = one.event
        if isinstance(event, MessageReceived):
            if event.opt_out:
                wishes.append(Suppress(one.workspace_id, event.person.ids, "stop_word", one.at))
        elif isinstance(event, Preference):
            if not event.wanted:
                wishes.append(Suppress(one.workspace_id, event.person.ids, "platform", one.at))
        elif isinstance(event, Reachability):
            state = "reachable" if event.reachable else "blocked"
            reached.append(Reached(one.workspace_id, one.channel_id, event.person, state, one.at))
    suppress(connection, wishes, keyed_hash=keyed_hash)
    set_reachability(connection, reached, keyed_hash=keyed_hash)


_WISHES = json_rows(
    {"workspace_id": "BIGINT", "identity_id": "BIGINT", "purpose": "TEXT", "reason": "TEXT", "at": "BIGINT"}
)
# Grouped: a person on two bots of the workspace has the same key twice.
_SUPPRESS_IDENTITIES = f"""
INSERT INTO suppression (workspace_id, external_key, purpose, reason, at)
SELECT k.workspace_id, k.external_key, r.purpose, max(r.reason), max(r.at) FROM ({_WISHES}) r
JOIN identity_key k ON k.identity_id = r.identity_id AND k.workspace_id = r.workspace_id
WHERE true GROUP BY k.workspace_id, k.external_key, r.purpose ORDER BY 1, 2, 3 {_KEEP}
"""


def _suppress_identities(connection: Connection, wishes: Sequence[OptOut]) -> None:
    newest: dict[tuple[int, str], OptOut] = {}
    for wish in wishes:
        key = (wish.identity_id, wish.purpose)
        if key not in newest or newest[key].at <= wish.at:
            newest[key] = wish
    rows = [
        {
            "workspace_id": wish.workspace_id,
            "identity_id": wish.identity_id,
            "purpose": wish.purpose,
            "reason": wish.reason,
            "at": wish.at,
        }
        for wish in newest.values()
    ]
    if rows:
        connection.execute(prepared(_SUPPRESS_IDENTITIES), {"rows": bulk(rows)})


_AGREED = json_rows({"workspace_id": "BIGINT", "identity_id": "BIGINT", "purpose": "TEXT", "at": "BIGINT"})
_LIFT = f"""
DELETE FROM suppression WHERE reason <> 'operator' AND EXISTS (
    SELECT 1 FROM ({_AGREED}) r
    JOIN identity_key k ON k.identity_id = r.identity_id AND k.workspace_id = r.workspace_id
    WHERE k.workspace_id = suppression.workspace_id AND k.external_key = suppression.external_key
      AND suppression.purpose IN (r.purpose, '*') AND suppression.at < r.at)
  AND workspace_id IN (SELECT r.workspace_id FROM ({_HEADS}) r) AND external_key IN (
    SELECT k.external_key FROM ({_HEADS}) r
    JOIN identity_key k ON k.identity_id = r.identity_id AND k.workspace_id = r.workspace_id)
"""


def _lift(connection: Connection, agreed: Sequence[NewConsent]) -> None:
    """A consent lifts what came before it; a STOP that was accepted meanwhile stays."""
    rows = [
        {
            "workspace_id": entry.workspace_id,
            "identity_id": entry.identity_id,
            "purpose": entry.purpose,
            "at": entry.occurred_at,
        }
        for entry in agreed
    ]
    if rows:
        connection.execute(prepared(_LIFT), {"rows": bulk(rows)})


def unsuppress(
    connection: Connection, *, workspace_id: int, externals: Sequence[ExternalId], keyed_hash: KeyedHash
) -> int:
    """An operator takes addresses off the list; returns how many entries went. The caller writes the audit entry."""
    keys = bulk_values(external_key(keyed_hash, workspace_id, external) for external in externals)
    statement = (
        "DELETE FROM suppression WHERE workspace_id = :workspace_id "
        "AND external_key IN (SELECT e.value ->> 'v' FROM json_each(:keys) e)"
    )
    return connection.execute(prepared(statement), {"workspace_id": workspace_id, "keys": keys}).rowcount


def suppressed(
    connection: Connection, *, workspace_id: int, person: Person, purpose: str, keyed_hash: KeyedHash
) -> bool:
    """Whether any of these addresses is on the list for the purpose: what an import asks before it makes a contact."""
    keys = bulk_values(external_key(keyed_hash, workspace_id, external) for external in person.ids)
    statement = (
        "SELECT 1 FROM suppression WHERE workspace_id = :workspace_id AND purpose IN (:purpose, '*') "
        "AND external_key IN (SELECT e.value ->> 'v' FROM json_each(:keys) e) LIMIT 1"
    )
    parameters = {"workspace_id": workspace_id, "purpose": purpose, "keys": keys}
    return connection.execute(prepared(statement), parameters).first() is not None


# --- proof ------------------------------------------------------------------------------------------------------------


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


def proof(connection: Connection, *, workspace_id: int, identity_id: int, purpose: str) -> Proof:
    """What can be shown about a consent: wording, when, how, the person's own words, and an intact chain."""
    chain = next(iter(_chains(connection, workspace_id, [identity_id])), _Chain(identity_id))
    entries = [
        {**row, "source": _decode(row["source"]), "evidence": _decode(row["evidence"])}
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
            f"SELECT {', '.join(f'c.{name}' for name in _ENTRY_COLUMNS)} FROM {ids} r "
            "JOIN consent_entry c ON c.identity_id = r.id AND +c.workspace_id = :workspace_id "
            "ORDER BY c.identity_id, c.position"
        ),
        parameters,
    )
    for row in rows:
        entry = dict(zip(_ENTRY_COLUMNS, row, strict=True))
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
    return hashlib.sha256(_encode([row[name] for name in _ANCHOR_COLUMNS if name != "hash"])).hexdigest()


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
