"""What became of our messages, as the platforms tell: applied in the accepting commit itself.

Statuses are the peak load (three times the sends) and come late, doubled and out of order. A message's status only
moves forward by rank; each status keeps its own first time, so applying one twice changes nothing. They are matched
by our own id, which the platform echoes, else by (channel, external id). One that matches nothing waits 10 minutes
for its message (`adopt` is called when an external id becomes known). A status settles `unknown`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, text

from bot import settling
from domain.events import DeliveryStatus
from domain.messages import RANK, MessageStatus
from storage.database import dialect
from storage.statements import bulk, insert_rows, json_rows

ORPHAN_LIFE_MS = 10 * 60_000
_ARRIVED = {MessageStatus.sent, MessageStatus.delivered, MessageStatus.read}


class StatusOf(NamedTuple):
    """A status and the channel whose message it speaks of."""

    workspace_id: int
    channel_id: int
    event: DeliveryStatus


class _Change:
    """What all statuses of one message in a batch come to."""

    def __init__(self, row: Any) -> None:
        self.row = row
        self.status = MessageStatus(row.status)
        self.rank = row.status_rank
        self.times: dict[str, int] = {}
        self.first: list[str] = []  # delivered | read, seen for the first time
        self.external_id = ""
        self.reason = row.reason
        self.code = row.code
        self.pricing = ""
        self.failed_now: DeliveryStatus | None = None

    def add(self, event: DeliveryStatus) -> None:
        """Takes one status in."""
        name = event.status.value
        if name in ("sent", "delivered", "read", "failed"):
            if (
                getattr(self.row, f"{name}_at") is None
                and name not in self.times
                and name in ("delivered", "read")
            ):
                self.first.append(name)
            self.times[name] = min(event.occurred_at, self.times.get(name, event.occurred_at))
        if RANK[event.status] > self.rank:
            self.rank, self.status = RANK[event.status], event.status
            self.reason, self.code = event.reason, event.code
            self.failed_now = event if event.status is MessageStatus.failed else None
        self.external_id = self.external_id or event.external_id
        if event.pricing:
            self.pricing = msgspec.json.encode(event.pricing).decode()

    def values(self) -> dict[str, Any]:
        """The row of the bulk update."""
        return {
            "id": self.row.id,
            "status": self.status.value,
            "rank": self.rank,
            "external_id": self.external_id,
            "reason": self.reason,
            "code": self.code,
            "pricing": self.pricing,
            **{f"{name}_at": self.times.get(name) for name in ("sent", "delivered", "read", "failed")},
        }


_COLUMNS = {
    "id": "BIGINT",
    "status": "TEXT",
    "rank": "SMALLINT",
    "external_id": "TEXT",
    "reason": "TEXT",
    "code": "TEXT",
    "pricing": "TEXT",
    "sent_at": "BIGINT",
    "delivered_at": "BIGINT",
    "read_at": "BIGINT",
    "failed_at": "BIGINT",
}
_APPLY = text(
    "UPDATE message SET "
    "status = CASE WHEN v.rank > message.status_rank THEN v.status ELSE message.status END, "
    "reason = CASE WHEN v.rank > message.status_rank THEN v.reason ELSE message.reason END, "
    "code = CASE WHEN v.rank > message.status_rank THEN v.code ELSE message.code END, "
    "status_rank = CASE WHEN v.rank > message.status_rank THEN v.rank ELSE message.status_rank END, "
    "external_id = CASE WHEN message.external_id = '' THEN v.external_id ELSE message.external_id END, "
    "pricing = CASE WHEN v.pricing <> '' THEN v.pricing ELSE message.pricing END, "
    "sent_at = COALESCE(message.sent_at, v.sent_at), delivered_at = COALESCE(message.delivered_at, v.delivered_at), "
    "read_at = COALESCE(message.read_at, v.read_at), failed_at = COALESCE(message.failed_at, v.failed_at) "
    f"FROM ({json_rows(_COLUMNS)}) v WHERE message.id = v.id"
)
_LOOKED_UP = (
    "m.id, m.workspace_id, m.channel_id, m.conversation_id, m.run_id, m.contact_id, m.outlet_id, m.identity_id, "
    "m.turn_id, m.status, m.status_rank, m.reason, m.code, m.sent_at, m.delivered_at, m.read_at, m.failed_at"
)


def record(
    connection: Connection, reported: Sequence[StatusOf], *, new_id: Callable[[], int], now: int
) -> None:
    """Applies statuses to their messages; what matches none is kept as an orphan."""
    changes: dict[int, _Change] = {}
    unmatched: list[StatusOf] = []
    by_id, by_external = _look_up(connection, reported)
    for one in reported:
        row = by_id.get((one.channel_id, one.event.message_id)) or by_external.get(
            (one.channel_id, one.event.external_id)
        )
        if row is None:
            unmatched.append(one)
            continue
        changes.setdefault(row.id, _Change(row)).add(one.event)
    if changes:
        _apply(connection, list(changes.values()), new_id=new_id, now=now)
    if unmatched:
        _keep(connection, unmatched, now)


def adopt(
    connection: Connection,
    known: Sequence[tuple[int, str]],
    *,
    new_id: Callable[[], int],
    now: int,
) -> None:
    """(channel, external id) pairs whose message has just become known: applies the statuses that waited for them."""
    rows = connection.execute(
        text(
            "DELETE FROM status_orphan WHERE (channel_id, external_id) IN (SELECT CAST(e.value ->> 'c' AS BIGINT), "
            "e.value ->> 'x' FROM json_each(:rows) e) RETURNING workspace_id, channel_id, data"
        ),
        {"rows": bulk({"c": channel, "x": external} for channel, external in known)},
    ).all()
    if rows:
        waited = [
            StatusOf(row.workspace_id, row.channel_id, msgspec.json.decode(row.data, type=DeliveryStatus))
            for row in rows
        ]
        record(connection, waited, new_id=new_id, now=now)


def forget_orphans(connection: Connection, *, now: int) -> int:
    """Drops statuses whose message never came (another program sends over the same account)."""
    return connection.execute(
        text("DELETE FROM status_orphan WHERE received_at < :before"), {"before": now - ORPHAN_LIFE_MS}
    ).rowcount


def _look_up(
    connection: Connection, reported: Sequence[StatusOf]
) -> tuple[dict[tuple[int, int], Any], dict[tuple[int, str], Any]]:
    lock = dialect(connection).for_update.replace("FOR UPDATE", "FOR UPDATE OF m")
    own = [{"m": one.event.message_id} for one in reported if one.event.message_id]
    by_id: dict[tuple[int, int], Any] = {}
    by_external: dict[tuple[int, str], Any] = {}
    if own:
        rows = connection.execute(
            text(
                f"SELECT {_LOOKED_UP} FROM message m WHERE m.id IN "
                "(SELECT CAST(e.value ->> 'm' AS BIGINT) FROM json_each(:rows) e) AND m.direction = 'out' "
                f"ORDER BY m.id {lock}"
            ),
            {"rows": bulk(own)},
        ).all()
        by_id = {(row.channel_id, row.id): row for row in rows}
    missing = [
        {"c": one.channel_id, "x": one.event.external_id}
        for one in reported
        if one.event.external_id and (one.channel_id, one.event.message_id) not in by_id
    ]
    if missing:
        rows = connection.execute(
            text(
                f"SELECT {_LOOKED_UP}, m.external_id FROM message m JOIN (SELECT DISTINCT "
                "CAST(e.value ->> 'c' AS BIGINT) AS channel_id, e.value ->> 'x' AS external_id "
                "FROM json_each(:rows) e) v ON m.channel_id = v.channel_id AND m.external_id = v.external_id "
                f"WHERE m.external_id <> '' AND m.direction = 'out' ORDER BY m.id {lock}"
            ),
            {"rows": bulk(missing)},
        ).all()
        by_external = {(row.channel_id, row.external_id): row for row in rows}
    return by_id, by_external


def _apply(connection: Connection, changes: list[_Change], *, new_id: Callable[[], int], now: int) -> None:
    connection.execute(_APPLY, {"rows": bulk(change.values() for change in changes)})
    arrived = [c for c in changes if c.status in _ARRIVED]
    proven: set[int] = set()
    if arrived:
        proven = settling.was_delivered(
            connection,
            [c.row.id for c in arrived],
            [c.row.conversation_id for c in arrived if c.row.turn_id and c.status is not MessageStatus.sent],
            now=now,
        )
    outcomes = [outcome for change in changes for outcome in _outcomes(change, proven, now)]
    if outcomes:
        settling.tell(connection, outcomes, new_id=new_id, now=now)


def _outcomes(change: _Change, proven: set[int], now: int) -> list[settling.Outcome]:
    row, told = change.row, []
    before = MessageStatus(row.status)
    if before is MessageStatus.unknown and change.status in _ARRIVED:
        told.append(("sent", "unknown", ""))
    elif row.id in proven:
        told.append(("sent", "", ""))
    elif change.failed_now is not None and before in (MessageStatus.unknown, MessageStatus.sent):
        told.append(("failed", before.value, change.reason))
    told += [(name, "", "") for name in change.first]
    return [
        settling.Outcome(
            message_id=row.id,
            workspace_id=row.workspace_id,
            run_id=row.run_id,
            campaign_id=0,
            contact_id=row.contact_id,
            outlet_id=row.outlet_id,
            state=state,
            previous=previous,
            reason=reason,
            external_id=change.external_id,
            at=now,
        )
        for state, previous, reason in told
    ]


_ORPHAN = {
    "workspace_id": "BIGINT",
    "channel_id": "BIGINT",
    "external_id": "TEXT",
    "status": "TEXT",
    "data": "TEXT",
    "received_at": "BIGINT",
}


def _keep(connection: Connection, unmatched: Sequence[StatusOf], now: int) -> None:
    rows = [
        {
            "workspace_id": one.workspace_id,
            "channel_id": one.channel_id,
            "external_id": one.event.external_id,
            "status": one.event.status.value,
            "data": msgspec.json.encode(one.event).decode(),
            "received_at": now,
        }
        for one in unmatched
        if one.event.external_id
    ]
    if rows:
        connection.execute(
            text(insert_rows("status_orphan", _ORPHAN, conflict="ON CONFLICT DO NOTHING")),
            {"rows": bulk(rows)},
        )
