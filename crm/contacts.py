"""Contacts: what the engine sees of them, the patches that change them, and what API and console need.

Patches commute (set a field, add a tag, add n), because one contact may be in two lanes at once: rows are locked in
ascending id, read, merged here and written back by one statement, which is also the only way in which both databases
give the same JSON. On SQLite the writer is alone and there is nothing to lock. What was read before the transaction
(`Known`, PostgreSQL) is not locked: it is written where the row's version still is the one that was read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection

from crm.gate import zone_of
from crm.identities import NewId, insert_timeline
from domain.comparisons import number
from domain.contacts import ContactView
from domain.effects import PatchContact
from domain.errors import NotFound, RejectedInput
from domain.events import storable
from storage.bulk_writes import BulkUpdate
from storage.database import dialect
from storage.statements import bulk, insert_rows, json_rows, prepared

TEXT_COLUMNS = ("name", "first_name", "last_name", "email", "phone", "language", "timezone")
_EMPTY = {"name": "", "first_name": "", "last_name": ""}  # what an unset column holds; the others hold NULL
MAX_FIELDS = 200  # of one contact: more is a spreadsheet, and every step would carry it
MAX_FIELD_TEXT = 4_096  # characters: one message
MAX_TAGS = 200
MAX_TAG = 80
PAGE = 100

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")
_FIELD_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}")
_json = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode

Ref = tuple[int, int, int]  # workspace id, contact id, identity id (0: the contact as a whole)


# --- what the engine sees ---------------------------------------------------------------------------------------------


def load_views(connection: Connection, refs: Iterable[Ref]) -> dict[tuple[int, int], ContactView]:
    """Views by (contact id, identity id); what is not in that workspace is not in the answer. One statement.

    `consents` are those of the identity, because consent is given where somebody writes; with identity 0, of each
    purpose the state that changed last on any of the contact's identities.
    """
    rows = [{"workspace_id": w, "contact_id": c, "identity_id": i} for w, c, i in sorted(set(refs))]
    if not rows:
        return {}
    found = connection.execute(prepared(_VIEWS[dialect(connection).name]), {"rows": bulk(rows)})
    return {(row[0], row[1]): view_of(row) for row in found}


def view_columns(kind: str, identity: str) -> tuple[str, ...]:
    """What `view_of` reads: of the contact `c`, seen from an identity (an SQL expression, 0: as a whole). By the
    primary keys of contact_tag and consent_state and the index identity_contact. The plus signs
    keep SQLite from an index that begins with the workspace: it would read all tags and consents there are."""
    array, aggregate = _JSON[kind]
    return (
        "c.id",
        identity,
        "c.name",
        "c.first_name",
        "c.last_name",
        "c.language",
        "c.timezone",
        "c.email",
        "c.phone",
        "c.fields",
        "c.created_at",
        f"""
       CAST((SELECT {aggregate}(t.tag) FROM contact_tag t
             WHERE t.contact_id = c.id AND +t.workspace_id = c.workspace_id) AS TEXT)""",
        f"""
       CAST((SELECT {aggregate}({array}(s.purpose, s.state, s.changed_at, s.identity_id)) FROM identity i
             JOIN consent_state s ON s.identity_id = i.id AND +s.workspace_id = i.workspace_id
             WHERE i.workspace_id = c.workspace_id AND i.contact_id = c.id
               AND (i.id = {identity} OR {identity} = 0)) AS TEXT)""",
        f"""
       CAST((SELECT {aggregate}({array}(i.id, i.channel_id, i.kind, i.username, i.state)) FROM identity i
             WHERE i.workspace_id = c.workspace_id AND i.contact_id = c.id) AS TEXT)""",
    )


_JSON = {"sqlite": ("json_array", "json_group_array"), "postgresql": ("json_build_array", "json_agg")}
_VIEWS = {
    name: f"""
