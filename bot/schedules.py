"""Schedule triggers: which date of which flow is due, and a slice of the people whom it means.

A row of `flow_schedule` is made when a flow is published. `cursor` holds `{"date", "after", "last", "n"}`: the date
which is due next or being dealt with, the last contact that was looked at, the last date that was begun, and how many
starts wait for their hour. A slice moves the cursor and appends its events in one transaction: each person starts
once for each date, whatever crashes. Where the hour of each person counts, those whose hour has not come get a timer.

Slices are small, and only made while few events are open: what people write meanwhile is answered as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, text

from bot import intake, timers
from bot.batch import insert_timers
from bot.doors import HAPPENED, Door
from bot.runtime import Runtime
from crm.gate import zone_of
from crm.segments import compile_predicate
from domain.events import SessionCommand
from flows.document import FlowDocument
from flows.triggers.schedule import ScheduleTrigger
from storage.bulk_writes import BulkInsert
from storage.database import dialect
from storage.statements import bulk_values

SLICE = 500  # contacts looked at in one transaction: some 20 ms
AT_ONCE = 4  # schedules that share a slice, so that a large one does not keep the others waiting
LATE_MS = 10 * 60_000  # a date that waited longer (an outage) follows the flow's `late` rule
SPREAD_MS = 2  # between two people whose hour comes at the same moment: 500 a second
_LAST_ID = (1 << 63) - 1  # no contact has a higher one
PURPOSE = "schedule:"  # of timers; the date follows


class Cursor(Struct, omit_defaults=True):
    """How far a schedule is; see the module."""

    date: str
    after: int = 0
    last: str = ""
    n: int = 0


class Rule(Struct, omit_defaults=True):
    """What a row knows of its trigger, so that a slice need not read the document."""

    trigger: dict[str, Any]
    late: str = "answer"

    def read(self) -> ScheduleTrigger:
        return ScheduleTrigger.model_validate(self.trigger)


def sync(
    connection: Connection,
    *,
    workspace_id: int,
    flow_id: int,
    document: FlowDocument,
    new_id: Callable[[], int],
    now: int,
) -> None:
    """Makes the rows those of the version that is published now. A schedule that stays keeps its place; one that was
    changed begins anew, after the date that the old one has begun last."""
    known = {
        row.number: row
        for row in connection.execute(
            text("SELECT id, number, rule, cursor FROM flow_schedule WHERE flow_id = :flow"),
            {"flow": flow_id},
        ).all()
    }
    wanted = {
        number: trigger
        for number, trigger in enumerate(document.triggers)
        if isinstance(trigger, ScheduleTrigger)
    }
    if not known and not wanted:
        return
    zone = _zone_of(connection, workspace_id)
    for number, trigger in wanted.items():
        rule = _encode(Rule(trigger.model_dump(mode="json", by_alias=True), document.late))
        row = known.pop(number, None)
        if row is not None and row.rule == rule:
            continue
        last = _begun(row) if row is not None else ""
        if row is not None:
            _forget(connection, [row.id])
        first = _first(trigger, zone, now, last)
        if first is not None:
            _insert(
                connection,
                [
                    {
                        "id": new_id(),
                        "workspace_id": workspace_id,
                        "flow_id": flow_id,
                        "number": number,
                        "rule": rule,
                        "due_at": trigger.begins(first, zone),
                        "cursor": _encode(Cursor(first.isoformat(), last=last)),
                    }
                ],
            )
    _forget(connection, [row.id for row in known.values()])


_insert = BulkInsert(
    "flow_schedule",
    {
        "id": "BIGINT",
        "workspace_id": "BIGINT",
        "flow_id": "BIGINT",
        "number": "SMALLINT",
        "rule": "TEXT",
        "due_at": "BIGINT",
        "cursor": "TEXT",
    },
)


def _encode(value: Struct) -> str:
    return msgspec.json.Encoder(order="sorted").encode(value).decode()


def _forget(connection: Connection, ids: Iterable[int]) -> None:
    """Rows, and the starts that wait for their hour."""
    gone = bulk_values(ids)
    of_ids = "(SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e)"
    connection.execute(text(f"DELETE FROM timer WHERE state = 0 AND session_id IN {of_ids}"), {"ids": gone})
    connection.execute(text(f"DELETE FROM flow_schedule WHERE id IN {of_ids}"), {"ids": gone})


def _begun(row: Any) -> str:
    cursor = msgspec.json.decode(row.cursor, type=Cursor)
    return max(cursor.last, cursor.date if cursor.after else "")


def _first(trigger: ScheduleTrigger, zone: ZoneInfo, now: int, last: str) -> date | None:
    """The first date that has not begun."""
    day = datetime.fromtimestamp(now / 1_000, UTC).date() - timedelta(days=2)
    if last:
        day = max(day, date.fromisoformat(last))
    found = trigger.date_after(day)
    while found is not None and trigger.begins(found, zone) <= now:
        found = trigger.date_after(found)
    return found


def _zone_of(connection: Connection, workspace_id: int) -> ZoneInfo:
    name = connection.execute(
        text("SELECT timezone FROM workspace WHERE id = :workspace"), {"workspace": workspace_id}
    ).scalar()
    return (zone_of(name) if name else None) or ZoneInfo("UTC")


# --- slices


def tick(connection: Connection, runtime: Runtime) -> bool:
    """One slice of each of the schedules that are due; whether there is more to do at once."""
    now = runtime.clock()
    room = min(SLICE, timers.room_for_more(connection))
    if room <= 0:
        return False
    skip = "FOR UPDATE SKIP LOCKED" if dialect(connection).for_update else ""
    rows = connection.execute(
        text(
            "SELECT id, workspace_id, flow_id, number, rule, due_at, cursor FROM flow_schedule WHERE due_at <= :now "
            f"ORDER BY due_at, id LIMIT :n {skip}"
        ),
        {"now": now, "n": AT_ONCE},
    ).all()
    for row in rows:
        _slice(connection, runtime, row, max(1, room // len(rows)), now)
    return bool(rows)


class _Flow(NamedTuple):
    key: str
    version_id: int
    channels: frozenset[int]  # it answers on these only; empty: on all


def _slice(connection: Connection, runtime: Runtime, row: Any, size: int, now: int) -> None:
    flow = _flow(connection, row.flow_id)
    if flow is None:
        _forget(connection, [row.id])
        return
    rule = msgspec.json.decode(row.rule, type=Rule)
    cursor = msgspec.json.decode(row.cursor, type=Cursor)
    trigger, zone = rule.read(), _zone_of(connection, row.workspace_id)
    day = date.fromisoformat(cursor.date)
    if not cursor.after:
        chosen = _newest(trigger, day, zone, now)
        if rule.late == "ignore" and now - trigger.begins(chosen, zone) > LATE_MS:
            _next(connection, row.id, trigger, zone, chosen, cursor.last)
            return
        day, cursor.date = chosen, chosen.isoformat()
    people, until = _people(connection, row.workspace_id, trigger, cursor.after, size, now)
    doors = _doors(connection, row.workspace_id, list(people), flow, trigger)
    own, waiting = [], []
    for contact_id, door in sorted(doors.items()):
        place = people[contact_id] or zone
        moment = trigger.moment(day, place if trigger.zone == "contact" else zone)
        if moment <= now:
            own.append(_event(runtime, row, flow, door, day, now))
        else:
            cursor.n += 1
            waiting.append(_timer(runtime, row, flow, door, day, moment + cursor.n * SPREAD_MS))
    intake.append_own(connection, own, sealer=runtime.sealer, new_id=runtime.new_id, now=now)
    insert_timers(connection, waiting)
    if until is None:
        _next(connection, row.id, trigger, zone, day, day.isoformat())
        return
    cursor.after = until
    connection.execute(
        text("UPDATE flow_schedule SET cursor = :cursor WHERE id = :id"),
        {"id": row.id, "cursor": _encode(cursor)},
    )


def _flow(connection: Connection, flow_id: int) -> _Flow | None:
    row = connection.execute(
        text(
            "SELECT key, current_version_id FROM flow WHERE id = :flow AND state = 'active' AND current_version_id <> 0"
        ),
        {"flow": flow_id},
    ).one_or_none()
    if row is None:
        return None
    bound = connection.execute(
        text("SELECT channel_id FROM flow_channel WHERE flow_id = :flow"), {"flow": flow_id}
    ).all()
    return _Flow(row.key, row.current_version_id, frozenset(one.channel_id for one in bound))


def _newest(trigger: ScheduleTrigger, day: date, zone: ZoneInfo, now: int) -> date:
    """Of dates that an outage has gathered, the newest."""
    following = trigger.date_after(day)
    while following is not None and trigger.begins(following, zone) <= now:
        day, following = following, trigger.date_after(following)
    return day


def _next(
    connection: Connection, schedule_id: int, trigger: ScheduleTrigger, zone: ZoneInfo, day: date, last: str
) -> None:
    following = trigger.date_after(day)
    if following is None:
        connection.execute(text("DELETE FROM flow_schedule WHERE id = :id"), {"id": schedule_id})
        return
    connection.execute(
        text("UPDATE flow_schedule SET due_at = :due, cursor = :cursor WHERE id = :id"),
        {
            "id": schedule_id,
            "due": trigger.begins(following, zone),
            "cursor": _encode(Cursor(following.isoformat(), last=last)),
        },
    )


def _people(
    connection: Connection, workspace_id: int, trigger: ScheduleTrigger, after: int, size: int, now: int
) -> tuple[dict[int, ZoneInfo | None], int | None]:
    """The contacts of the next `size` whom it means, with their zones, and the last id that was looked at (None: all
    are through). By the unique index (workspace_id, id)."""
    values = {"workspace_id": workspace_id, "after": after}
    until = connection.execute(
        text(
            "SELECT id FROM contact WHERE workspace_id = :workspace_id AND id > :after ORDER BY id LIMIT 1 OFFSET :n"
        ),
        {**values, "n": size - 1},
    ).scalar()
    where = compile_predicate(connection, trigger.predicate, now=now)
    rows = connection.execute(
        text(
            "SELECT c.id, c.timezone FROM contact c WHERE c.workspace_id = :workspace_id AND c.id > :after "
            f"AND c.id <= :until AND {where.sql}"
        ),
        {**values, "until": _LAST_ID if until is None else until, **where.parameters},
    ).all()
    return {row[0]: zone_of(row[1]) if row[1] else None for row in rows}, until


def _doors(
    connection: Connection, workspace_id: int, contacts: list[int], flow: _Flow, trigger: ScheduleTrigger
) -> dict[int, Door]:
    """The conversation of each in which something was said last, on a channel where the flow answers."""
    if not contacts:
        return {}
    rows = connection.execute(
        text(
            "SELECT c.contact_id, c.id, c.channel_id, h.kind, c.slot, c.intake_key FROM conversation c "
            "JOIN channel h ON h.id = c.channel_id WHERE c.workspace_id = :workspace AND c.place = 'private' "
            "AND h.state = 'active' AND c.contact_id IN "
            "(SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e) ORDER BY c.last_message_at, c.id"
        ),
        {"workspace": workspace_id, "ids": bulk_values(contacts)},
    ).all()
    return {
        row[0]: Door(*row[1:])
        for row in rows
        if (not flow.channels or row[2] in flow.channels)
        and (not trigger.channels or row[3] in trigger.channels)
    }


def _event(
    runtime: Runtime, row: Any, flow: _Flow, door: Door, day: date, now: int
) -> tuple[int, int, int, str, SessionCommand]:
    event = SessionCommand(
        key=f"schedule:{row.id}:{day.isoformat()}:{door.conversation_id}",
        occurred_at=now,
        conversation_id=door.conversation_id,
        what=HAPPENED,
        data=happened(flow.key, row.number, day.isoformat()),
    )
    return row.workspace_id, door.channel_id, door.slot, door.intake_key, event


def happened(flow: str, number: int, day: str) -> dict[str, Any]:
    """What the event of a date says: the flow, its trigger, the date."""
    return {"occasion": {"kind": "schedule", "what": day}, "flow": flow, "number": number}


def _timer(runtime: Runtime, row: Any, flow: _Flow, door: Door, day: date, due_at: int) -> dict[str, Any]:
    return {
        "id": runtime.new_id(),
        "workspace_id": row.workspace_id,
        "channel_id": door.channel_id,
        "intake_key": door.intake_key,
        "slot": door.slot,
        "conversation_id": door.conversation_id,
        "session_id": row.id,  # whose it is: the schedule's
        "step_id": flow.key,
        "visit": row.number,
        "purpose": PURPOSE + day.isoformat(),
        "due_at": due_at,
        "after_sent": None,
        "turn_id": 0,
        "state": 0,
        "flow_version_id": flow.version_id,
    }
