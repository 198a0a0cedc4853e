"""`/flows/{id}/draft`, `…/publish`, `…/rollback`, `…/differences`, `…/people`, `…/tests`, and
`/conversations/{id}/replay`: a flow over time, and what another version of it means for the people in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal

import msgspec
from pydantic import Field
from sqlalchemy import Connection

from api.models import ChannelId, ConversationId, FlowId, Input, JobId, Output, Query, SessionId, VersionId
from api.resources.flows import MAX_DOCUMENT, Finding, finding
from api.routing import Call, route
from bot import connecting, flow_drafts, flow_history, flow_publishing, replay, standing
from bot.flow_drafts import MAX_NOTE, DraftChanged
from bot.flow_moves import MAX_MAP
from bot.flow_publishing import Outcome, Source, Wish
from crm.accounts import audit
from domain.errors import Conflict, RejectedInput
from flows.document import DocumentRejected

People = Literal["stay", "move", "restart"]


class Draft(Output):
    """What is being written of a flow. `revision`: a later save names it."""

    flow_id: FlowId
    key: str
    document: str
    note: str
    by: str
    updated_at: int
    revision: int


class DraftToSave(Input):
    """A document, with whatever faults it has. `revision`: of the draft that it was made from, 0 when there was none;
    when another one stands there by now, the answer is 409 and tells what saving would change in that."""

    document: str = Field(max_length=MAX_DOCUMENT)
    revision: int = Field(0, ge=0)
    note: str = Field("", max_length=MAX_NOTE)


class NewDraft(Input):
    """A document of a flow that need not exist yet: its key says which it is."""

    document: str = Field(min_length=1, max_length=MAX_DOCUMENT)
    note: str = Field("", max_length=MAX_NOTE)


class DraftSaved(Output):
    """A saved draft and what is wrong with it."""

    flow_id: FlowId
    revision: int
    publishable: bool
    findings: list[Finding]


class ToPublish(Input):
    """Which text becomes the current version, and what becomes of the people inside.

    `document` null: the draft, which must still have that `revision` if one is named. `people`: whether those in older
    versions stay there, move to the step of the same id (or the one that `map` names), or begin anew; who has no place
    in the new version stays. `dry_run`: only tells what it would mean for them.
    """

    document: str | None = Field(None, min_length=1, max_length=MAX_DOCUMENT)
    revision: int | None = Field(None, ge=1)
    note: str = Field("", max_length=MAX_NOTE)
    channel_ids: list[ChannelId] = Field(default_factory=list, max_length=100)
    require_tests: bool = False
    people: People = "stay"
    map: dict[str, str] = Field(default_factory=dict, max_length=MAX_MAP)
    dry_run: bool = False


class ToRollBack(Input):
    """Back to the version of that number: its text becomes a new version."""

    number: int = Field(ge=1)
    note: str = Field("", max_length=MAX_NOTE)
    people: People = "stay"
    map: dict[str, str] = Field(default_factory=dict, max_length=MAX_MAP)
    dry_run: bool = False


class Prospect(Output):
    """What becomes of the people at a step. `becomes`: goes_on | asked_again | restarts | stays."""

    number: int
    step_id: str
    people: int
    becomes: str
    to_step: str


class PublishedVersion(Output):
    """What publishing came to. `version_id` null: a dry run; `changed` false: the published version has the same text;
    `tests`: how many were played; `job_id`: the job that asks people to move (see `/jobs`)."""

    flow_id: FlowId
    key: str
    version_id: VersionId | None
    number: int
    changed: bool
    tests: int
    people: list[Prospect]
    job_id: JobId | None


class DifferencesQuery(Query):
    """Which texts, by number; 0 is the draft. Neither: from the published version to the draft, if there is one, else
    from the one before to the published one. Where one is not named, it is the published version."""

    before: int | None = Field(None, ge=0)
    after: int | None = Field(None, ge=0)


class Difference(Output):
    """One change. `kind`: added | removed | renamed | changed | leads | order | canvas | form; `text`: in words."""

    kind: str
    step: str
    key: str
    language: str
    before: str
    after: str
    text: dict[str, str]


class Differences(Output):
    """What has changed, in order. `renamed`: steps that only have another id, old to new."""

    before: int
    after: int
    differences: list[Difference]
    renamed: dict[str, str]


class Here(Output):
    """How many people stand at a step of a version; `inside`: in a flow that the step has called."""

    version_id: VersionId
    number: int
    step_id: str
    inside: bool
    people: int
    oldest_at: int
    newest_at: int
    over_a_day: int
    over_a_week: int


class PeopleInside(Output):
    """Who stands where; `number` is the published version's."""

    flow_id: FlowId
    number: int
    people: int
    steps: list[Here]


