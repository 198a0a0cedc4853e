"""What time brings: timers that are due, albums that are complete. Both come back as events, through intake.

Each function is one transaction of the scheduler; repeating it does nothing more.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, text

from bot.intake import append_own
from bot.runtime import Runtime
from domain import events
from domain.events import Event, MessageReceived, TimerDue
from domain.messages import ReceivedAlbum, ReceivedMedia
from storage.database import DIALECTS, dialect, scalar_int

AT_ONCE = 500  # of each kind in one transaction
LOOK = 5_000  # due timers looked at to choose fairly; the rest is looked at when these are through
BACKLOG = (
    500  # open events past which no more timers fire: what people write stands behind half a second of them
)

_OPEN = text("SELECT count(*) FROM (SELECT 1 FROM intake WHERE state = 0 AND attempts = 0 LIMIT :most) o")
_FIRE = {
    name: text(
        "UPDATE timer SET state = 1 WHERE id IN (SELECT t.id FROM timer t JOIN (SELECT d.id, row_number() OVER "
        "(PARTITION BY d.workspace_id ORDER BY d.due_at, d.id) AS turn, d.due_at FROM (SELECT id, workspace_id, due_at "
        "FROM timer WHERE state = 0 AND due_at <= :now ORDER BY due_at LIMIT :look) d) f ON f.id = t.id "
        f"WHERE t.state = 0 ORDER BY f.turn, f.due_at LIMIT :n {kind.for_update and 'FOR UPDATE OF t SKIP LOCKED'}) "
        "RETURNING id, workspace_id, channel_id, intake_key, slot, conversation_id, session_id, step_id, visit, "
        "purpose, flow_version_id, due_at"
    )
    for name, kind in DIALECTS.items()
}


def fire(connection: Connection, runtime: Runtime) -> int:
    """Turns due timers into events of their conversations; gives how many.

    Thousands that are due together (everybody was asked in the same minute) come in slices, the workspaces in turn, and
    only while few events are open: what people write meanwhile is answered as ever.
    """
    now = runtime.clock()
    room = min(AT_ONCE, room_for_more(connection))
    if room <= 0:
        return 0
    rows = connection.execute(_FIRE[dialect(connection).name], {"now": now, "n": room, "look": LOOK}).all()
    own: list[tuple[int, int, int, str, Event]] = [
        (
            row.workspace_id,
            row.channel_id,
            row.slot,
            row.intake_key,
            TimerDue(
                key=f"timer:{row.id}",
                occurred_at=now,
                timer_id=row.id,
                conversation_id=row.conversation_id,
                session_id=row.session_id,
                step_id=row.step_id,
                visit=row.visit,
                purpose=row.purpose,
                version=row.flow_version_id,
            ),
        )
        for row in sorted(rows, key=lambda row: (row.due_at, row.id))
    ]
    append_own(connection, own, sealer=runtime.sealer, new_id=runtime.new_id, now=now)
    if rows:
        connection.execute(text("DELETE FROM timer WHERE state = 1"))
    return len(rows)


def room_for_more(connection: Connection) -> int:
    """How many events of our own making may be added before those that are open have been handled."""
    return BACKLOG - scalar_int(connection, _OPEN.text, {"most": BACKLOG})


def join_albums(connection: Connection, runtime: Runtime) -> int:
    """Joins the parts of albums whose last part came a second ago; gives how many albums."""
    now = runtime.clock()
    albums = connection.execute(
        text(
            "SELECT channel_id, album FROM album_part GROUP BY channel_id, album HAVING max(due_at) <= :now LIMIT :n"
        ),
        {"now": now, "n": AT_ONCE},
    ).all()
    own: list[tuple[int, int, int, str, Event]] = []
    for channel_id, album in albums:
        parts = connection.execute(
            text(
                "DELETE FROM album_part WHERE channel_id = :channel AND album = :album "
                "RETURNING id, workspace_id, intake_key, slot, event"
            ),
            {"channel": channel_id, "album": album},
        ).all()
        if not parts:
            continue
        ordered = sorted(parts, key=lambda part: part.id)
        received = [
            events.decode(runtime.sealer.open(part.event, table="album_part", row=part.id, column="event"))
            for part in ordered
        ]
        first = ordered[0]
        own.append((first.workspace_id, channel_id, first.slot, first.intake_key, _joined(received)))
    append_own(connection, own, sealer=runtime.sealer, new_id=runtime.new_id, now=now)
    return len(own)


def _joined(parts: list[Event]) -> MessageReceived:
    messages = [part for part in parts if isinstance(part, MessageReceived)]
    items = tuple(m.content for m in messages if isinstance(m.content, ReceivedMedia))
    caption = next((item.caption for item in items if item.caption), "")
    return msgspec.structs.replace(
        messages[0],
        key=f"album:{messages[0].album}",
        album=None,
        content=ReceivedAlbum(items=items, caption=caption),
    )