SELECT {", ".join(view_columns(name, "r.identity_id"))}
FROM ({json_rows({"workspace_id": "BIGINT", "contact_id": "BIGINT", "identity_id": "BIGINT"})}) r
JOIN contact c ON c.id = r.contact_id AND c.workspace_id = r.workspace_id
"""
    for name in _JSON
}


def view_of(row: Any) -> ContactView:
    """The view that `view_columns` gave."""
    consents = sorted(_list(row[12]), key=lambda entry: (entry[2], entry[3]))
    identities = [
        {"id": i, "channel_id": channel, "kind": kind, "username": username, "state": state}
        for i, channel, kind, username, state in sorted(_list(row[13]))
    ]
    return ContactView(
        id=row[0],
        name=row[2],
        first_name=row[3],
        last_name=row[4],
        language=row[5],
        timezone=row[6],
        email=row[7],
        phone=row[8],
        fields=_json.decode(row[9]),
        created_at=row[10],
        tags=set(_list(row[11])),
        consents={purpose: state for purpose, state, _at, _identity in consents},
        identities=identities,
    )


def view_of_new(contact: Mapping[str, Any], identity: Mapping[str, Any]) -> ContactView:
    """The view of somebody whom `identities.resolve` has just met, by their rows."""
    return ContactView(
        id=contact["id"],
        name=contact["name"],
        first_name=contact["first_name"],
        last_name=contact["last_name"],
        language=contact["language"],
        phone=contact["phone"],
        created_at=contact["created_at"],
        identities=[{key: identity[key] for key in ("id", "channel_id", "kind", "username", "state")}],
    )


def _list(value: str | None) -> list[Any]:
    return _json.decode(value) if value and value != "[]" else []


# --- patches ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ContactPatch:
    """A `PatchContact` and whom it changes."""

    workspace_id: int
    contact_id: int
    patch: PatchContact


@dataclass(slots=True)
class _Merged:
    set: dict[str, Any] = field(default_factory=dict)
    increments: dict[str, float] = field(default_factory=dict)
    tags: dict[str, bool] = field(default_factory=dict)  # tag -> add (True) or remove


_LOCKED_COLUMNS = ("id", "workspace_id", *TEXT_COLUMNS, "birth_year", "fields")
_WRITTEN = {
    "id": "BIGINT",
    "workspace_id": "BIGINT",
    **dict.fromkeys(TEXT_COLUMNS, "TEXT"),
    "birth_year": "BIGINT",
    "fields": "TEXT",
}
_REFS = json_rows({"workspace_id": "BIGINT", "contact_id": "BIGINT"})
_TAGS = {"workspace_id": "BIGINT", "contact_id": "BIGINT", "tag": "TEXT"}

_SETS = ", ".join(
    [
        *(f"{name} = v.{name}" for name in _WRITTEN if name not in ("id", "workspace_id")),
        "updated_at = CAST(:now AS BIGINT)",
    ]
)
_THIS = "contact.id = v.id AND contact.workspace_id = v.workspace_id"
_update = BulkUpdate("contact", _WRITTEN, sets=_SETS, where=_THIS)
# xmin, the transaction that wrote a row, is PostgreSQL's own version of it.
SEEN_COLUMNS = (*(f"c.{name}" for name in _LOCKED_COLUMNS), "CAST(c.xmin AS TEXT)")
_update_seen = BulkUpdate(
    "contact",
    {**_WRITTEN, "seen": "TEXT"},
    sets=_SETS,
    where=f"{_THIS} AND CAST(contact.xmin AS TEXT) = v.seen",
)
Known = Mapping[int, Sequence[Any]]  # contact id → `SEEN_COLUMNS`
NOBODY: Known = {}
_ADD_TAGS = f"""
INSERT INTO contact_tag (workspace_id, contact_id, tag)
SELECT r.workspace_id, r.contact_id, r.tag FROM ({json_rows(_TAGS)}) r
JOIN contact c ON c.id = r.contact_id AND c.workspace_id = r.workspace_id
WHERE true ON CONFLICT DO NOTHING
"""
_REMOVE_TAGS = f"""
DELETE FROM contact_tag WHERE contact_id IN (SELECT r.contact_id FROM ({_REFS}) r)
  AND (+workspace_id, +contact_id, tag) IN (
    SELECT r.workspace_id, r.contact_id, r.tag FROM ({json_rows(_TAGS)}) r)