class Test(Output):
    """A test of a flow: the text of a `*.test.yaml`."""

    name: str
    document: str
    by: str
    updated_at: int


class TestToKeep(Input):
    """A test to keep."""

    name: str = Field(min_length=1, max_length=flow_drafts.MAX_TEST_NAME)
    document: str = Field(min_length=1, max_length=MAX_DOCUMENT)


class TestsToKeep(Input):
    """All tests of a flow; those that are not named are gone."""

    tests: list[TestToKeep] = Field(max_length=flow_drafts.MAX_TESTS)


class Tests(Output):
    """All tests of a flow."""

    tests: list[Test]


class ToReplay(Input):
    """On what a conversation is played again: `number` of another version of its flow, or a `document`; neither: on the
    version it ran on. `session_id`: only that session."""

    session_id: SessionId | None = None
    number: int | None = Field(None, ge=1)
    document: str | None = Field(None, min_length=1, max_length=MAX_DOCUMENT)


class ReplayDifference(Output):
    """Where the ways part. `what`: said | did | ended | state."""

    turn: int
    at: int
    step: str
    heard: str
    what: str
    then: list[str]
    now: list[str]


class ReplayedSession(Output):
    """A session played again; `problem`: why it could not be."""

    session_id: SessionId
    flow: str
    number: int
    turns: int
    same: bool
    difference: ReplayDifference | None
    problem: dict[str, str] | None


class Replayed(Output):
    """A conversation played again; `same`: every session came to the same."""

    conversation_id: ConversationId
    same: bool
    sessions: list[ReplayedSession]


@route("GET", "/flows/{flow_id}/draft", scope="flows:read", out=Draft)
async def get_draft(call: Call[None, None]) -> Draft:
    """The draft of a flow."""
    found = await call.read(lambda c: flow_drafts.get(c, call.workspace_id, call.ids["flow"]))
    return Draft(**msgspec.to_builtins(found))


@route("PUT", "/flows/{flow_id}/draft", scope="flows:write", body=DraftToSave, out=DraftSaved)
async def save_draft(call: Call[DraftToSave, None]) -> DraftSaved:
    """Saves the draft of a flow, with whatever faults it has; they are told."""
    body, flow_id = call.body, call.ids["flow"]
    findings = await _findings(call, body.document)

    def work(connection: Connection) -> DraftSaved:
        revision = flow_drafts.save(
            connection,
            workspace_id=call.workspace_id,
            flow_id=flow_id,
            source=body.document,
            revision=body.revision,
            note=body.note,
            by=call.actor,
            now=call.now(),
        )
        return _saved(flow_id, revision, findings)

    return await _write_draft(call, work)


@route("DELETE", "/flows/{flow_id}/draft", scope="flows:write", status=204)
async def discard_draft(call: Call[None, None]) -> None:
    """Throws the draft of a flow away."""

    def work(connection: Connection) -> None:
        flow_history.by_id(connection, call.workspace_id, call.ids["flow"])
        flow_drafts.discard(connection, call.workspace_id, call.ids["flow"])

    await call.write(work)


@route("POST", "/flows/drafts", scope="flows:write", body=NewDraft, out=DraftSaved, status=201)
async def new_draft(call: Call[NewDraft, None]) -> DraftSaved:
    """Saves the first draft of a flow, which is made when there is none of its key."""
    body = call.body
    findings = await _findings(call, body.document)
    key = await asyncio.to_thread(flow_drafts.key_of, body.document, name="document")

    def work(connection: Connection) -> DraftSaved:
        flow_id = flow_drafts.flow_of(
            connection, call.workspace_id, key, new_id=call.runtime.new_id, now=call.now()
        )
        revision = flow_drafts.save(
            connection,
            workspace_id=call.workspace_id,
            flow_id=flow_id,
            source=body.document,
            revision=0,
            note=body.note,
            by=call.actor,
            now=call.now(),
        )
        return _saved(flow_id, revision, findings)

    return await _write_draft(call, work)


