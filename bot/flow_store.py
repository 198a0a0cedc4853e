"""Flows and businesses as the running process knows them: compiled once per version, looked up without I/O.

`load` reads the published versions of all workspaces (at start and when the revision of `flows` rises); versions that
only old sessions are pinned to are compiled when such a session wakes, and kept in a bounded cache. Publishing checks
and compiles first, so a version in the table can always run.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, text

from bot import schedules, turns
from bot.channel_store import raise_revision
from domain.errors import RejectedInput
from flows import compiler, document
from flows.business import BusinessView, Place, Purpose
from flows.starting import Doors
from flows.versions import CompiledFlow
from storage.statements import bulk_values

LINKING = ("referral",)  # types of steps that make links to their channel
OLD_VERSIONS = 500  # compiled versions kept beside the published ones; most have some 100 kB
OLD_CHARACTERS = 4_000_000  # of their documents in all: compiled they take some sixty times as much

_log = structlog.get_logger("flows")
_NO_DOORS = Doors((), "")
NOTHING: Mapping[int, CompiledFlow] = {}
_PUBLISHED = text(
    "SELECT workspace_id, key, current_version_id AS version_id FROM flow "
    "WHERE state = 'active' AND current_version_id <> 0 ORDER BY id"
)
_DOCUMENTS = text(
    "SELECT v.id, v.flow_id, f.key, v.document FROM flow_version v JOIN flow f ON f.id = v.flow_id "
    "WHERE v.id IN (SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e) ORDER BY v.id"
)


@dataclass(frozen=True)
class TeamChat:
    """Where the team is told what happens: a chat that a channel of ours can write to."""

    channel_id: int
    address: str


@dataclass(frozen=True)
class Business:
    """A workspace's business as the conversation runtime needs it. `texts`: key → language → text."""

    workspace_id: int
    name: str
    locale: str
    view: BusinessView
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    team_chat: TeamChat | None = None

    @cached_property
    def digest(self) -> str:
        """The name of `view` in the records of turns."""
        return turns.digest_of(self.view)

    def text(self, key: str, language: str, default: str) -> str:
        """The owner's own wording of a built-in text, else ours."""
        own = self.texts.get(key, {})
        return own.get(language) or own.get(self.locale) or default


class Library(Mapping[str, CompiledFlow]):
    """What the engine asks for sub-flows: `key` (published) and `key@version` (pinned)."""

    def __init__(self, published: Mapping[str, CompiledFlow], versions: Mapping[int, CompiledFlow]) -> None:
        self._published = published
        self._versions = versions
        self.used: dict[
            str, int
        ] = {}  # published versions that were asked for by key: a turn's record holds them

    def __getitem__(self, key: str) -> CompiledFlow:
        name, _, version = key.partition("@")
        if version.isdecimal():
            found = self._versions.get(int(version))
        elif (found := self._published.get(name)) is not None:
            self.used[name] = found.version
        if found is None:
            raise KeyError(key)
        return found

    def __iter__(self) -> Any:
        return iter(self._published)

    def __len__(self) -> int:
        return len(self._published)


@dataclass
class _Workspace:
    published: dict[str, CompiledFlow] = field(default_factory=dict)
    channels: dict[str, set[int]] = field(default_factory=dict)  # flow key → only these channels
    on_channel: dict[int, list[CompiledFlow]] = field(default_factory=dict)
    doors: dict[int, Doors] = field(default_factory=dict)

    @cached_property
    def heard(self) -> frozenset[str]:
        """The kinds of occasions that some flow hears."""
        return frozenset(
            trigger.hears for flow in self.published.values() for trigger in flow.document.triggers
        )

    @cached_property
    def resumes(self) -> bool:
        """Whether sessions may be put aside here: by a trigger with `resume`, or where they only wait for a time."""
        return any(
            any(trigger.resume for trigger in flow.document.triggers)
            or any(step.type == "wait" for step in flow.steps.values())
            for flow in self.published.values()
        )


