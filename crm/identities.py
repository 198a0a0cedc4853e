"""Identities: who wrote, as rows. A phone number is optional; what counts is the platform's own id of the person.

Theory of operation. An identity is found by any of the external ids that the platform gives, the most trusted first
(`Person.ids` is in that order). External ids are stored as keyed hashes (`external_key`), the same hash that the
suppression list uses, so that both join in SQL and neither reveals an address. Unknown people become contact,
identity and keys in bulk statements. The keys are written first, in one order everywhere: whoever loses a race
for a key (another worker saw the same new person a moment earlier) finds the winner's identity behind it and uses
that; where people are written later (`Ahead`), the loser writes nothing and begins anew. An address belongs to whom the
platform names now: a key that turns up with another, more trusted id moves, and the identity that lost its address is
`gone`, so that nothing meant for one person reaches the next owner of a number. That owner has a user id of their own,
which nobody changes while they keep a number: so a number leads to nobody who has another user id than the one that it
comes with. Who was known by number alone gets the first user id that comes with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import Connection

from domain.errors import Conflict
from domain.events import ExternalId, Person, storable
from storage.bulk_writes import BulkInsert, BulkUpdate
from storage.database import DIALECTS, dialect
from storage.statements import bulk, bulk_values, gathered, insert_rows, json_rows, prepared, require, send

KeyedHash = Callable[..., str]  # `Sealer.keyed_hash`
NewId = Callable[[], int]
Random = Callable[[int], bytes]

SALT = 16  # bytes: as long as the hashes that it protects
MAX_NAME = 200  # characters; platforms allow 64 + 64, anything longer is no name
UNREACHABLE = ("blocked", "gone")
NUMBER = "wa_phone"  # the only kind of id that goes to a next owner


@dataclass(frozen=True, slots=True)
class IdentityRequest:
    """Somebody who did something on a channel.

    `address`: what a private message to this person is sent to (not the group that they wrote in); "" where this does
    not tell, as a private message of theirs does.
    `at`: when it was accepted, ms UTC. `inbound`: they wrote or tapped, which opens the platform's answer window and
    shows that they can be reached; False for statuses, imports and the platform's own notices.
    """

    workspace_id: int
    channel_id: int
    channel_kind: str
    person: Person
    address: str
    at: int
    inbound: bool = True


@dataclass(frozen=True, slots=True)
class ResolvedIdentity:
    """The rows of an `IdentityRequest`. `created`: this very call made them."""

    identity_id: int
    contact_id: int
    created: bool
    state: str  # reachable | blocked | gone
    address: str
    last_inbound_at: int | None


def external_key(keyed_hash: KeyedHash, workspace_id: int, external: ExternalId) -> str:
    """What stands for an address in `identity_key` and `suppression`: the same in all channels of a kind of one
    workspace, another in every other workspace. A phone number counts by its digits, however it is written."""
    value = external.value
    if external.kind == NUMBER:
        value = _digits(value)
    return keyed_hash("external id", str(workspace_id), external.kind, value)


@dataclass(frozen=True, slots=True)
class NewPeople:
    """Rows of people whom nobody knew; contacts and identities are aligned."""

    keys: list[dict[str, Any]]
    contacts: list[dict[str, Any]]
    identities: list[dict[str, Any]]
    timeline: list[dict[str, Any]]


class Ahead(Protocol):
    """Who finds people with more that is wanted of them, and writes later that they were seen again, or are new."""

    seen_again: list[dict[str, Any]]

    def find(self, connection: Connection, keys: Sequence[Mapping[str, Any]]) -> Sequence[Sequence[Any]]:
        """`FOUND` of these keys (workspace_id, channel_id, external_key)."""

    def meet(self, people: NewPeople) -> None:
        """These are new; they are to be written by `insert`."""


def resolve(
    connection: Connection,
    requests: Sequence[IdentityRequest],
    *,
    keyed_hash: KeyedHash,
    new_id: NewId,
    now: int,
    random: Random = os.urandom,
    ahead: Ahead | None = None,
) -> list[ResolvedIdentity]:
    """The identities and contacts of these people, made where they are unknown; aligned with the requests.

    The same new person may stand in several requests. Learns keys, and writes name, username, language, address,
    state and last inbound time where they changed. At most six statements whatever the number of requests, and some
    more where a number comes with a user id that nobody knows. `ahead` finds them, and is given those who are new and
    the rows for `see_again` of those whose address and state stay. Raises Conflict where one of them is gone before it
    is written, or another person has come with their number in this moment.
    """
    if not requests:
        return []
    batch = _Batch(requests, keyed_hash)
    found = _look(connection, batch, ahead)
    records, made = _assigned(batch, found, new_id=new_id, random=random)
    if made and ahead is not None:
        ahead.meet(_new_people(batch, records, made, new_id=new_id, now=now))
    elif made:
        _insert_people(connection, batch, records, made, found, new_id=new_id, now=now)
    _learn_keys(connection, batch, records, found, now=now)
    _confirm_first_user_ids(connection, batch.first_user_ids)
    _write_changes(connection, batch, records, now=now, aside=None if ahead is None else ahead.seen_again)
    return [
        ResolvedIdentity(r.id, r.contact_id, r.created, r.state, r.address, r.last_inbound_at)
        for r in _filled(records)
    ]


def identity_ids_of(
    connection: Connection, people: Sequence[tuple[int, int, Person]], *, keyed_hash: KeyedHash
) -> list[int]:
    """The known identities of (workspace id, channel id, person), aligned; 0 where the person is unknown."""
    requests = [IdentityRequest(w, c, "", person, "", 0, inbound=False) for w, c, person in people]
    batch = _Batch(requests, keyed_hash)
    found = _look(connection, batch)
    records = [batch.record_of(n, found) for n in range(len(requests))]
    return [record.id if record else 0 for record in records]


def move(
    connection: Connection,
    *,
    workspace_id: int,
    channel_id: int,
    old: Sequence[ExternalId],
    new: Sequence[ExternalId],
    keyed_hash: KeyedHash,
    now: int,
) -> int | None:
    """A person's address changed (`IdentityChanged`): the identity keeps its contact and answers to the new ids.

    Ids of a kind that was replaced stop leading here, because a number goes to its next owner. Returns the identity,
    or None when neither the old nor the new ids are known: the person is made when they write.
    """
    person = Person(ids=(*old, *new))
    batch = _Batch(
        [IdentityRequest(workspace_id, channel_id, "", person, "", now, inbound=False)], keyed_hash
    )
    found = _look(connection, batch)
    record = batch.record_of(0, found)
    if record is None:
        return None
    kept = {external_key(keyed_hash, workspace_id, external) for external in new}
    replaced = {external.kind for external in new}
    dropped = [
        key
        for external in old
        if external.kind in replaced and (key := external_key(keyed_hash, workspace_id, external)) not in kept
    ]
    _delete_keys(connection, workspace_id, channel_id, dropped)
    moved = _Batch(
        [IdentityRequest(workspace_id, channel_id, "", Person(ids=tuple(new)), "", now)], keyed_hash
    )
    _learn_keys(connection, moved, [record], found, now=now)
    at = next((e.kind for e in old if _is_at(record.address, e)), record.kind)
    address = next((e for e in new if e.kind == at), new[0]) if new else None
    if address is not None:
        connection.execute(
            prepared(
                "UPDATE identity SET address = :address, kind = :kind, state = 'reachable', state_at = :now "
                "WHERE workspace_id = :workspace_id AND id = :id"
            ),
            {
                "address": address.value,
                "kind": address.kind,
                "now": now,
                "workspace_id": workspace_id,
                "id": record.id,
            },
        )
    return record.id


@dataclass(frozen=True, slots=True)
class Reached:
    """What became known about reaching a person. `state`: reachable | blocked | gone."""

    workspace_id: int
    channel_id: int
    person: Person
    state: str
    at: int


def set_reachability(connection: Connection, changes: Sequence[Reached], *, keyed_hash: KeyedHash) -> int:
    """Writes blocked, unblocked, gone for known people; the newest word counts. Returns how many identities changed."""
    rows = [
        {
            "workspace_id": c.workspace_id,
            "channel_id": c.channel_id,
            "external_key": external_key(keyed_hash, c.workspace_id, external),
            "state": c.state,
            "at": c.at,
        }
        for c in _newest(changes)
        for external in c.person.ids[:1]
    ]
    if not rows:
        return 0
    return connection.execute(
        prepared(_set_state(dialect(connection).for_update)), {"rows": bulk(rows)}
    ).rowcount


def set_state(
    connection: Connection, *, workspace_id: int, identity_ids: Iterable[int], state: str, now: int
) -> None:
    """Marks identities by id: the sender learnt that they blocked us or are gone."""
    connection.execute(
        prepared(
            "UPDATE identity SET state = :state, state_at = :now WHERE workspace_id = :workspace_id "
            "AND state <> :state AND id IN (SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e)"
        ),
        {
            "state": state,
            "now": now,
            "workspace_id": workspace_id,
            "ids": bulk({"v": one} for one in sorted(set(identity_ids))),
        },
    )


# --- one call's people ------------------------------------------------------------------------------------------------

Key = tuple[int, str]  # channel id, external key


@dataclass(slots=True)
class _Record:
    """An identity row, as it is and as it is to become."""

    id: int
    contact_id: int
    workspace_id: int
    kind: str = ""
    address: str = ""
    username: str | None = None
    display_name: str = ""
    language: str | None = None
    state: str = "reachable"
    state_at: int | None = None
    last_inbound_at: int | None = None
    created: bool = False
    changed: bool = False
    learnt_phone: str | None = None
    salt: str = ""
    user_ids: set[str] = field(default_factory=set)  # kinds; of who is known, only where it matters


@dataclass(slots=True)
class _Batch:
    requests: Sequence[IdentityRequest]
    keyed_hash: KeyedHash
    keys: list[list[Key]] = field(default_factory=list)  # of each request, the most trusted first
    by_key: dict[Key, _Record] = field(
        default_factory=dict
    )  # whose keys are written with them, as they are new
    first_user_ids: set[tuple[int, str]] = field(
        default_factory=set
    )  # (identity id, kind), found by number alone

    def __post_init__(self) -> None:
        hashes: dict[tuple[int, ExternalId], str] = {}
        for request in self.requests:
            keys = []
            for external in request.person.ids:
                known = (request.workspace_id, external)
                if known not in hashes:
                    hashes[known] = external_key(self.keyed_hash, request.workspace_id, external)
                keys.append((request.channel_id, hashes[known]))
            self.keys.append(keys)

    def all_keys(self) -> list[dict[str, Any]]:
        """Every key once, in the order in which all writers take them."""
        workspaces = {
            key: request.workspace_id
            for request, keys in zip(self.requests, self.keys, strict=True)
            for key in keys
        }
        return [
            {"workspace_id": workspaces[key], "channel_id": key[0], "external_key": key[1]}
            for key in sorted(workspaces)
        ]

    def record_of(self, n: int, found: Mapping[Key, _Record]) -> _Record | None:
        """Whom the ids lead to, the most trusted first; a number not to somebody who has another user id."""
        ids = self.requests[n].person.ids
        named = {external.kind for external in ids}
        for key, external in zip(self.keys[n], ids, strict=True):
            record = found.get(key)
            if record is not None and not (external.kind == NUMBER and record.user_ids & named):
                return record
        return None


_COLUMNS = {"workspace_id": "BIGINT", "channel_id": "BIGINT", "external_key": "TEXT"}

FOUND = (
    "k.channel_id",
    "k.external_key",
    "i.id",
    "i.contact_id",
    "i.workspace_id",
    "i.kind",
    "i.address",
    "i.username",
    "i.display_name",
    "i.language",
    "i.state",
    "i.state_at",
    "i.last_inbound_at",
)
# By the primary key of identity_key and of identity.
OF_KEYS = f"""({json_rows(_COLUMNS)}) r
JOIN identity_key k ON k.channel_id = r.channel_id AND k.external_key = r.external_key
                   AND k.workspace_id = r.workspace_id