async def _write_draft(call: Call[Any, None], work: Callable[[Connection], DraftSaved]) -> DraftSaved:
    """Saves; what a stale save would have changed is found out where it holds nobody up."""
    try:
        return await call.write(work)
    except DraftChanged as stale:
        await asyncio.to_thread(str, stale)
        raise


@route(
    "POST", "/flows/{flow_id}/publish", scope="flows:write", body=ToPublish, out=PublishedVersion, status=201
)
async def publish_version(call: Call[ToPublish, None]) -> PublishedVersion:
    """Publishes the draft (or a document) as the current version, and moves people if that is wished."""
    body, flow_id = call.body, call.ids["flow"]

    def read(connection: Connection) -> tuple[str, str]:
        flow = flow_history.by_id(connection, call.workspace_id, flow_id)
        text = body.document
        if text is None:
            draft = flow_drafts.get(connection, call.workspace_id, flow_id)
            if body.revision not in (None, draft.revision):
                raise Conflict(f"the draft has revision {draft.revision} by now")
            text = draft.document
        for channel_id in body.channel_ids:
            connecting.channel(connection, call.workspace_id, channel_id)
        return flow.key, text

    key, source = await call.read(read)
    written = await asyncio.to_thread(flow_drafts.key_of, source, name="document")
    if written != key:
        raise RejectedInput(f"must be {key}, not {written}", where="document, flow")
    wish = Wish(
        note=body.note,
        by=call.actor,
        channel_ids=body.channel_ids,
        require_tests=body.require_tests,
        people=body.people,
        mapping=body.map,
        dry_run=body.dry_run,
    )
    return await _publish(call, Source("document", source), wish)


@route(
    "POST",
    "/flows/{flow_id}/rollback",
    scope="flows:write",
    body=ToRollBack,
    out=PublishedVersion,
    status=201,
)
async def roll_back(call: Call[ToRollBack, None]) -> PublishedVersion:
    """Publishes an older version's text again."""
    body = call.body
    source = await flow_publishing.older(call.runtime, call.workspace_id, call.ids["flow"], body.number)
    wish = Wish(
        note=body.note or f"back to {body.number}",
        by=call.actor,
        people=body.people,
        mapping=body.map,
        dry_run=body.dry_run,
    )
    return await _publish(call, source, wish)


async def _publish(call: Call[Any, None], source: Source, wish: Wish) -> PublishedVersion:
    ready = await flow_publishing.prepare(call.runtime, call.workspace_id, [source], wish)
    if wish.dry_run:
        [outcome] = ready.outlook()
        number = await call.read(lambda c: flow_history.by_id(c, call.workspace_id, call.ids["flow"]).number)
        return _published(call, outcome, number)

    def work(connection: Connection) -> PublishedVersion:
        [done] = ready.write(connection)
        return _published(call, done, 0)

    published = await call.write(work)
    await call.live.reload()
    return published


def _published(call: Call[Any, None], one: Outcome, number: int) -> PublishedVersion:
    done = one.published
    return PublishedVersion(
        flow_id=call.ids["flow"],
        key=one.key,
        version_id=done.version_id if done is not None else None,
        number=done.number if done is not None else number,
        changed=done is not None and done.changed,
        tests=one.tests,
        people=[Prospect(**msgspec.to_builtins(prospect)) for prospect in one.prospects],
        job_id=one.job_id or None,
    )


@route("GET", "/flows/{flow_id}/differences", scope="flows:read", query=DifferencesQuery, out=Differences)
async def get_differences(call: Call[None, DifferencesQuery]) -> Differences:
    """What has changed from one text of a flow to another, in words."""
    query = call.query

    def read(connection: Connection) -> flow_history.ToCompare:
        flow = flow_history.by_id(connection, call.workspace_id, call.ids["flow"])
        before = query.before
        if before is None and query.after is not None:
            before = flow.number
        return flow_history.to_compare(connection, call.workspace_id, flow, before, query.after)

    texts = await call.read(read)
    found = await asyncio.to_thread(texts.compared)
    return Differences(
        before=found.before,
        after=found.after,
        differences=[Difference(**{**one._asdict(), "text": dict(one.text)}) for one in found.differences],
        renamed=found.renamed,
    )


