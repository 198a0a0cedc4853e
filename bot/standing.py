"""Who stands where: the people inside a flow, by version and step, and what another version would mean for them.

A session that waits stands at a step of the version it is pinned to; one that is inside a flow that was called stands,
for the caller, at the step that called. Sessions are read page by page along the index of waiting sessions of a version
(`flow_session_waiting`): what it costs grows with the people inside, never with all who ever were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, text

from bot.flow_history import Versions
from flows import moving
from flows.versions import CompiledFlow
from storage.database import Database

PAGE = 5_000  # sessions of one read: some 30 ms
DAY_MS = 86_400_000


class Cursor(NamedTuple):
    """Behind which version and session the next page begins."""

    version_id: int = 0
    session_id: int = 0


class Stand(NamedTuple):
    """A session inside the flow: at which step of which version; `inside`: of a flow that the step has called. The rest
    is what an event of its conversation needs."""

    session_id: int
    version_id: int
    step_id: str
    inside: bool
    since: int
    conversation_id: int
    channel_id: int
    slot: int
    intake_key: str


class Page(NamedTuple):
    """Some of the sessions; `next` None: it was the last page."""

    stands: list[Stand]
    next: Cursor | None


class Here(Struct, frozen=True, kw_only=True):
    """How many stand at a step of a version. `oldest_at`, `newest_at`: since when, ms UTC; `over_a_day`, `over_a_week`:
    how many of them stand there for longer than that."""

    version_id: int
    number: int
    step_id: str
    inside: bool
    people: int
    oldest_at: int
    newest_at: int
    over_a_day: int
    over_a_week: int


class Prospect(Struct, frozen=True, kw_only=True):
    """What would become of people at a step. `becomes`: goes_on | asked_again | restarts | stays; `to_step`: where they
    go, "" when they stay."""

    number: int
    step_id: str
    people: int
    becomes: str
    to_step: str


class _Frame(Struct):
    flow: str
    version: int
    step: str


class _State(Struct):
    flow: str
    version: int
    step: str = ""
    stack: list[_Frame] = []


_decode = msgspec.json.Decoder(_State).decode


def page(
    connection: Connection, workspace_id: int, flow_id: int, key: str, cursor: Cursor, *, limit: int = PAGE
) -> Page:
    """The next sessions inside a flow, by version and id."""
    versions = connection.execute(
        text(
            "SELECT v.id, v.flow_id FROM flow_version v WHERE v.workspace_id = :workspace AND v.id >= :after "
            "AND EXISTS (SELECT 1 FROM flow_session s WHERE s.flow_version_id = v.id AND s.status = 'waiting') "
            "ORDER BY v.id"
        ),
        {"workspace": workspace_id, "after": cursor.version_id},
    ).all()
    for version in versions:
        after = cursor.session_id if version.id == cursor.version_id else 0
        rows = _sessions(
            connection, workspace_id, version.id, after, limit, "" if version.flow_id == flow_id else key
        )
        if rows:
            found = [stand for row in rows if (stand := _stand(row, key)) is not None]
            return Page(found, Cursor(version.id, rows[-1].id))
    return Page([], None)


def _sessions(
    connection: Connection, workspace_id: int, version_id: int, after: int, limit: int, caller: str
) -> Sequence[Any]:
    """Waiting sessions of a version; with `caller` only those that this flow seems to have called."""
    called = "AND s.state LIKE :caller ESCAPE '!' " if caller else ""
    escaped = caller.replace("!", "!!").replace("_", "!_").replace("%", "!%")
    return connection.execute(
        text(
            "SELECT s.id, s.state, s.updated_at, c.id AS conversation_id, c.channel_id, c.slot, c.intake_key "
            "FROM flow_session s JOIN conversation c ON c.id = s.conversation_id AND c.session_id = s.id "
            "WHERE s.flow_version_id = :version AND s.status = 'waiting' AND +s.workspace_id = :workspace "
            f"AND s.id > :after {called}ORDER BY s.id LIMIT :limit"
        ),
        {
            "version": version_id,
            "workspace": workspace_id,
            "after": after,
            "limit": limit,
            **({"caller": f'%"flow":"{escaped}"%'} if caller else {}),
        },
    ).all()


def _stand(row: Any, key: str) -> Stand | None:
    state = _decode(row.state)
    place = (state.version, state.step, False) if state.flow == key else None
    if place is None:
        place = next(((f.version, f.step, True) for f in reversed(state.stack) if f.flow == key), None)
    if place is None:
        return None
    return Stand(
        row.id, *place, row.updated_at, row.conversation_id, row.channel_id, row.slot, row.intake_key
    )


async def where(database: Database, workspace_id: int, flow_id: int, key: str, *, now: int) -> list[Here]:
    """Who stands where in a flow: newest version first, the fullest step first."""
    numbers = await database.read(lambda c: _numbers(c, workspace_id, flow_id))
    counts: dict[tuple[int, str, bool], list[int]] = {}
    cursor: Cursor | None = Cursor()
    while cursor is not None:
        at = cursor
        found = await database.read(lambda c, at=at: page(c, workspace_id, flow_id, key, at))  # type: ignore[misc]
        for stand in found.stands:
            _count(counts, stand, now)
        cursor = found.next
    shown = [
        Here(
            version_id=version_id,
            number=numbers.get(version_id, 0),
            step_id=step_id,
            inside=inside,
            people=count[0],
            oldest_at=count[1],
            newest_at=count[2],
            over_a_day=count[3],
            over_a_week=count[4],
        )
        for (version_id, step_id, inside), count in counts.items()
    ]
    return sorted(shown, key=lambda one: (-one.number, -one.people, one.step_id, one.inside))


def _count(counts: dict[tuple[int, str, bool], list[int]], stand: Stand, now: int) -> None:
    key = (stand.version_id, stand.step_id, stand.inside)
    count = counts.setdefault(key, [0, stand.since, stand.since, 0, 0])
    count[0] += 1
    count[1] = min(count[1], stand.since)
    count[2] = max(count[2], stand.since)
    count[3] += now - stand.since > DAY_MS
    count[4] += now - stand.since > 7 * DAY_MS


def _numbers(connection: Connection, workspace_id: int, flow_id: int) -> dict[int, int]:
    rows = connection.execute(
        text("SELECT id, number FROM flow_version WHERE workspace_id = :workspace AND flow_id = :flow"),
        {"workspace": workspace_id, "flow": flow_id},
    ).all()
    return {row.id: row.number for row in rows}


def prospects(
    standing: Sequence[Here],
    versions: Versions,
    to: CompiledFlow,
    mapping: Mapping[str, str],
    *,
    people: str,
) -> list[Prospect]:
    """What publishing `to` would mean for those who stand there. `people`: stay | move | restart; `versions` holds
    those in which they stand."""
    found = []
    for here in standing:
        becomes, step = moving.STAYS, ""
        if people != "stay":
            becomes, step = moving.outlook(
                versions.get(here.version_id),
                here.step_id,
                to,
                mapping,
                restart=people == "restart",
                calls=here.inside,
            )
        found.append(
            Prospect(
                number=here.number, step_id=here.step_id, people=here.people, becomes=becomes, to_step=step
            )
        )
    return found