JOIN identity i ON i.id = k.identity_id AND i.workspace_id = k.workspace_id
"""
_FIND = f"SELECT {', '.join(FOUND)} FROM {OF_KEYS}"


def _find(
    connection: Connection, keys: list[dict[str, Any]], ahead: Ahead | None = None
) -> dict[Key, _Record]:
    records: dict[int, _Record] = {}
    found: dict[Key, _Record] = {}
    if ahead is not None:
        rows = ahead.find(connection, keys)
    else:
        rows = connection.execute(prepared(_FIND), {"rows": bulk(keys)}).all()
    for row in rows:
        record = records.get(row[2])
        if record is None:
            record = records[row[2]] = _Record(*row[2:])
        found[(row[0], row[1])] = record
    return found


def _look(connection: Connection, batch: _Batch, ahead: Ahead | None = None) -> dict[Key, _Record]:
    """`_find` of all keys; who was found by a number that comes with an unknown user id, with their `user_ids`."""
    found = _find(connection, batch.all_keys(), ahead)
    doubtful = []
    for request, keys in zip(batch.requests, batch.keys, strict=True):
        first = next((n for n, key in enumerate(keys) if key in found), 0)
        if first and request.person.ids[first].kind == NUMBER:
            doubtful.append(found[keys[first]])
    _know_user_ids(connection, doubtful)
    return found


# By the index identity_key_identity.
_USER_IDS = f"""
SELECT DISTINCT identity_id, kind FROM identity_key
WHERE identity_id IN (SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e) AND kind <> '{NUMBER}'
"""


def _know_user_ids(connection: Connection, records: Sequence[_Record]) -> None:
    if not records:
        return
    by_id = {record.id: record for record in records}
    for identity_id, kind in connection.execute(prepared(_USER_IDS), {"ids": bulk_values(sorted(by_id))}):
        by_id[identity_id].user_ids.add(kind)


def _assigned(
    batch: _Batch, found: Mapping[Key, _Record], *, new_id: NewId, random: Random
) -> tuple[list[_Record | None], list[_Record]]:
    """The record of each request, and those of them that are new: one for each person however often they stand in the
    batch. Requests count one after another, so a number is whose it was last."""
    held = dict(found)
    records: list[_Record | None] = []
    made: list[_Record] = []
    for n, request in enumerate(batch.requests):
        record = batch.record_of(n, held)
        if record is None:
            record = _Record(new_id(), new_id(), request.workspace_id, created=True, salt=random(SALT).hex())
            made.append(record)
        elif not record.created and not any(held.get(key) is record for key in _user_keys(batch, n)):
            batch.first_user_ids |= {(record.id, e.kind) for e in request.person.ids if e.kind != NUMBER}
        for key, external in zip(batch.keys[n], request.person.ids, strict=True):
            if record.created and key not in held:
                batch.by_key[key] = record
            held[key] = record
            if external.kind != NUMBER:
                record.user_ids.add(external.kind)
        records.append(record)
    return records, made


def _user_keys(batch: _Batch, n: int) -> list[Key]:
    ids = batch.requests[n].person.ids
    return [key for key, external in zip(batch.keys[n], ids, strict=True) if external.kind != NUMBER]


_INSERT_KEYS = (
    insert_rows(
        "identity_key",
        {**_COLUMNS, "identity_id": "BIGINT", "kind": "TEXT"},
        conflict="ON CONFLICT DO NOTHING",
    )
    + " RETURNING channel_id, external_key"
)


def _insert_people(
    connection: Connection,
    batch: _Batch,
    records: list[_Record | None],
    made: list[_Record],
    found: dict[Key, _Record],
    *,
    new_id: NewId,
    now: int,
) -> None:
    rows = _new_keys(batch, made)
    written = connection.execute(prepared(_INSERT_KEYS), {"rows": bulk(rows[key] for key in sorted(rows))})
    won = {(row[0], row[1]) for row in written}
    if len(won) < len(rows):
        lost = {key: str(rows[key]["kind"]) for key in sorted(rows.keys() - won)}
        made = _yield_to_winners(connection, batch, records, made, found, lost=lost, won=won)
    gathering = gathered(connection)
    _insert_rows(gathering, _new_people(batch, records, made, new_id=new_id, now=now))
    send(gathering)


def insert(gathering: Connection, people: NewPeople) -> None:
    """Writes people whom `resolve` has met, within what is gathered, on PostgreSQL; nothing of it counts when somebody
    else has made one of them meanwhile."""
    require(gathering, prepared(_INSERT_KEYS), {"rows": bulk(people.keys)}, rows=len(people.keys))
    _insert_rows(gathering, people)


def _insert_rows(gathering: Connection, people: NewPeople) -> None:
    _new_contacts(gathering, people.contacts)
    _new_identities(gathering, people.identities)
    insert_timeline(gathering, people.timeline)


def _new_keys(batch: _Batch, made: list[_Record]) -> dict[Key, dict[str, Any]]:
    new_ids = {record.id for record in made}
    return {
        key: {
            "workspace_id": request.workspace_id,
            "channel_id": key[0],
            "external_key": key[1],
            "identity_id": record.id,
            "kind": external.kind,
        }
        for n, request in enumerate(batch.requests)
        for key, external in zip(batch.keys[n], request.person.ids, strict=True)
        if (record := batch.by_key.get(key)) is not None and record.id in new_ids
    }


def _yield_to_winners(
    connection: Connection,
    batch: _Batch,
    records: list[_Record | None],
    made: list[_Record],
    found: dict[Key, _Record],
    *,
    lost: Mapping[Key, str],
    won: set[Key],
) -> list[_Record]:
    """Another transaction made some of these people a moment ago: theirs stand, and our keys lead to them. Who shares
    only a number with one of them is somebody else; `found` then tells whom the number is to be taken from. `lost`:
    the keys with their kinds."""
    keys = [row for row in batch.all_keys() if (row["channel_id"], row["external_key"]) in lost]
    winners = _find(connection, keys)
    _know_user_ids(connection, [winner for key, winner in winners.items() if lost[key] == NUMBER])
    instead: dict[int, _Record] = {}
    for key in sorted(
        winners, key=lambda key: lost[key] != NUMBER
    ):  # a user id counts more, so it comes last
        mine, winner = batch.by_key[key], winners[key]
        if lost[key] != NUMBER:
            instead[mine.id] = winner
        elif not mine.user_ids & winner.user_ids:
            instead[mine.id] = winner
            batch.first_user_ids |= {(winner.id, kind) for kind in mine.user_ids}
    for n, record in enumerate(records):
        if record is not None and record.created and record.id in instead:
            records[n] = instead[record.id]
    orphaned = lost.keys() - winners.keys()  # keys that led to nobody
    batch.by_key = {key: instead.get(record.id, record) for key, record in batch.by_key.items()}
    found.update(winners)
    repointed = [
        {
            "channel_id": key[0],
            "external_key": key[1],
            "identity_id": batch.by_key[key].id,
            "workspace_id": batch.by_key[key].workspace_id,
        }
        for key in sorted(won | orphaned)
        if key in orphaned or not batch.by_key[key].created
    ]
    _repoint(connection, repointed)
    return [record for record in made if record.id not in instead]


_REPOINT = f"""
UPDATE identity_key SET identity_id = r.identity_id FROM ({json_rows({**_COLUMNS, "identity_id": "BIGINT"})}) AS r
WHERE identity_key.channel_id = r.channel_id AND identity_key.external_key = r.external_key
  AND identity_key.workspace_id = r.workspace_id
