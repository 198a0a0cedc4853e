"""Publishing: what is checked before a document becomes a flow's current version, and what becomes of people inside.

  1. read        the published flows that it may call, the business, the flow's tests
  2. examine     compile, inspect (what inspection calls an error stops it), play the tests where they are required
  3. look ahead  who stands where in older versions, and what the wish for them (stay, move, restart) would mean
  4. write       version, tests, the end of the draft, the job that moves people, the audit entry: one transaction

Several documents of one call may call each other, and are published all or not at all. A dry run ends after 3. Going
back to an older version is publishing its text again: history only grows, and sessions stay pinned to their version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from bot import flow_drafts, flow_history, flow_moves, flow_store, secret_store, standing
from bot.flow_history import Versions
from bot.flow_store import Published
from bot.runtime import Runtime
from bot.standing import Prospect
from crm.accounts import audit
from domain.errors import RejectedInput
from flows import compiler, document, inspection
from flows.business import BusinessView
from flows.inspection import Finding
from flows.versions import CompiledFlow
from storage.database import Queue

if TYPE_CHECKING:
    from flows import dialogues


@dataclass(frozen=True)
class Source:
    """A document to publish: its name for messages, its text, and tests that come with it, by name. `proven`: it stood
    there before (an older version), so that only what cannot run stops it."""

    name: str
    text: str
    tests: Mapping[str, str] = field(default_factory=dict)
    proven: bool = False


@dataclass(frozen=True)
class Wish:
    """How to publish. `people`: what becomes of people in older versions (stay | move | restart); `mapping`: steps of
    theirs → steps of the new version; `language` of the sentences that refuse."""

    note: str = ""
    by: str = ""
    channel_ids: Sequence[int] = ()
    require_tests: bool = False
    people: str = "stay"
    mapping: Mapping[str, str] = field(default_factory=dict)
    language: str = "en"
    dry_run: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of one document. `published` None: a dry run; `prospects`: what it means for the people inside;
    `job_id` of the job that moves them, 0: nobody moves; `tests`: how many were played."""

    key: str
    published: Published | None
    prospects: Sequence[Prospect]
    job_id: int = 0
    tests: int = 0


@dataclass(frozen=True)
class Setting:
    """What a document is examined with, as it is stored: `published` names the versions in `versions` by key, `tests`
    stand by the flow's key and by name, `secrets` are the names of those that are set."""

    published: Mapping[str, int]
    versions: Versions
    business: BusinessView
    flow_ids: Mapping[str, int]
    tests: Mapping[str, Mapping[str, str]]
    secrets: frozenset[str] = frozenset()

    @cached_property
    def library(self) -> Mapping[str, CompiledFlow]:
        """The published flows, compiled: not while somebody waits for the store."""
        found = {key: self.versions.get(version_id) for key, version_id in self.published.items()}
        return {key: flow for key, flow in found.items() if flow is not None}


class FailedTests(RejectedInput):
    """Tests that were required do not pass, or there are none. `results`: (test, how it went)."""

    def __init__(self, name: str, results: Sequence[tuple[str, dialogues.Result]]) -> None:
        failed = [f"{test}, line {one.line}, {one.name}: {one.difference}" for test, one in results]
        super().__init__("; ".join(failed) or "there are no tests, and publishing requires them", where=name)
        self.results = tuple(results)


def setting(connection: Connection, workspace_id: int) -> Setting:
    """Published flows, the business and all flows' tests."""
    values = {"workspace": workspace_id}
    flows = connection.execute(
        text(
            "SELECT id, key, state, current_version_id FROM flow WHERE workspace_id = :workspace ORDER BY id"
        ),
        values,
    ).all()
    published = {
        row.key: row.current_version_id for row in flows if row.current_version_id and row.state == "active"
    }
    tests: dict[str, dict[str, str]] = {}
    for row in connection.execute(
        text(
            "SELECT f.key, t.name, t.document FROM flow_test t JOIN flow f ON f.id = t.flow_id "
            "AND f.workspace_id = t.workspace_id WHERE t.workspace_id = :workspace ORDER BY t.flow_id, t.name"
        ),
        values,
    ).all():
        tests.setdefault(row.key, {})[row.name] = row.document
    row = connection.execute(
        text("SELECT name, locale, timezone, business FROM workspace WHERE id = :workspace"), values
    ).one()
    business = flow_store.read_business(workspace_id, row.name, row.locale, row.timezone, row.business).view
    secrets = frozenset(one.name for one in secret_store.names(connection, workspace_id))
    versions = flow_history.versions(connection, workspace_id, published.values())
    return Setting(published, versions, business, {row.key: row.id for row in flows}, tests, secrets)


def inspected(source: str, name: str, known: Setting) -> list[Finding]:
    """What inspection finds in a document. Raises DocumentRejected when it cannot be read or compiled."""
    compiled = compiler.compile(document.load(source, name), 0)
    return inspection.check(
        compiled, known.library, business=known.business, beside=known.library, secrets=known.secrets
    )


def played(
    compiled: CompiledFlow, tests: Mapping[str, str], known: Setting, beside: Sequence[CompiledFlow] = ()
) -> list[tuple[str, dialogues.Result]]:
    """Plays a flow's tests, as (test, how each dialogue went). `beside`: flows that are published with it."""
    from flows import dialogues  # only those who test pay for it

    others = {**known.library, **{flow.key: flow for flow in beside}}
    flows = [compiled, *(flow for key, flow in others.items() if key != compiled.key)]
    return [
        (name, result)
        for name, source in sorted(tests.items())
        for result in dialogues.run(source, name, flows, business=known.business)
    ]


