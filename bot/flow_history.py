"""A flow's history: its versions by number, and what has changed between two of them, or from one to the draft."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, text

from bot import flow_drafts
from domain.errors import NotFound, RejectedInput
from flows import compiler, document, upgrades
from flows.differences import Difference, renamed
from flows.versions import CompiledFlow
from storage.statements import bulk_values

DRAFT = 0  # stands for the draft where a version's number is asked for


class FlowOf(NamedTuple):
    """A flow as commands name it. `number`: of the published version, 0 when there is none."""

    id: int
    key: str
    number: int


class Compared(NamedTuple):
    """Two texts of a flow, by number (0: the draft). `renamed`: steps that only have another id, old → new."""

    before: int
    after: int
    differences: list[Difference]
    renamed: dict[str, str]


class Versions:
    """Versions as they are stored, each compiled when it is first asked for: compiling takes a hundred times what
    reading does, and whoever needs them does it in a thread of its own, not while it has the store."""

    def __init__(self, documents: Mapping[int, tuple[str, str]]) -> None:
        self._documents = documents
        self._compiled: dict[int, CompiledFlow | None] = {}

    def get(self, version_id: int) -> CompiledFlow | None:
        """The version; None when it is not there or cannot be read any more."""
        if version_id not in self._compiled:
            self._compiled[version_id] = self._made(version_id)
        return self._compiled[version_id]

    def _made(self, version_id: int) -> CompiledFlow | None:
        if version_id not in self._documents:
            return None
        key, source = self._documents[version_id]
        try:
            return compiler.compile(document.load(source, key), version_id)
        except RejectedInput:  # published by an older release that allowed more
            return None


def versions(connection: Connection, workspace_id: int, ids: Iterable[int]) -> Versions:
    """Versions of the workspace by id."""
    rows = connection.execute(
        text(
            "SELECT v.id, f.key, v.document FROM flow_version v JOIN flow f ON f.id = v.flow_id "
            "WHERE v.workspace_id = :workspace "
            "AND v.id IN (SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e)"
        ),
        {"workspace": workspace_id, "ids": bulk_values(sorted(set(ids)))},
    ).all()
    return Versions({row.id: (row.key, row.document) for row in rows})


def by_key(connection: Connection, workspace_id: int, key: str) -> FlowOf:
    """The flow with this key. Raises NotFound naming it."""
    try:
        return _flow(connection, "f.key = :value", workspace_id, key)
    except NotFound as error:
        raise NotFound(f"{key}: {error}") from None


def by_id(connection: Connection, workspace_id: int, flow_id: int) -> FlowOf:
    """The flow with this id. Raises NotFound."""
    return _flow(connection, "f.id = :value", workspace_id, flow_id)


def _flow(connection: Connection, condition: str, workspace_id: int, value: str | int) -> FlowOf:
    row = connection.execute(
        text(
            "SELECT f.id, f.key, COALESCE(v.number, 0) AS number FROM flow f LEFT JOIN flow_version v "
            "ON v.id = f.current_version_id AND v.workspace_id = f.workspace_id "
            f"WHERE f.workspace_id = :workspace AND {condition}"
        ),
        {"workspace": workspace_id, "value": value},
    ).one_or_none()
    if row is None:
        raise NotFound("there is no such flow")
    return FlowOf(*row)


def text_of(connection: Connection, workspace_id: int, flow_id: int, number: int) -> str:
    """The text of a version, or of the draft (0). Raises NotFound."""
    if number == DRAFT:
        return flow_drafts.get(connection, workspace_id, flow_id).document
    found: str | None = connection.execute(
        text(
            "SELECT document FROM flow_version WHERE workspace_id = :workspace AND flow_id = :flow "
            "AND number = :number"
        ),
        {"workspace": workspace_id, "flow": flow_id, "number": number},
    ).scalar()
    if found is None:
        raise NotFound(f"the flow has no version {number}")
    return found


class ToCompare(NamedTuple):
    """Two texts of a flow and their numbers."""

    before: int
    after: int
    old: str
    new: str

    def compared(self) -> Compared:
        """A third of a second for a thousand steps: not while somebody waits for the store."""
        return Compared(
            self.before,
            self.after,
            flow_drafts.compared(self.old, self.new),
            _renamed(self.old, self.new),
        )


def compare(
    connection: Connection,
    workspace_id: int,
    flow: FlowOf,
    before: int | None = None,
    after: int | None = None,
) -> Compared:
    """What leads from one text to the other; see `to_compare`."""
    return to_compare(connection, workspace_id, flow, before, after).compared()


def to_compare(
    connection: Connection,
    workspace_id: int,
    flow: FlowOf,
    before: int | None = None,
    after: int | None = None,
) -> ToCompare:
    """The texts of version `before` and version `after` (0: the draft).

    Neither given: the published version and the draft, where there is one, else the version before and the published
    one. One given: it and the published version. Raises NotFound.
    """
    if before is None:
        draft = flow_drafts.find(connection, workspace_id, flow.id)
        before, after = (flow.number, DRAFT) if draft is not None else (flow.number - 1, flow.number)
        if before < 1:
            raise NotFound("there is nothing to compare: the flow has only one text")
    after = flow.number if after is None else after
    old, new = (text_of(connection, workspace_id, flow.id, number) for number in (before, after))
    return ToCompare(before, after, old, new)


def _renamed(old: str, new: str) -> dict[str, str]:
    try:
        return renamed(upgrades.data_of(old, name="before"), upgrades.data_of(new, name="after"))
    except RejectedInput:
        return {}