"""


def _repoint(connection: Connection, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(prepared(_REPOINT), {"rows": bulk(rows)})


def _filled(records: list[_Record | None]) -> list[_Record]:
    return [record for record in records if record is not None]


_new_contacts = BulkInsert(
    "contact",
    {
        "id": "BIGINT",
        "workspace_id": "BIGINT",
        "name": "TEXT",
        "first_name": "TEXT",
        "last_name": "TEXT",
        "phone": "TEXT",
        "language": "TEXT",
        "fields": "TEXT",
        "source": "TEXT",
        "created_at": "BIGINT",
        "updated_at": "BIGINT",
    },
)
_new_identities = BulkInsert(
    "identity",
    {
        "id": "BIGINT",
        "workspace_id": "BIGINT",
        "channel_id": "BIGINT",
        "contact_id": "BIGINT",
        "kind": "TEXT",
        "address": "TEXT",
        "username": "TEXT",
        "display_name": "TEXT",
        "language": "TEXT",
        "state": "TEXT",
        "last_inbound_at": "BIGINT",
        "marketing_day": "BIGINT",
        "marketing_count": "SMALLINT",
        "salt": "TEXT",
        "created_at": "BIGINT",
    },
)


def _new_people(
    batch: _Batch, records: list[_Record | None], made: list[_Record], *, new_id: NewId, now: int
) -> NewPeople:
    first_seen: dict[int, IdentityRequest] = {}
    for request, record in zip(batch.requests, _filled(records), strict=True):
        if record.created:
            _update(record, request)
        first_seen.setdefault(record.id, request)
    contacts, identities, lines = [], [], []
    for record in made:
        request = first_seen[record.id]
        person = request.person
        first, last = _clean(person.first_name), _clean(person.last_name)
        contacts.append(
            {
                "id": record.contact_id,
                "workspace_id": request.workspace_id,
                "name": f"{first} {last}".strip(),
                "first_name": first,
                "last_name": last,
                "phone": person.phone,
                "language": _primary(person.language),
                "fields": "{}",
                "source": "",
                "created_at": now,
                "updated_at": now,
            }
        )
        identities.append(
            {
                "id": record.id,
                "workspace_id": request.workspace_id,
                "channel_id": request.channel_id,
                "contact_id": record.contact_id,
                "kind": record.kind,
                "address": record.address,
                "username": record.username,
                "display_name": record.display_name,
                "language": record.language,
                "state": record.state,
                "last_inbound_at": record.last_inbound_at,
                "marketing_day": 0,
                "marketing_count": 0,
                "salt": record.salt,
                "created_at": now,
            }
        )
        lines.append(
            {
                "id": new_id(),
                "workspace_id": request.workspace_id,
                "contact_id": record.contact_id,
                "kind": "created",
                "data": "{}",
                "at": request.at,
            }
        )
        record.changed = False
    keys = _new_keys(batch, made)
    return NewPeople([keys[key] for key in sorted(keys)], contacts, identities, lines)


insert_timeline = BulkInsert(
    "timeline_entry",
    {
        "id": "BIGINT",
        "workspace_id": "BIGINT",
        "contact_id": "BIGINT",
        "kind": "TEXT",
        "data": "TEXT",
        "at": "BIGINT",
    },
)


# --- what changes -----------------------------------------------------------------------------------------------------


def _update(record: _Record, request: IdentityRequest) -> None:
    """The record as this request shows the person."""
    person = request.person
    display = _clean(f"{person.first_name} {person.last_name}".strip()) or record.display_name
    username = _clean(person.username) if person.username else None
    language = _clean(person.language) if person.language else record.language
    # What does not tell leaves an address that is theirs: their conversation has it, and who gets it must find it here.
    address = request.address or (record.address if record.state != "gone" else "") or person.ids[0].value
    kind = next((e.kind for e in person.ids if _is_at(address, e)), record.kind or person.ids[0].kind)
    if not request.inbound:
        username = username or record.username
    after = (display, username, language, address, kind)
    if request.inbound and record.state == "gone" and record.address not in ("", address):
        # Their old address was somebody else's by then; a word from the new one counts, however it was overtaken.
        record.state, record.state_at, record.changed = (
            "reachable",
            max(request.at, record.state_at or 0),
            True,
        )
    if after != (record.display_name, record.username, record.language, record.address, record.kind):
        record.display_name, record.username, record.language, record.address, record.kind = after
        record.changed = True
    if request.inbound:
        _wrote(record, request.at)


def _wrote(record: _Record, at: int) -> None:
    if record.last_inbound_at is None or at > record.last_inbound_at:
        record.last_inbound_at = at
        record.changed = True
    # A block that is newer than this message stands: events of one person may be handled late.
    if record.state in UNREACHABLE and (record.state_at is None or at > record.state_at):
        record.state, record.state_at = "reachable", at
        record.changed = True


def _learn_keys(
    connection: Connection,
    batch: _Batch,
    records: list[_Record | None],
    found: dict[Key, _Record],
    *,
    now: int,
) -> None:
    """Writes keys that lead nowhere yet, and moves those that led to somebody less trusted."""
    new: dict[Key, dict[str, Any]] = {}
    taken: dict[Key, dict[str, Any]] = {}
    losers: list[dict[str, Any]] = []
    learnt: dict[Key, ExternalId] = {}
    for request, keys, record in zip(batch.requests, batch.keys, _filled(records), strict=True):
        for key, external in zip(keys, request.person.ids, strict=True):
            owner = found.get(key) or batch.by_key.get(key)
            if owner is not None and owner.id == record.id:
                continue
            learnt[key] = external
            row = {
                "workspace_id": request.workspace_id,
                "channel_id": key[0],
                "external_key": key[1],
                "identity_id": record.id,
                "kind": external.kind,
            }
            if owner is None:
                new[key] = row
                record.learnt_phone = (
                    request.person.phone if external.kind.endswith("phone") else record.learnt_phone
                )
            else:
                taken[key] = row
                losers += _without_address(owner, external)
            found[key] = record
    for key, owner in _write_learnt(connection, new).items():
        taken.setdefault(key, new[key])
        losers += _without_address(owner, learnt[key]) if owner is not None else []
    _repoint(connection, [taken[key] for key in sorted(taken)])
    if losers:
        connection.execute(prepared(_LOSERS), {"rows": bulk(losers), "now": now})


def _write_learnt(connection: Connection, new: Mapping[Key, dict[str, Any]]) -> dict[Key, _Record | None]:
    """Writes keys that led nowhere. Gives those that lead to somebody else since we looked, with that one (None: to
    nobody)."""
    if not new:
        return {}
    written = connection.execute(prepared(_INSERT_KEYS), {"rows": bulk(new[key] for key in sorted(new))})
    late = new.keys() - {(row[0], row[1]) for row in written}
    if not late:
        return {}
    owners = _find(connection, [new[key] for key in sorted(late)])
    others = {key: owners.get(key) for key in late}
    return {k: one for k, one in others.items() if one is None or one.id != new[k]["identity_id"]}


def _confirm_first_user_ids(connection: Connection, learnt: set[tuple[int, str]]) -> None:
    """Raises Conflict where somebody known by number alone has got the user id of another person, too, whose message
    was handled in the same moment: the first one keeps them. The writer of SQLite is alone."""
    lock = dialect(connection).for_update
    if not learnt or not lock:
        return
    rows = bulk({"v": identity_id, "k": kind} for identity_id, kind in sorted(learnt))
    connection.execute(prepared(_LOCK_IDENTITIES + lock), {"rows": rows})
    if connection.execute(prepared(_SEVERAL), {"rows": rows}).first() is not None:
        raise Conflict("another person came with this number in the same moment")


_LOCK_IDENTITIES = """
SELECT id FROM identity WHERE id IN (SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:rows) e) ORDER BY id """
# Sees what was committed by whoever had the lock before.
_SEVERAL = """
SELECT k.identity_id FROM json_each(:rows) e
JOIN identity_key k ON k.identity_id = CAST(e.value ->> 'v' AS BIGINT) AND k.kind = e.value ->> 'k'
GROUP BY k.identity_id, k.kind HAVING count(*) > 1
"""


def _without_address(owner: _Record, external: ExternalId) -> list[dict[str, Any]]:
    """The owner of a key that leads to somebody else now, if that was their address."""
    return [{"v": owner.id, "w": owner.workspace_id}] if _is_at(owner.address, external) else []


def _is_at(address: str, external: ExternalId) -> bool:
    """Whether this id is the address; a number's begins with a plus, or not."""
    if external.kind == NUMBER:
        return address.removeprefix("+") == _digits(external.value)
    return address == external.value


