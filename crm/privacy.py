"""What a person may ask for: a copy of everything (`/mydata`), and to be forgotten (`/forget`).

Each layer knows its own rows: it registers with `@exports(name)` what it holds of a person, and with `@erases(name)`
how it deletes that. Erasure goes in units, each one transaction of the caller (a job), harmless to repeat:

  1. `begin`: the person's addresses go on the suppression list, and lead nowhere any more: whoever writes after this
     is somebody new, and no message to them starts.
  2. one unit for every registered eraser, in the order of names.
  3. `end`: every eraser once more in the same transaction as our own rows, for what came in between; an audit entry.

What remains: suppression hashes, the consent ledger without anything personal (evidence and salt are emptied, the
chain still verifies), the audit entry, and counters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Connection

from crm.contacts import get, timeline
from crm.identities import NewId
from domain.contacts import ContactView
from domain.ids import to_text
from storage.database import dialect
from storage.statements import bulk, bulk_values, insert_rows, prepared

Eraser = Callable[[Connection, int, int, Sequence[int], int], bool | None]
Exporter = Callable[[Connection, int, int, Sequence[int]], Any]

BEGIN, END = "begin", "end"
TIMELINE_LINES = 10_000  # of an export; a person with more gets the newest

_erasers: dict[str, Eraser] = {}
_exporters: dict[str, Exporter] = {}
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def erases(name: str) -> Callable[[Eraser], Eraser]:
    """Registers how a layer deletes its rows: `(connection, workspace_id, contact_id, identity_ids, now)`.

    Called in a transaction, any number of times. Returns True when it stopped at a sensible number of rows and wants
    to be called again. A second eraser of that name is an error at start.
    """

    def register(eraser: Eraser) -> Eraser:
        if name in _erasers or name in (BEGIN, END):
            raise RuntimeError(f"eraser {name!r} is registered twice: {eraser.__module__}")
        _erasers[name] = eraser
        return eraser

    return register


def exports(name: str) -> Callable[[Exporter], Exporter]:
    """Registers what a layer holds of a person: `(connection, workspace_id, contact_id, identity_ids)` -> JSON data.

    The data stands under `name` in the export. A second exporter of that name is an error at start.
    """

    def register(exporter: Exporter) -> Exporter:
        if name in _exporters:
            raise RuntimeError(f"exporter {name!r} is registered twice: {exporter.__module__}")
        _exporters[name] = exporter
        return exporter

    return register


def erasers() -> Sequence[str]:
    """The names of all registered erasers, in their order."""
    return sorted(_erasers)


# --- forgetting -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Receipt:
    """That a person was forgotten: whom (a public id, which means nothing any more), when, and by which layers."""

    contact: str
    at: int
    erased: tuple[str, ...]


def erase_unit(
    connection: Connection,
    *,
    workspace_id: int,
    contact_id: int,
    cursor: str,
    actor: str,
    new_id: NewId,
    now: int,
) -> str | Receipt:
    """Does the unit that `cursor` names ("" to begin) and gives the next one, or the receipt at the end.

    Erasing somebody who is gone already gives a receipt as well: asking twice is no fault.
    """
    units = [BEGIN, *erasers(), END]
    unit = cursor if cursor in units else BEGIN
    identity_ids = _identity_ids(connection, workspace_id, contact_id)
    if unit == BEGIN:
        _detach(connection, workspace_id, identity_ids, now)
    elif unit != END:
        if _erasers[unit](connection, workspace_id, contact_id, identity_ids, now):
            return unit
    else:
        # Whoever writes of them meanwhile comes before all that follows, or finds them gone.
        _lock(connection, workspace_id, contact_id)
        for name in erasers():
            while _erasers[name](connection, workspace_id, contact_id, identity_ids, now):
                pass
        _delete(connection, workspace_id, contact_id, identity_ids)
        return _receipt(connection, workspace_id, contact_id, actor=actor, new_id=new_id, now=now)
    return units[units.index(unit) + 1]


def erase(
    connection: Connection, *, workspace_id: int, contact_id: int, actor: str, new_id: NewId, now: int
) -> Receipt:
    """All units in one transaction: for the command line and for people with little history."""
    cursor = ""
    while True:
        step = erase_unit(
            connection,
            workspace_id=workspace_id,
            contact_id=contact_id,
            cursor=cursor,
            actor=actor,
            new_id=new_id,
            now=now,
        )
        if isinstance(step, Receipt):
            return step
        cursor = step


def _identity_ids(connection: Connection, workspace_id: int, contact_id: int) -> list[int]:
    rows = connection.execute(
        prepared("SELECT id FROM identity WHERE workspace_id = :w AND contact_id = :c"),
        {"w": workspace_id, "c": contact_id},
    )
    return sorted(row[0] for row in rows)


def _lock(connection: Connection, workspace_id: int, contact_id: int) -> None:
    lock = dialect(connection).for_update
    connection.execute(
        prepared(f"SELECT id FROM identity WHERE workspace_id = :w AND contact_id = :c ORDER BY id {lock}"),
        {"w": workspace_id, "c": contact_id},
    ).all()


_IDS = "(SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e)"
_DETACH = (
    # What an operator set stays the operator's; any consent given later lifts the rest.
    "INSERT INTO suppression (workspace_id, external_key, purpose, reason, at) "
    "SELECT DISTINCT k.workspace_id, k.external_key, '*', 'erased', CAST(:now AS BIGINT) FROM identity_key k "
    f"WHERE k.workspace_id = :w AND k.identity_id IN {_IDS} ON CONFLICT DO NOTHING",
    f"DELETE FROM identity_key WHERE workspace_id = :w AND identity_id IN {_IDS}",
    "UPDATE identity SET state = 'gone', state_at = CAST(:now AS BIGINT) "
    f"WHERE workspace_id = :w AND id IN {_IDS}",
)
_DELETE = (
    f"UPDATE consent_entry SET evidence = '{{}}' WHERE +workspace_id = :w AND identity_id IN {_IDS}",
    f"DELETE FROM consent_state WHERE +workspace_id = :w AND identity_id IN {_IDS}",
    f"DELETE FROM identity_key WHERE workspace_id = :w AND identity_id IN {_IDS}",
    "DELETE FROM identity WHERE workspace_id = :w AND contact_id = :c",
    "DELETE FROM contact_tag WHERE +workspace_id = :w AND contact_id = :c",
    "DELETE FROM timeline_entry WHERE workspace_id = :w AND contact_id = :c",
    "DELETE FROM contact WHERE workspace_id = :w AND id = :c",
)


def _detach(connection: Connection, workspace_id: int, identity_ids: list[int], now: int) -> None:
    parameters = {"w": workspace_id, "ids": bulk_values(identity_ids), "now": now}
    for statement in _DETACH:
        used = {name: value for name, value in parameters.items() if f":{name}" in statement}
        connection.execute(prepared(statement), used)


def _delete(connection: Connection, workspace_id: int, contact_id: int, identity_ids: list[int]) -> None:
    parameters = {"w": workspace_id, "c": contact_id, "ids": bulk_values(identity_ids)}
    for statement in _DELETE:
        used = {name: value for name, value in parameters.items() if f":{name}" in statement}
        connection.execute(prepared(statement), used)


_INSERT_AUDIT = insert_rows(
    "audit_entry",
    {
        "id": "BIGINT",
        "workspace_id": "BIGINT",
        "actor": "TEXT",
        "action": "TEXT",
        "target": "TEXT",
        "detail": "TEXT",
        "at": "BIGINT",
    },
)


def _receipt(
    connection: Connection, workspace_id: int, contact_id: int, *, actor: str, new_id: NewId, now: int
) -> Receipt:
    receipt = Receipt(to_text("contact", contact_id), now, ("contacts", *erasers()))
    row = {
        "id": new_id(),
        "workspace_id": workspace_id,
        "actor": actor,
        "action": "contact_erased",
        "target": receipt.contact,
        "detail": _encode({"erased": receipt.erased}).decode(),
        "at": now,
    }
    connection.execute(prepared(_INSERT_AUDIT), {"rows": bulk([row])})
    return receipt


# --- a copy -----------------------------------------------------------------------------------------------------------


def export(connection: Connection, *, workspace_id: int, contact_id: int, now: int) -> dict[str, Any]:
    """Everything that is held of a person, as JSON data. Raises NotFound.

    `{"exported_at", "contact": {…}, "identities": […], "consents": […], "timeline": […], <name>: …}`; times are
    ISO 8601. Each registered layer adds its part under its own name.
    """
    view = get(connection, workspace_id=workspace_id, contact_id=contact_id)
    identity_ids = [identity["id"] for identity in view.identities]
    data = {
        "exported_at": _iso(now),
        "contact": _contact(view),
        "identities": _identities(connection, workspace_id, contact_id),
        "consents": _consents(connection, workspace_id, identity_ids),
        "timeline": [
            {"at": _iso(line["at"]), "kind": line["kind"], **line["data"]}
            for line in timeline(
                connection, workspace_id=workspace_id, contact_id=contact_id, limit=TIMELINE_LINES
            )
        ],
    }
    for name in sorted(_exporters):
        data[name] = _exporters[name](connection, workspace_id, contact_id, identity_ids)
    return data


def _contact(view: ContactView) -> dict[str, Any]:
    return {
        "id": to_text("contact", view.id),
        "name": view.name,
        "first_name": view.first_name,
        "last_name": view.last_name,
        "email": view.email,
        "phone": view.phone,
        "language": view.language,
        "timezone": view.timezone,
        "fields": view.fields,
        "tags": sorted(view.tags),
        "created_at": _iso(view.created_at),
    }


def _identities(connection: Connection, workspace_id: int, contact_id: int) -> list[dict[str, Any]]:
    rows = connection.execute(
        prepared(
            "SELECT ch.kind, ch.name, i.kind, i.address, i.username, i.display_name, i.state, i.created_at, "
            "i.last_inbound_at FROM identity i "
            "LEFT JOIN channel ch ON ch.id = i.channel_id AND ch.workspace_id = i.workspace_id "
            "WHERE i.workspace_id = :w AND i.contact_id = :c ORDER BY i.id"
        ),
        {"w": workspace_id, "c": contact_id},
    )
    names = (
        "network",
        "channel",
        "kind",
        "address",
        "username",
        "display_name",
        "state",
        "since",
        "last_wrote_at",
    )
    identities = [dict(zip(names, row, strict=True)) for row in rows]
    return [
        {**one, "since": _iso(one["since"]), "last_wrote_at": _iso(one["last_wrote_at"])}
        for one in identities
    ]


def _consents(connection: Connection, workspace_id: int, identity_ids: list[int]) -> list[dict[str, Any]]:
    rows = connection.execute(
        prepared(
            "SELECT c.purpose, c.action, c.wording, c.wording_version, c.language, c.source, c.evidence, c.occurred_at "
            f"FROM consent_entry c WHERE +c.workspace_id = :w AND c.identity_id IN {_IDS} "
            "ORDER BY c.identity_id, c.position"
        ),
        {"w": workspace_id, "ids": bulk_values(identity_ids)},
    )
    names = ("purpose", "action", "wording", "wording_version", "language", "source", "evidence", "at")
    consents = [dict(zip(names, row, strict=True)) for row in rows]
    return [
        {**one, "source": _decode(one["source"]), "evidence": _decode(one["evidence"]), "at": _iso(one["at"])}
        for one in consents
    ]


def _iso(ms: int | None) -> str | None:
    return None if ms is None else datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_WORDS: Mapping[str, Mapping[str, str]] = {
    "it": {
        "title": "I tuoi dati",
        "exported_at": "Copia del",
        "contact": "Su di te",
        "identities": "Dove ci scrivi",
        "consents": "I tuoi consensi",
        "answers": "Le tue risposte",
        "campaigns": "Campagne",
        "messages": "Messaggi",
        "timeline": "Che cosa è successo",
        "name": "Nome e cognome",
        "first_name": "Nome",
        "last_name": "Cognome",
        "phone": "Telefono",
        "language": "Lingua",
        "timezone": "Fuso orario",
        "fields": "Altri dati",
        "tags": "Etichette",
        "created_at": "Dal",
        "since": "Dal",
        "at": "Quando",
        "purpose": "Scopo",
        "action": "Che cosa",
        "wording": "Testo",
        "wording_version": "Versione del testo",
        "source": "Origine",
        "evidence": "Prova",
        "network": "Rete",
        "channel": "Canale",
        "address": "Indirizzo",
        "username": "Nome utente",
        "display_name": "Nome mostrato",
        "state": "Stato",
        "last_wrote_at": "Ultimo messaggio",
        "kind": "Tipo",
        "flow": "Flusso",
        "flow_version": "Versione del flusso",
        "step": "Passo",
        "trigger": "Inizio",
        "outcome": "Esito",
        "status": "Stato",
        "reason": "Motivo",
        "message": "Messaggio",
        "content": "Contenuto",
        "text": "Testo",
        "event": "Evento",
        "words": "Parole",
        "external_id": "Id della rete",
        "results": "Risposte",
        "value": "Valore",
        "category": "Categoria",
        "input": "Parole scritte",
        "consent": "Consenso",
        "campaign": "Campagna",
        "receipt": "Ricevuta",
        "outcomes": "Che cosa ne è nato",
        "conversions": "Acquisti e prenotazioni",
        "feedback": "Le tue valutazioni",
        "invited_by_somebody": "Inviti ricevuti",
        "invited_others": "Inviti accettati da altri",
        "topics": "Argomenti che segui",
        "told_to_the_team": "Detto al nostro personale",
        "amount": "Importo",
        "currency": "Valuta",
        "score": "Punteggio",
        "comment": "Commento",
        "topic": "Argomento",
        "program": "Programma",
        "nothing": "niente",
        "yes": "sì",
        "no": "no",
    },
    "en": {
        "title": "Your data",
        "exported_at": "Copy of",
        "contact": "About you",
        "identities": "Where you write to us",
        "consents": "What you agreed to",
        "timeline": "What happened",
        "name": "Full name",
        "created_at": "Since",
        "at": "When",
        "action": "What",
        "wording": "Text",
        "wording_version": "Version of the text",
        "fields": "Other data",
        "last_wrote_at": "Last message",
        "outcomes": "What came of it",
        "invited_by_somebody": "Invitations that you accepted",
        "invited_others": "Invitations of yours that were accepted",
        "told_to_the_team": "What our team was told",
        "nothing": "nothing",
        "yes": "yes",
        "no": "no",
    },
}


def readable(data: Mapping[str, Any], language: str) -> str:
    """An export as plain text that a person can read, in Italian (`it`) or English (anything else)."""
    words = _WORDS["it" if language == "it" else "en"]
    lines = [words["title"].upper(), f"{words['exported_at']}: {data['exported_at']}"]
    for name, part in data.items():
        if name == "exported_at":
            continue
        lines += ["", _word(name, words).upper()]
        if not part:
            lines.append(words["nothing"])
        for item in part if isinstance(part, list) else [part] if part else []:
            lines += _lines(item, words, 0)
            if isinstance(part, list):
                lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _lines(value: Any, words: Mapping[str, str], indent: int) -> list[str]:
    pad = "  " * indent
    if not isinstance(value, Mapping):
        return [f"{pad}{_shown(value, words)}"]
    lines = []
    for key, inner in value.items():
        if inner is None or inner in ("", [], {}):
            continue
        if isinstance(inner, Mapping):
            lines += [f"{pad}{_word(key, words)}:", *_lines(inner, words, indent + 1)]
        else:
            lines.append(f"{pad}{_word(key, words)}: {_shown(inner, words)}")
    return lines


def _shown(value: Any, words: Mapping[str, str]) -> str:
    if isinstance(value, bool):
        return words["yes" if value else "no"]
    if isinstance(value, (list, tuple)):
        return ", ".join(_shown(item, words) for item in value)
    return _encode(value).decode() if isinstance(value, Mapping) else str(value)


def _word(key: str, words: Mapping[str, str]) -> str:
    return words.get(key) or key.replace("_", " ").capitalize()