@route("GET", "/flows/{flow_id}/people", scope="flows:read", out=PeopleInside)
async def get_people(call: Call[None, None]) -> PeopleInside:
    """Who stands where: how many people wait at which step of which version."""
    flow = await call.read(lambda c: flow_history.by_id(c, call.workspace_id, call.ids["flow"]))
    found = await standing.where(call.runtime.database, call.workspace_id, flow.id, flow.key, now=call.now())
    return PeopleInside(
        flow_id=flow.id,
        number=flow.number,
        people=sum(one.people for one in found),
        steps=[Here(**msgspec.to_builtins(one)) for one in found],
    )


@route("GET", "/flows/{flow_id}/tests", scope="flows:read", out=Tests)
async def get_tests(call: Call[None, None]) -> Tests:
    """The tests that belong to a flow."""

    def read(connection: Connection) -> Tests:
        flow_history.by_id(connection, call.workspace_id, call.ids["flow"])
        found = flow_drafts.tests(connection, call.workspace_id, call.ids["flow"])
        return Tests(tests=[Test(**msgspec.to_builtins(one)) for one in found])

    return await call.read(read)


@route("PUT", "/flows/{flow_id}/tests", scope="flows:write", body=TestsToKeep, out=Tests)
async def keep_tests(call: Call[TestsToKeep, None]) -> Tests:
    """Replaces the tests of a flow; publishing may require that they pass."""
    documents = {one.name: one.document for one in call.body.tests}

    def work(connection: Connection) -> Tests:
        flow_history.by_id(connection, call.workspace_id, call.ids["flow"])
        flow_drafts.keep_tests(
            connection,
            workspace_id=call.workspace_id,
            flow_id=call.ids["flow"],
            documents=documents,
            by=call.actor,
            now=call.now(),
            replace=True,
        )
        found = flow_drafts.tests(connection, call.workspace_id, call.ids["flow"])
        return Tests(tests=[Test(**msgspec.to_builtins(one)) for one in found])

    return await call.write(work)


@route(
    "POST",
    "/conversations/{conversation_id}/replay",
    scope="conversations:read",
    body=ToReplay,
    out=Replayed,
)
async def replay_conversation(call: Call[ToReplay, None]) -> Replayed:
    """Plays a conversation again and tells the first difference. Nothing is sent; the audit log notes who read it."""
    body, conversation_id = call.body, call.ids["conversation"]
    if body.number is not None and body.document is not None:
        raise RejectedInput("either a version's number or a document", where="document")
    kept = await call.read(
        lambda c: replay.of_conversation(
            c,
            workspace_id=call.workspace_id,
            conversation_id=conversation_id,
            session_id=body.session_id or 0,
            number=body.number or 0,
            sealer=call.runtime.sealer,
        )
    )
    found = await asyncio.to_thread(replay.play, kept, number=body.number or 0, source=body.document or "")

    def work(connection: Connection) -> Replayed:
        audit(
            connection,
            workspace_id=call.workspace_id,
            actor=call.actor,
            action="conversation_replayed",
            target=str(conversation_id),
            new_id=call.runtime.new_id,
            now=call.now(),
        )
        return Replayed(
            conversation_id=conversation_id,
            same=all(one.same for one in found),
            sessions=[ReplayedSession(**msgspec.to_builtins(one)) for one in found],
        )

    return await call.write(work)


async def _findings(call: Call[Any, None], source: str) -> list[Finding]:
    """What is wrong with a document, in the form of findings, whatever it is."""
    known = await call.read(lambda c: flow_publishing.setting(c, call.workspace_id))
    try:
        found = await asyncio.to_thread(flow_publishing.inspected, source, "document", known)
    except DocumentRejected as error:
        return [_unreadable(problem.line, problem.where, problem.what) for problem in error.problems]
    except RejectedInput as error:
        return [_unreadable(1, "", str(error))]
    return [finding(one) for one in found]


def _unreadable(line: int, where: str, what: str) -> Finding:
    return Finding(severity="error", code="unreadable", step=where, line=line, text={"en": what}, remedy={})


def _saved(flow_id: int, revision: int, findings: list[Finding]) -> DraftSaved:
    return DraftSaved(
        flow_id=flow_id,
        revision=revision,
        publishable=all(one.severity != "error" for one in findings),
        findings=findings,
    )