class FlowStore:
    """All workspaces' flows and businesses."""

    def __init__(self) -> None:
        self._workspaces: dict[int, _Workspace] = {}
        self._businesses: dict[int, Business] = {}
        self._versions: OrderedDict[int, CompiledFlow] = OrderedDict()  # the one unused longest stands first
        self._flow_ids: dict[int, int] = {}  # version → flow
        self._sizes: dict[int, int] = {}  # version → characters of its document
        self._published: frozenset[int] = frozenset()
        self._in_hand: frozenset[int] = frozenset()  # versions of the sessions that are being handled
        self._changing = (
            threading.Lock()
        )  # on SQLite `load` runs in a reader's thread, `ensure` in the writer's
        self.kept: set[tuple[int, str]] = (
            set()
        )  # businesses (workspace, digest) known to stand in `business_seen`

    def load(self, connection: Connection, ready: Mapping[int, CompiledFlow] = NOTHING) -> None:
        """Reads published flows, their channels, and the businesses. `ready`: versions that are compiled already."""
        rows = connection.execute(_PUBLISHED).all()
        self._published = frozenset(row.version_id for row in rows)
        self._compile(connection, self._published, ready)
        self._forget()
        workspaces: dict[int, _Workspace] = {}
        for row in rows:
            flow = self._versions.get(row.version_id)
            if flow is not None:
                workspaces.setdefault(row.workspace_id, _Workspace()).published[flow.key] = flow
        for row in connection.execute(
            text(
                "SELECT c.workspace_id, f.key, c.channel_id FROM flow_channel c "
                "JOIN flow f ON f.id = c.flow_id AND f.workspace_id = c.workspace_id"
            )
        ).all():
            workspace = workspaces.setdefault(row.workspace_id, _Workspace())
            workspace.channels.setdefault(row.key, set()).add(row.channel_id)
        self._workspaces = workspaces
        channels = {
            (row.workspace_id, row.name): row.id
            for row in connection.execute(text("SELECT workspace_id, name, id FROM channel")).all()
        }
        self._businesses = {
            row.id: read_business(row.id, row.name, row.locale, row.timezone, row.business, channels)
            for row in connection.execute(
                text("SELECT id, name, locale, timezone, business FROM workspace")
            ).all()
        }

    def business(self, workspace_id: int) -> Business:
        """The workspace's business."""
        return self._businesses.get(workspace_id) or Business(workspace_id, "", "it", BusinessView())

    def on_channel(self, workspace_id: int, channel_id: int) -> Sequence[CompiledFlow]:
        """The published flows that answer on a channel, in the order in which they were made."""
        workspace = self._workspaces.get(workspace_id)
        if workspace is None:
            return ()
        found = workspace.on_channel.get(channel_id)
        if found is None:
            found = [
                flow
                for key, flow in workspace.published.items()
                if key not in workspace.channels or channel_id in workspace.channels[key]
            ]
            workspace.on_channel[channel_id] = found
        return found

    def doors(self, workspace_id: int, channel_id: int, channel_kind: str) -> Doors:
        """What starts a flow on a channel."""
        workspace = self._workspaces.get(workspace_id)
        if workspace is None:
            return _NO_DOORS
        found = workspace.doors.get(channel_id)
        if found is None:
            found = workspace.doors[channel_id] = Doors(
                self.on_channel(workspace_id, channel_id), channel_kind
            )
        return found

    def hears(self, workspace_id: int, *kinds: str) -> bool:
        """Whether a published flow of the workspace hears one of these kinds of occasions."""
        workspace = self._workspaces.get(workspace_id)
        return workspace is not None and not workspace.heard.isdisjoint(kinds)

    def resumes(self, workspace_id: int) -> bool:
        """Whether a published flow puts sessions aside to go on with them later."""
        workspace = self._workspaces.get(workspace_id)
        return workspace is not None and workspace.resumes

    def makes_links(self, workspace_id: int) -> bool:
        """Whether a published flow has a step that makes links to its channel."""
        workspace = self._workspaces.get(workspace_id)
        return workspace is not None and any(
            step.type in LINKING for flow in workspace.published.values() for step in flow.steps.values()
        )

    def published(self, workspace_id: int, key: str) -> CompiledFlow | None:
        """The published version of a flow."""
        workspace = self._workspaces.get(workspace_id)
        return workspace.published.get(key) if workspace else None

    def library(self, workspace_id: int) -> Library:
        """What sessions of the workspace may call."""
        workspace = self._workspaces.get(workspace_id) or _Workspace()
        return Library(workspace.published, self._versions)

    def version(self, version_id: int) -> CompiledFlow | None:
        """A compiled version that `load` or `ensure` has read."""
        return self._versions.get(version_id)

    def flow_id(self, version_id: int) -> int:
        """The flow that a known version belongs to; 0 when it is not known."""
        return self._flow_ids.get(version_id, 0)

    def ensure(self, connection: Connection, version_ids: Iterable[int]) -> None:
        """Compiles versions that sessions are pinned to and that are not at hand. Those named stay at hand until the
        next call."""
        wanted = frozenset(version_id for version_id in version_ids if version_id)
        self._in_hand = wanted
        with self._changing:
            for version_id in wanted:
                if version_id in self._versions:
                    self._versions.move_to_end(version_id)
        if self._compile(connection, wanted):
            self._forget()

    def missing(self, connection: Connection) -> Sequence[Any]:
        """The published versions that `load` would have to compile, for `compiled`."""
        wanted = {row.version_id for row in connection.execute(_PUBLISHED).all()}
        return _documents(connection, wanted - self._versions.keys())

    def _compile(
        self, connection: Connection, wanted: Set[int], ready: Mapping[int, CompiledFlow] = NOTHING
    ) -> bool:
        """Compiles those that are not at hand; whether there were any."""
        rows = _documents(connection, wanted - self._versions.keys())
        made = {**compiled(row for row in rows if row.id not in ready), **ready}
        with self._changing:
            for row in rows:
                if row.id in made:
                    self._versions[row.id] = made[row.id]
                    self._flow_ids[row.id], self._sizes[row.id] = row.flow_id, len(row.document)
        return bool(rows)

    def _forget(self) -> None:
        """Lets go of the versions unused longest, past the limits; those that are published or in hand stay."""
        kept = self._published | self._in_hand
        with self._changing:
            old = [version_id for version_id in self._versions if version_id not in kept]
            size = sum(self._sizes[version_id] for version_id in old)
            for number, version_id in enumerate(old):
                if len(old) - number <= OLD_VERSIONS and size <= OLD_CHARACTERS:
                    break
                size -= self._sizes.pop(version_id)
                del self._versions[version_id], self._flow_ids[version_id]


