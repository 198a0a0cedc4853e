"""The suppression list: keyed hashes of addresses that must not get marketing, whatever anybody imports later.

It is written at intake, before the event is handled (an opt-out is effective with the platform's 200), and survives
erasure. Only a consent that the person gives *after* it lifts it; one set by an operator only an operator lifts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection

from crm.identities import KeyedHash, Reached, external_key, set_reachability
from domain.events import ExternalId, MessageReceived, Person, PlatformEvent, Preference, Reachability
from storage.database import dialect
from storage.statements import bulk, bulk_values, insert_rows, json_rows, prepared

ANY_PURPOSE = "*"
_PEOPLE = json_rows({"workspace_id": "BIGINT", "identity_id": "BIGINT"})


class Wish(Protocol):
    """What is needed of an opt-out (`crm.consent.OptOut`)."""

    @property
    def workspace_id(self) -> int: ...
    @property
    def identity_id(self) -> int: ...
    @property
    def purpose(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def at(self) -> int: ...


class Agreed(Protocol):
    """What is needed of a consent that was just given (`crm.consent.NewConsent`)."""

    @property
    def workspace_id(self) -> int: ...
    @property
    def identity_id(self) -> int: ...
    @property
    def purpose(self) -> str: ...
    @property
    def occurred_at(self) -> int: ...


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


def suppress_identities(connection: Connection, wishes: Sequence[Wish]) -> None:
    """Puts every address of these identities on the list; of several wishes of one the newest counts."""
    newest: dict[tuple[int, str], Wish] = {}
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
  AND workspace_id IN (SELECT r.workspace_id FROM ({_PEOPLE}) r) AND external_key IN (
    SELECT k.external_key FROM ({_PEOPLE}) r
    JOIN identity_key k ON k.identity_id = r.identity_id AND k.workspace_id = r.workspace_id)
"""


def lift(connection: Connection, agreed: Sequence[Agreed]) -> None:
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