def _digits(value: str) -> str:
    return "".join(c for c in value if c.isdigit())


_LOSERS = """
UPDATE identity SET state = 'gone', state_at = CAST(:now AS BIGINT)
FROM (SELECT CAST(e.value ->> 'v' AS BIGINT) AS id, CAST(e.value ->> 'w' AS BIGINT) AS workspace_id
      FROM json_each(:rows) e) AS r
WHERE identity.id = r.id AND identity.workspace_id = r.workspace_id
"""
_CHANGED = {
    "id": "BIGINT",
    "workspace_id": "BIGINT",
    "address": "TEXT",
    "kind": "TEXT",
    "username": "TEXT",
    "display_name": "TEXT",
    "language": "TEXT",
    "last_inbound_at": "BIGINT",
    "state": "TEXT",
    "state_at": "BIGINT",
}


# Who is gone since we looked had lost the address of then: not one that they write from now.
_NEWER = (
    "COALESCE(identity.state_at, 0) > COALESCE(v.state_at, 0) "
    "AND NOT (identity.state = 'gone' AND identity.address <> v.address)"
)
# Locked in ascending id first: a person who writes in two places is in two lanes at once. A block that was committed
# after we read stands.
_update_identities = {
    name: BulkUpdate(
        "identity",
        _CHANGED,
        sets=(
            "address = v.address, kind = v.kind, username = v.username, display_name = v.display_name, "
            f"language = v.language, last_inbound_at = {kind.greatest}"
            "(COALESCE(identity.last_inbound_at, v.last_inbound_at), "
            "COALESCE(v.last_inbound_at, identity.last_inbound_at)), "
            f"state = CASE WHEN {_NEWER} THEN identity.state ELSE v.state END, "
            f"state_at = CASE WHEN {_NEWER} THEN identity.state_at ELSE v.state_at END"
        ),
        where="identity.id = v.id AND identity.workspace_id = v.workspace_id",
        ordered=["id"],
    )
    for name, kind in DIALECTS.items()
}