def compiled(rows: Iterable[Any]) -> dict[int, CompiledFlow]:
    """Stored versions by id: a third of a second for a thousand steps, so in a thread where that is possible."""
    made: dict[int, CompiledFlow] = {}
    for row in rows:
        try:
            made[row.id] = compiler.compile(document.load(row.document, row.key), row.id)
        except RejectedInput as error:  # published by an older release that allowed more
            _log.error("flow_version_refused", flow=row.key, version=row.id, problem=str(error))
    return made


def _documents(connection: Connection, version_ids: Set[int]) -> Sequence[Any]:
    if not version_ids:
        return ()
    return connection.execute(_DOCUMENTS, {"ids": bulk_values(sorted(version_ids))}).all()


def read_business(
    workspace_id: int,
    name: str,
    locale: str,
    timezone: str,
    data: str,
    channels: Mapping[tuple[int, str], int] | None = None,
) -> Business:
    """A workspace row's business, as `apply` stored it. `channels`: (workspace, name) → id, for the team's
    chat."""
    stored: dict[str, Any] = msgspec.json.decode(data or "{}")
    purposes = {
        key: Purpose(version=str(value.get("version", "1")), wording=dict(value.get("wording", {})))
        for key, value in stored.get("purposes", {}).items()
    }
    if not purposes:
        purposes = {"marketing": _plain_marketing(name)}
    view = BusinessView(
        name=name,
        region=stored.get("region", "IT"),
        timezone=timezone,
        purposes=purposes,
        language=locale[:2],
        places=msgspec.convert(stored.get("places", []), tuple[Place, ...]),
        opening_hours=stored.get("opening_hours") or {},
    )
    chat = stored.get("team", {}).get("chat")
    channel_id = (channels or {}).get((workspace_id, chat["channel"])) if chat else None
    team_chat = TeamChat(channel_id, chat["address"]) if channel_id else None
    return Business(workspace_id, name, locale, view, stored.get("texts", {}), team_chat)


