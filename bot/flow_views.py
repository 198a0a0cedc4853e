"""What people see of flows: the list, one with its versions, and a version's text."""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import Connection, text

from domain.errors import NotFound

VERSIONS = 50  # of one flow, the newest


class FlowView(Struct, frozen=True, kw_only=True):
    """A flow. `version_id` and `number` are of the published version, 0 when there is none; `channel_ids` empty: it
    answers on all channels."""

    id: int
    key: str
    title: str
    state: str
    version_id: int
    number: int
    channel_ids: tuple[int, ...]
    created_at: int


class VersionView(Struct, frozen=True, kw_only=True):
    """A published version; `document` is its text, "" in lists."""

    id: int
    flow_id: int
    number: int
    note: str
    by: str
    published_at: int
    document: str = ""


def flows(connection: Connection, workspace_id: int, *, after: int = 0, limit: int = 100) -> list[FlowView]:
    """Flows in the order in which they were made, after an id."""
    rows = connection.execute(
        text(f"{_FLOW} WHERE f.workspace_id = :workspace AND f.id > :after ORDER BY f.id LIMIT :limit"),
        {"workspace": workspace_id, "after": after, "limit": limit},
    ).all()
    bound: dict[int, list[int]] = {}
    for row in connection.execute(
        text(
            "SELECT flow_id, channel_id FROM flow_channel WHERE workspace_id = :workspace ORDER BY channel_id"
        ),
        {"workspace": workspace_id},
    ).all():
        bound.setdefault(row.flow_id, []).append(row.channel_id)
    return [FlowView(**row._mapping, channel_ids=tuple(bound.get(row.id, ()))) for row in rows]


def flow(connection: Connection, workspace_id: int, flow_id: int) -> FlowView:
    """One flow. Raises NotFound."""
    found = flows(connection, workspace_id, after=flow_id - 1, limit=1)
    if not found or found[0].id != flow_id:
        raise NotFound("there is no such flow")
    return found[0]


def versions(connection: Connection, workspace_id: int, flow_id: int) -> list[VersionView]:
    """The newest versions of a flow, newest first, without their texts. Raises NotFound."""
    flow(connection, workspace_id, flow_id)
    rows = connection.execute(
        text(
            "SELECT id, flow_id, number, note, by, published_at FROM flow_version "
            "WHERE workspace_id = :workspace AND flow_id = :flow ORDER BY number DESC LIMIT :limit"
        ),
        {"workspace": workspace_id, "flow": flow_id, "limit": VERSIONS},
    ).all()
    return [VersionView(**row._mapping) for row in rows]


def version(connection: Connection, workspace_id: int, flow_id: int, version_id: int) -> VersionView:
    """One version with its text. Raises NotFound."""
    row = connection.execute(
        text(
            "SELECT id, flow_id, number, note, by, published_at, document FROM flow_version "
            "WHERE workspace_id = :workspace AND flow_id = :flow AND id = :id"
        ),
        {"workspace": workspace_id, "flow": flow_id, "id": version_id},
    ).one_or_none()
    if row is None:
        raise NotFound("there is no such version of this flow")
    return VersionView(**row._mapping)


_FLOW = (
    "SELECT f.id, f.key, f.title, f.state, f.current_version_id AS version_id, COALESCE(v.number, 0) AS number, "
    "f.created_at FROM flow f LEFT JOIN flow_version v ON v.id = f.current_version_id "
    "AND v.workspace_id = f.workspace_id"
)