"""


def apply_patches(
    connection: Connection,
    patches: Sequence[ContactPatch],
    *,
    now: int,
    gathering: Connection | None = None,
    known: Known = NOBODY,
) -> None:
    """Applies patches in their order, contacts in ascending id; a contact that is gone is left out.

    At most four statements; `gathering` takes those that write, and tells when a `known` contact was changed
    meanwhile. What an author's flow sets is cut to our limits rather than refused: a turn must not fail because a
    person wrote much.
    """
    merged = _merge(patches)
    changes = {ref: m for ref, m in merged.items() if m.set or m.increments}
    if changes:
        _write_columns(connection, changes, now, gathering or connection, known)
    for add, statement in ((False, _REMOVE_TAGS), (True, _ADD_TAGS)):
        rows = [
            {"workspace_id": w, "contact_id": c, "tag": tag}
            for (w, c), m in sorted(merged.items())
            for tag, added in sorted(m.tags.items())
            if added is add
        ]
        if rows:
            (gathering or connection).execute(prepared(statement), {"rows": bulk(rows)})


def _merge(patches: Sequence[ContactPatch]) -> dict[tuple[int, int], _Merged]:
    merged: dict[tuple[int, int], _Merged] = {}
    for one in patches:
        into = merged.setdefault((one.workspace_id, one.contact_id), _Merged())
        for key, value in one.patch.set.items():
            into.set[key] = value
            into.increments.pop(key, None)
        for key, amount in one.patch.increment.items():
            if key in into.set:
                into.set[key] = _plain((number(into.set[key]) or 0) + amount)
            else:
                into.increments[key] = into.increments.get(key, 0) + amount
        for tag in one.patch.remove_tags:
            into.tags[_tag(tag)] = False
        for tag in one.patch.add_tags:
            into.tags[_tag(tag)] = True
        into.tags.pop("", None)
    return merged


def _write_columns(
    connection: Connection,
    changes: dict[tuple[int, int], _Merged],
    now: int,
    writes: Connection,
    known: Known,
) -> None:
    if known.keys() >= {contact_id for _, contact_id in changes}:
        _write_seen(changes, now, writes, known)
        return
    refs = bulk({"workspace_id": w, "contact_id": c} for w, c in sorted(changes))
    # By the primary key; the order is the order of the locks.
    locked = connection.execute(
        prepared(
            f"SELECT {', '.join(f'c.{name}' for name in _LOCKED_COLUMNS)} FROM ({_REFS}) r "
            "JOIN contact c ON c.id = r.contact_id AND c.workspace_id = r.workspace_id "
            f"ORDER BY c.id {dialect(connection).for_update}"
        ),
        {"rows": refs},
    )
    rows = []
    for found in locked:
        before = dict(zip(_LOCKED_COLUMNS, found, strict=True))
        after = _patched(before, changes[(before["workspace_id"], before["id"])])
        if after != before:
            rows.append(after)
    if rows:
        _update(writes, rows, now=now)


def _write_seen(changes: dict[tuple[int, int], _Merged], now: int, writes: Connection, known: Known) -> None:
    rows = []
    for ref, change in sorted(changes.items()):
        *found, seen = known[ref[1]]
        before = dict(zip(_LOCKED_COLUMNS, found, strict=True))
        after = _patched(before, change)
        if after != before:
            rows.append({**after, "seen": seen})
    _update_seen.expect(writes, rows, now=now)


def _patched(before: dict[str, Any], change: _Merged) -> dict[str, Any]:
    after = dict(before)
    fields: dict[str, Any] = _json.decode(before["fields"])
    for key, value in change.set.items():
        name = key.removeprefix("fields.")
        if name != key:
            _set_field(fields, name, _cut(value))
        elif key in TEXT_COLUMNS:
            after[key] = _EMPTY.get(key) if value in (None, "") else _cut(str(value))
        elif key == "birth_year":
            year = number(value)
            after[key] = int(year) if year is not None and 1900 <= year <= 2100 else None
    for key, amount in change.increments.items():
        name = key.removeprefix("fields.")
        _set_field(fields, name, _plain((number(fields.get(name)) or 0) + amount))
    if fields != _json.decode(before["fields"]):
        after["fields"] = _encode(fields).decode()
    if "name" not in change.set and before["name"] in ("", _full_name(before)):
        after["name"] = _full_name(after)
    return after


def _full_name(row: dict[str, Any]) -> str:
    return f"{row['first_name']} {row['last_name']}".strip()


def _set_field(fields: dict[str, Any], name: str, value: Any) -> None:
    if value is None:
        fields.pop(name, None)
    elif name in fields or len(fields) < MAX_FIELDS:
        fields[name] = value


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)[:MAX_FIELD_TEXT]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_cut(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)][
            :MAX_TAGS
        ]
    return value


def _plain(value: float) -> float | int:
    """5.0 is 5: a counter stays a whole number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _tag(tag: str) -> str:
    return storable(tag.strip())[:MAX_TAG]