def _plain_marketing(name: str) -> Purpose:
    """What is asked where the owner has not written a purpose of their own: a form that asks for consent works at once,
    and its wording stands in the ledger like any other."""
    who = {"it": f" da {name}" if name else "", "en": f" from {name}" if name else ""}
    return Purpose(
        version="built-in 1",
        wording={
            "it": f"Vuoi ricevere qui novità e offerte{who['it']}? Puoi smettere quando vuoi scrivendo STOP.",
            "en": f"Would you like to get news and offers{who['en']} here? You can end it at any time by writing STOP.",
        },
    )


@dataclass(frozen=True)
class Published:
    """What publishing a document gave. `changed` False: the current version is the same text."""

    key: str
    flow_id: int
    version_id: int
    number: int
    changed: bool


def publish(
    connection: Connection,
    *,
    workspace_id: int,
    source: str,
    name: str,
    channel_ids: Sequence[int] = (),
    note: str = "",
    by: str = "",
    checked: CompiledFlow | None = None,
    new_id: Callable[[], int],
    now: int,
) -> Published:
    """Makes a document the flow's current version; the same text again changes nothing.

    Raises RejectedInput (DocumentRejected) when it cannot be read or compiled. `channel_ids` given: the flow answers
    on those channels only. `checked`: what `source` compiles to, where the caller has done that before the transaction
    (a thousand steps take half a second, in which on PostgreSQL nothing else would happen).
    """
    read = (checked or compiler.compile(document.load(source, name), 0)).document
    digest = hashlib.sha256(source.encode()).hexdigest()
    flow = connection.execute(
        text(
            "SELECT f.id, f.current_version_id, v.sha256, v.number FROM flow f "
            "LEFT JOIN flow_version v ON v.id = f.current_version_id "
            "WHERE f.workspace_id = :workspace AND f.key = :key"
        ),
        {"workspace": workspace_id, "key": read.flow},
    ).one_or_none()
    title = next(iter(read.title.wordings.values()))[0] if read.title else read.flow
    if flow is None:
        flow_id = new_id()
        connection.execute(
            text(
                "INSERT INTO flow (id, workspace_id, key, title, state, current_version_id, created_at) "
                "VALUES (:id, :workspace, :key, :title, 'active', 0, :now)"
            ),
            {"id": flow_id, "workspace": workspace_id, "key": read.flow, "title": title, "now": now},
        )
    else:
        flow_id = flow.id
    _bind(connection, workspace_id, flow_id, channel_ids)
    if flow is not None and flow.sha256 == digest:
        raise_revision(connection, "flows")
        return Published(read.flow, flow_id, flow.current_version_id, flow.number, False)
    number = 1 + int(
        connection.execute(
            text("SELECT max(number) FROM flow_version WHERE flow_id = :flow"), {"flow": flow_id}
        ).scalar()
        or 0
    )
    version_id = new_id()
    connection.execute(
        text(
            "INSERT INTO flow_version (id, workspace_id, flow_id, number, document, sha256, note, by, published_at) "
            "VALUES (:id, :workspace, :flow, :number, :document, :digest, :note, :by, :now)"
        ),
        {
            "id": version_id,
            "workspace": workspace_id,
            "flow": flow_id,
            "number": number,
            "document": source,
            "digest": digest,
            "note": note,
            "by": by,
            "now": now,
        },
    )
    connection.execute(
        text(
            "UPDATE flow SET current_version_id = :version, title = :title, state = 'active' WHERE id = :flow"
        ),
        {"version": version_id, "title": title, "flow": flow_id},
    )
    schedules.sync(
        connection, workspace_id=workspace_id, flow_id=flow_id, document=read, new_id=new_id, now=now
    )
    raise_revision(connection, "flows")
    return Published(read.flow, flow_id, version_id, number, True)


def _bind(connection: Connection, workspace_id: int, flow_id: int, channel_ids: Sequence[int]) -> None:
    if not channel_ids:
        return
    connection.execute(text("DELETE FROM flow_channel WHERE flow_id = :flow"), {"flow": flow_id})
    for channel_id in channel_ids:
        connection.execute(
            text(
                "INSERT INTO flow_channel (workspace_id, flow_id, channel_id) VALUES (:workspace, :flow, :channel)"
            ),
            {"workspace": workspace_id, "flow": flow_id, "channel": channel_id},
        )