def _write_changes(
    connection: Connection,
    batch: _Batch,
    records: list[_Record | None],
    *,
    now: int,
    aside: list[dict[str, Any]] | None,
) -> None:
    stay = True  # addresses and states, which others may read in this transaction
    for request, record in zip(batch.requests, _filled(records), strict=True):
        if not record.created:
            before = (record.address, record.kind, record.state)
            _update(record, request)
            stay = stay and before == (record.address, record.kind, record.state)
    changed = {record.id: record for record in _filled(records) if record.changed and not record.created}
    rows = [{name: getattr(changed[one], name) for name in _CHANGED} for one in sorted(changed)]
    if aside is not None and stay:
        aside += rows
    elif not _update_identities[dialect(connection).name].expect(connection, rows):
        raise Conflict("a person was forgotten in the meantime")
    phones = [
        {"id": r.contact_id, "workspace_id": r.workspace_id, "phone": r.learnt_phone}
        for r in {r.id: r for r in _filled(records)}.values()
        if r.learnt_phone and not r.created
    ]
    if phones:
        connection.execute(prepared(_FILL_PHONES), {"rows": bulk(phones), "now": now})


def see_again(gathering: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Writes what `resolve` found changed in identities that were known; nothing of what is gathered counts when one is
    not there any more."""
    _update_identities[dialect(gathering).name].expect(gathering, rows)


# Only where there is none: what the person told us is never overwritten by what the platform tells.
_FILL_PHONES = f"""
UPDATE contact SET phone = r.phone, updated_at = CAST(:now AS BIGINT)
FROM ({json_rows({"id": "BIGINT", "workspace_id": "BIGINT", "phone": "TEXT"})}) AS r
WHERE contact.id = r.id AND contact.workspace_id = r.workspace_id AND contact.phone IS NULL
"""
_DELETE_KEYS = """
DELETE FROM identity_key WHERE workspace_id = :workspace_id AND channel_id = :channel_id
  AND external_key IN (SELECT e.value ->> 'v' FROM json_each(:keys) e)
"""


def _delete_keys(connection: Connection, workspace_id: int, channel_id: int, keys: list[str]) -> None:
    if keys:
        parameters = {"workspace_id": workspace_id, "channel_id": channel_id, "keys": bulk_values(keys)}
        connection.execute(prepared(_DELETE_KEYS), parameters)


def _set_state(for_update: str) -> str:
    columns = json_rows({**_COLUMNS, "state": "TEXT", "at": "BIGINT"})
    return f"""
UPDATE identity SET state = r.state, state_at = r.at
FROM (SELECT i.id, i.workspace_id, r.state, r.at FROM ({columns}) r
      JOIN identity_key k ON k.channel_id = r.channel_id AND k.external_key = r.external_key
                         AND k.workspace_id = r.workspace_id
      JOIN identity i ON i.id = k.identity_id AND i.workspace_id = k.workspace_id
      WHERE COALESCE(i.state_at, 0) <= r.at
      ORDER BY i.id {for_update}) AS r
WHERE identity.id = r.id AND identity.workspace_id = r.workspace_id
"""


def _newest(changes: Sequence[Reached]) -> list[Reached]:
    newest: dict[tuple[int, tuple[ExternalId, ...]], Reached] = {}
    for change in changes:
        key = (change.channel_id, change.person.ids[:1])
        if key not in newest or newest[key].at <= change.at:
            newest[key] = change
    return list(newest.values())


def _clean(value: str | None) -> str:
    return storable(value.strip())[:MAX_NAME] if value else ""


def _primary(language: str | None) -> str | None:
    """`zh-hans` → `zh`: the form in which texts of flows are keyed."""
    return language.replace("_", "-").split("-")[0].lower()[:8] if language else None