# --- timeline ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TimelineLine:
    """Something that happened with a contact: `kind` as in the table, `data` for the sentence that people read."""

    workspace_id: int
    contact_id: int
    kind: str
    at: int
    data: dict[str, Any] = field(default_factory=dict)


def append_timeline(connection: Connection, lines: Sequence[TimelineLine], *, new_id: NewId) -> None:
    """Appends lines, one statement for all."""
    if not lines:
        return
    rows = [
        {
            "id": new_id(),
            "workspace_id": line.workspace_id,
            "contact_id": line.contact_id,
            "kind": line.kind,
            "data": _encode(line.data).decode(),
            "at": line.at,
        }
        for line in lines
    ]
    insert_timeline(connection, rows)


def timeline(
    connection: Connection,
    *,
    workspace_id: int,
    contact_id: int,
    before: int | None = None,
    limit: int = PAGE,
) -> list[dict[str, Any]]:
    """The newest lines before an id, newest first: `{id, kind, data, at}`."""
    found = connection.execute(
        prepared(
            "SELECT id, kind, data, at FROM timeline_entry WHERE workspace_id = :workspace_id "
            "AND contact_id = :contact_id AND id < :before ORDER BY id DESC LIMIT :limit"
        ),
        {
            "workspace_id": workspace_id,
            "contact_id": contact_id,
            "before": before if before is not None else (1 << 63) - 1,
            "limit": limit,
        },
    )
    return [{"id": i, "kind": kind, "data": _json.decode(data), "at": at} for i, kind, data, at in found]


# --- one at a time, for API and console -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ContactPage:
    """Contacts in ascending id; `next` is the id to go on after, None at the end."""

    contacts: list[ContactView]
    next: int | None


def list_contacts(
    connection: Connection, *, workspace_id: int, after: int = 0, limit: int = PAGE, search: str = ""
) -> ContactPage:
    """A page of contacts, by keyset; `search` finds a part of name, e-mail or phone, by ASCII case."""
    parameters: dict[str, Any] = {"workspace_id": workspace_id, "after": after, "limit": limit + 1}
    condition = ""
    if search:
        condition = (
            "AND (lower(c.name) LIKE :search ESCAPE '!' OR lower(c.email) LIKE :search ESCAPE '!' "
            "OR c.phone LIKE :search ESCAPE '!')"
        )
        escaped = re.sub(r"([!%_])", r"!\1", search.lower())
        parameters["search"] = f"%{escaped}%"
    # By the unique index (workspace_id, id).
    ids = [
        row[0]
        for row in connection.execute(
            prepared(
                f"SELECT c.id FROM contact c WHERE c.workspace_id = :workspace_id AND c.id > :after {condition} "
                "ORDER BY c.id LIMIT :limit"
            ),
            parameters,
        )
    ]
    views = load_views(connection, [(workspace_id, contact_id, 0) for contact_id in ids[:limit]])
    shown = [views[(contact_id, 0)] for contact_id in ids[:limit]]
    return ContactPage(shown, ids[limit - 1] if len(ids) > limit else None)


def get(connection: Connection, *, workspace_id: int, contact_id: int) -> ContactView:
    """One contact. Raises NotFound, also for a contact of another workspace."""
    found = load_views(connection, [(workspace_id, contact_id, 0)])
    if not found:
        raise NotFound("there is no such contact")
    return found[(contact_id, 0)]


_INSERT = insert_rows(
    "contact",
    {**_WRITTEN, "source": "TEXT", "created_at": "BIGINT", "updated_at": "BIGINT"},
)