@dataclass(frozen=True)
class Prepared:
    """Documents that may be published: everything but the write is done."""

    runtime: Runtime
    workspace_id: int
    sources: Sequence[Source]
    flows: Sequence[CompiledFlow]
    prospects: Sequence[Sequence[Prospect]]
    tests: Sequence[int]
    wish: Wish

    def outlook(self) -> list[Outcome]:
        """What it would come to, as a dry run tells it."""
        return [
            Outcome(flow.key, None, prospects, tests=tests)
            for flow, prospects, tests in zip(self.flows, self.prospects, self.tests, strict=True)
        ]

    def write(self, connection: Connection) -> list[Outcome]:
        """Publishes all of them, within the caller's transaction."""
        return [
            _publish(connection, self.runtime, self.workspace_id, source, flow, prospects, tests, self.wish)
            for source, flow, prospects, tests in zip(
                self.sources, self.flows, self.prospects, self.tests, strict=True
            )
        ]


async def prepare(runtime: Runtime, workspace_id: int, sources: Sequence[Source], wish: Wish) -> Prepared:
    """Checks all documents and looks ahead. Raises RejectedInput saying what stops them (FailedTests,
    DocumentRejected)."""
    known = await runtime.database.read(lambda c: setting(c, workspace_id))
    compiled, counts = await asyncio.to_thread(_examined, sources, known, wish)
    if wish.mapping and len(compiled) > 1:
        raise RejectedInput("steps are mapped for one flow at a time", where="map")
    prospects: list[list[Prospect]] = []
    for flow in compiled:
        flow_moves.checked(wish.people, wish.mapping, flow)
        prospects.append(await _prospects(runtime, workspace_id, known.flow_ids.get(flow.key, 0), flow, wish))
    return Prepared(runtime, workspace_id, sources, compiled, prospects, counts, wish)


async def publish(
    runtime: Runtime, workspace_id: int, sources: Sequence[Source], wish: Wish
) -> list[Outcome]:
    """Publishes all documents, or none (`wish.dry_run`: only says what it would come to). Raises as `prepare`."""
    ready = await prepare(runtime, workspace_id, sources, wish)
    if wish.dry_run:
        return ready.outlook()
    return await runtime.database.write(ready.write, queue=Queue.people)


async def older(runtime: Runtime, workspace_id: int, flow_id: int, number: int) -> Source:
    """The text of an older version, to be published again. Raises NotFound without that version."""
    source = await runtime.database.read(lambda c: flow_history.text_of(c, workspace_id, flow_id, number))
    return Source(f"version {number}", source, proven=True)


def _examined(sources: Sequence[Source], known: Setting, wish: Wish) -> tuple[list[CompiledFlow], list[int]]:
    compiled = [compiler.compile(document.load(one.text, one.name), 0) for one in sources]
    library = {**known.library, **{flow.key: flow for flow in compiled}}
    counts = []
    for source, flow in zip(sources, compiled, strict=True):
        found = (
            [] if source.proven else inspection.check(flow, library, business=known.business, beside=library)
        )
        faults = [one.sentence(wish.language) for one in found if one.severity == "error"]
        if faults:
            raise RejectedInput("; ".join(faults), where=source.name)
        tests = {**known.tests.get(flow.key, {}), **source.tests}
        results = played(flow, tests, known, compiled) if wish.require_tests else []
        failed = [(test, one) for test, one in results if not one.passed]
        if failed or (wish.require_tests and not results):
            raise FailedTests(source.name, failed)
        counts.append(len(results))
    return compiled, counts


async def _prospects(
    runtime: Runtime, workspace_id: int, flow_id: int, flow: CompiledFlow, wish: Wish
) -> list[Prospect]:
    if not flow_id or (wish.people == "stay" and not wish.dry_run):
        return []
    here = await standing.where(runtime.database, workspace_id, flow_id, flow.key, now=runtime.clock())
    versions = await runtime.database.read(
        lambda c: flow_history.versions(c, workspace_id, {one.version_id for one in here})
    )
    return await asyncio.to_thread(standing.prospects, here, versions, flow, wish.mapping, people=wish.people)


def _publish(
    connection: Connection,
    runtime: Runtime,
    workspace_id: int,
    source: Source,
    flow: CompiledFlow,
    prospects: Sequence[Prospect],
    tests: int,
    wish: Wish,
) -> Outcome:
    now = runtime.clock()
    done = flow_store.publish(
        connection,
        workspace_id=workspace_id,
        source=source.text,
        name=source.name,
        channel_ids=wish.channel_ids,
        note=wish.note,
        by=wish.by,
        checked=flow,
        new_id=runtime.new_id,
        now=now,
    )
    if source.tests:
        flow_drafts.keep_tests(
            connection,
            workspace_id=workspace_id,
            flow_id=done.flow_id,
            documents=source.tests,
            by=wish.by,
            now=now,
        )
    draft = flow_drafts.find(connection, workspace_id, done.flow_id)
    if draft is not None and draft.document == source.text:
        flow_drafts.discard(connection, workspace_id, done.flow_id)
    job_id = 0
    if wish.people != "stay":
        job_id = flow_moves.add(
            connection,
            workspace_id=workspace_id,
            flow_id=done.flow_id,
            key=done.key,
            version_id=done.version_id,
            people=wish.people,
            mapping=wish.mapping,
            by=wish.by,
            sealer=runtime.sealer,
            new_id=runtime.new_id,
            now=now,
        )
    if done.changed or job_id:
        audit(
            connection,
            workspace_id=workspace_id,
            actor=wish.by,
            action="flow_published",
            target=str(done.flow_id),
            detail={"number": done.number, "people": wish.people},
            new_id=runtime.new_id,
            now=now,
        )
    return Outcome(done.key, done, prospects, job_id, tests)