def create(
    connection: Connection,
    *,
    workspace_id: int,
    patch: PatchContact,
    new_id: NewId,
    now: int,
    source: str = "",
) -> int:
    """A contact without identities (they come by writing, or by `identities.resolve`); returns its id.

    Raises RejectedInput naming what does not fit.
    """
    check(patch)
    contact_id = new_id()
    row: dict[str, Any] = {name: _EMPTY.get(name) for name in _WRITTEN}
    row |= {"id": contact_id, "workspace_id": workspace_id, "fields": "{}", "source": source}
    row |= {"created_at": now, "updated_at": now}
    connection.execute(prepared(_INSERT), {"rows": bulk([row])})
    apply_patches(connection, [ContactPatch(workspace_id, contact_id, patch)], now=now)
    _check_all_fit(get(connection, workspace_id=workspace_id, contact_id=contact_id), patch)
    append_timeline(connection, [TimelineLine(workspace_id, contact_id, "created", now)], new_id=new_id)
    return contact_id


def update(
    connection: Connection, *, workspace_id: int, contact_id: int, patch: PatchContact, now: int
) -> ContactView:
    """Changes one contact and gives its new view. Raises NotFound and RejectedInput.

    Deleting a contact is `privacy.erase`: other layers hold rows of it.
    """
    check(patch)
    get(connection, workspace_id=workspace_id, contact_id=contact_id)
    apply_patches(connection, [ContactPatch(workspace_id, contact_id, patch)], now=now)
    view = get(connection, workspace_id=workspace_id, contact_id=contact_id)
    _check_all_fit(view, patch)
    return view


def check(patch: PatchContact) -> None:
    """Raises RejectedInput naming the first thing in a patch from outside that does not fit."""
    for key, value in patch.set.items():
        name = key.removeprefix("fields.")
        if name != key:
            _check_key(name, key)
            _check_value(value, key)
        elif key not in (*TEXT_COLUMNS, "birth_year"):
            raise RejectedInput(
                f"not a property of contacts: use {', '.join(TEXT_COLUMNS)} or fields.<key>", where=key
            )
        elif key == "birth_year":
            if value is not None and not (isinstance(value, int) and 1900 <= value <= 2100):
                raise RejectedInput("must be a year such as 1990", where=key)
        elif value is not None and not isinstance(value, str):
            raise RejectedInput("must be a text", where=key)
        elif key == "language" and value and not _LANGUAGE.fullmatch(value):
            raise RejectedInput("must be a language code such as it or en-GB", where=key)
        elif key == "timezone" and value and zone_of(value) is None:
            raise RejectedInput("must be a time zone such as Europe/Rome", where=key)
        else:
            _check_value(value, key)
    for key in patch.increment:
        if not key.startswith("fields."):
            raise RejectedInput("only fields.<key> can be counted up", where=key)
        _check_key(key.removeprefix("fields."), key)
    for tag in (*patch.add_tags, *patch.remove_tags):
        if not tag.strip() or len(tag) > MAX_TAG:
            raise RejectedInput(f"a tag has 1 to {MAX_TAG} characters", where="tags")
    if len(patch.add_tags) > MAX_TAGS:
        raise RejectedInput(f"at most {MAX_TAGS} tags", where="tags")


def _check_all_fit(view: ContactView, patch: PatchContact) -> None:
    """Raises RejectedInput when the contact has no room for what the patch sets: nothing is left out unsaid."""
    given = [key for key, value in patch.set.items() if value is not None] + list(patch.increment)
    for key in given:
        name = key.removeprefix("fields.")
        if name != key and name not in view.fields:
            raise RejectedInput(f"a contact has at most {MAX_FIELDS} fields", where=key)
    if patch.add_tags and len(view.tags) > MAX_TAGS:
        raise RejectedInput(f"a contact has at most {MAX_TAGS} tags", where="tags")


def _check_key(name: str, where: str) -> None:
    if not _FIELD_KEY.fullmatch(name):
        raise RejectedInput(
            "a field's key has small letters, digits and _, up to 64, a letter first", where=where
        )


def _check_value(value: Any, where: str) -> None:
    if value is None or isinstance(value, (bool, int, float)):
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            raise RejectedInput("is too large a number", where=where)
        return
    if isinstance(value, str):
        if len(value) > MAX_FIELD_TEXT:
            raise RejectedInput(f"at most {MAX_FIELD_TEXT} characters", where=where)
        return
    if isinstance(value, list) and len(value) <= MAX_TAGS and all(isinstance(item, str) for item in value):
        return
    raise RejectedInput("must be a text, a number, yes or no, or a list of texts", where=where)
