"""Flows: publish, drafts, history, people inside, replay. Checking, testing and playing need no store: the command does
them by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from sqlalchemy import Connection

from bot import flow_drafts, flow_history, flow_publishing, flow_views, replay, secret_store, standing
from bot.flow_publishing import Outcome, Source, Wish
from bot.flow_views import FlowView
from config.operations import Context, Result, operation
from config.operations.channels import Nothing, find
from crm.accounts import audit
from domain import ids
from domain.errors import RejectedInput
from flows import compiler, document
from flows.differences import Difference
from flows.document import DocumentRejected

BY = "command"
PAGE = 500  # flows that are read at a time


class FlowText(msgspec.Struct, forbid_unknown_fields=True):
    """A document, the name of its file, and the tests beside it by name."""

    name: str
    source: str
    tests: dict[str, str] = msgspec.field(default_factory=dict)


class Publish(msgspec.Struct, forbid_unknown_fields=True):
    """`drafts`: keys of flows whose draft is published. `channels`: ids or names; empty: where they answered before, a
    new flow on all. `people`: stay | move | restart; `map`: steps of theirs → steps of the new version."""

    flows: list[FlowText] = msgspec.field(default_factory=list)
    drafts: list[str] = msgspec.field(default_factory=list)
    channels: list[str] = msgspec.field(default_factory=list)
    note: str = ""
    language: str = "en"  # of the findings that stop it
    require_tests: bool = False
    people: str = "stay"
    map: dict[str, str] = msgspec.field(default_factory=dict)
    dry_run: bool = False


class SaveDraft(msgspec.Struct, forbid_unknown_fields=True):
    """`revision`: of the draft that this one was made from; None: of none, or of one that the command saved."""

    flow: FlowText
    note: str = ""
    revision: int | None = None


class OneFlow(msgspec.Struct, forbid_unknown_fields=True):
    """A flow by its key."""

    flow: str


class Diff(msgspec.Struct, forbid_unknown_fields=True):
    """Versions by number, 0: the draft; see `flow_history.compare`."""

    flow: str
    before: int | None = None
    after: int | None = None


class RollBack(msgspec.Struct, forbid_unknown_fields=True):
    """Back to the version of that number."""

    flow: str
    number: int
    note: str = ""
    people: str = "stay"
    map: dict[str, str] = msgspec.field(default_factory=dict)
    dry_run: bool = False


class Replay(msgspec.Struct, forbid_unknown_fields=True):
    """A conversation by id. `number`, `source`: the version to play it on instead; neither: that of then."""

    conversation: str
    session: str = ""
    number: int = 0
    source: str = ""


@operation("flow.publish", Publish)
async def publish(context: Context, arguments: Publish) -> Result:
    """Checks all and publishes all, or none."""
    channel_ids = [(await find(context, name)).id for name in arguments.channels]
    drafts = await context.app.database.read(
        lambda c: [_draft_source(c, context.workspace_id, key) for key in arguments.drafts]
    )
    sources = [Source(one.name, one.source, one.tests) for one in arguments.flows] + drafts
    if not sources:
        raise RejectedInput("names no flow: a file, or --draft and a flow's key", where="flow publish")
    wish = Wish(
        note=arguments.note,
        by=BY,
        channel_ids=channel_ids,
        require_tests=arguments.require_tests,
        people=arguments.people,
        mapping=arguments.map,
        language=arguments.language,
        dry_run=arguments.dry_run,
    )
    done = await flow_publishing.publish(context.app.runtime, context.workspace_id, sources, wish)
    missing = await context.app.database.read(lambda c: _missing_secrets(c, context.workspace_id, sources))
    return {"flows": [_published(one) | {"missing_secrets": missing.get(one.key, [])} for one in done]}


def _missing_secrets(
    connection: Connection, workspace_id: int, sources: list[Source]
) -> dict[str, list[str]]:
    """By flow: names that it uses and that are not set. No fault of the flow, so it is told and stops nothing."""
    known = {one.name for one in secret_store.names(connection, workspace_id)}
    missing = {}
    for source in sources:
        flow = compiler.compile(document.load(source.text, source.name), 0)
        used = frozenset[str]().union(*(step.secrets for step in flow.steps.values()))
        missing[flow.key] = sorted(used - known)
    return missing


def _draft_source(connection: Connection, workspace_id: int, key: str) -> Source:
    flow = flow_history.by_key(connection, workspace_id, key)
    draft = flow_drafts.get(connection, workspace_id, flow.id)
    written = flow_drafts.key_of(draft.document, name=f"draft of {key}")
    if written != key:
        raise RejectedInput(f"says flow: {written}", where=f"draft of {key}")
    return Source(f"draft of {key}", draft.document)


def _published(one: Outcome) -> dict[str, Any]:
    told: dict[str, Any] = {"key": one.key}
    if one.published is not None:
        told = {
            "id": ids.to_text("flow", one.published.flow_id),
            "key": one.key,
            "version": one.published.number,
            "changed": one.published.changed,
        }
    told["tests"] = one.tests
    told["people"] = [msgspec.to_builtins(prospect) for prospect in one.prospects]
    if one.job_id:
        told["job"] = ids.to_text("job", one.job_id)
    return told


@operation("flow.draft.save", SaveDraft)
async def save_draft(context: Context, arguments: SaveDraft) -> Result:
    """Keeps a document as its flow's draft, with whatever faults it has; they are told."""
    given, workspace_id = arguments.flow, context.workspace_id
    key = flow_drafts.key_of(given.source, name=given.name)

    def write(connection: Connection) -> tuple[int, int]:
        flow_id = flow_drafts.flow_of(connection, workspace_id, key, new_id=context.new_id, now=context.now)
        there = flow_drafts.find(connection, workspace_id, flow_id)
        revision = arguments.revision
        if revision is None:
            revision = there.revision if there is not None and there.by == BY else 0
        saved = flow_drafts.save(
            connection,
            workspace_id=workspace_id,
            flow_id=flow_id,
            source=given.source,
            revision=revision,
            note=arguments.note,
            by=BY,
            now=context.now,
        )
        flow_drafts.keep_tests(
            connection,
            workspace_id=workspace_id,
            flow_id=flow_id,
            documents=given.tests,
            by=BY,
            now=context.now,
        )
        return flow_id, saved

    flow_id, revision = await context.app.database.write(write)
    return {
        "id": ids.to_text("flow", flow_id),
        "key": key,
        "revision": revision,
        "faults": await _faults(context, given),
    }


async def _faults(context: Context, given: FlowText) -> list[dict[str, Any]]:
    known = await context.app.database.read(lambda c: flow_publishing.setting(c, context.workspace_id))
    try:
        found = await asyncio.to_thread(flow_publishing.inspected, given.source, given.name, known)
    except DocumentRejected as error:
        return [
            {"severity": "error", "line": one.line, "step": one.where, "text": {"en": one.what}}
            for one in error.problems
        ]
    except RejectedInput as error:
        return [{"severity": "error", "line": 1, "step": "", "text": {"en": str(error)}}]
    return [
        {"severity": one.severity, "line": one.line, "step": one.step, "text": dict(one.text)}
        for one in found
    ]


@operation("flow.draft.show", OneFlow)
async def show_draft(context: Context, arguments: OneFlow) -> Result:
    """The draft of a flow."""

    def read(connection: Connection) -> flow_drafts.Draft:
        flow = flow_history.by_key(connection, context.workspace_id, arguments.flow)
        return flow_drafts.get(connection, context.workspace_id, flow.id)

    found = await context.app.database.read(read)
    return {**msgspec.to_builtins(found), "flow_id": ids.to_text("flow", found.flow_id)}


@operation("flow.draft.discard", OneFlow)
async def discard_draft(context: Context, arguments: OneFlow) -> Result:
    """Throws the draft of a flow away."""

    def write(connection: Connection) -> bool:
        flow = flow_history.by_key(connection, context.workspace_id, arguments.flow)
        return flow_drafts.discard(connection, context.workspace_id, flow.id)

    return {"key": arguments.flow, "discarded": await context.app.database.write(write)}


@operation("flow.list", Nothing)
async def list_all(context: Context, _arguments: Nothing) -> Result:
    """All flows in the order in which they were made."""

    def read(connection: Connection) -> list[FlowView]:
        found: list[FlowView] = []
        while page := flow_views.flows(
            connection, context.workspace_id, after=found[-1].id if found else 0, limit=PAGE
        ):
            found += page
        return found

    return {
        "flows": [
            {
                **msgspec.to_builtins(one),
                "id": ids.to_text("flow", one.id),
                "version_id": ids.to_text("flow_version", one.version_id) if one.version_id else None,
                "channel_ids": [ids.to_text("channel", channel) for channel in one.channel_ids],
            }
            for one in await context.app.database.read(read)
        ]
    }


@operation("flow.versions", OneFlow)
async def versions(context: Context, arguments: OneFlow) -> Result:
    """The history of a flow, newest first, and its draft."""

    def read(connection: Connection) -> Result:
        flow = flow_history.by_key(connection, context.workspace_id, arguments.flow)
        draft = flow_drafts.find(connection, context.workspace_id, flow.id)
        found = flow_views.versions(connection, context.workspace_id, flow.id)
        return {
            "id": ids.to_text("flow", flow.id),
            "key": flow.key,
            "published": flow.number,
            "draft": None
            if draft is None
            else {
                "revision": draft.revision,
                "note": draft.note,
                "by": draft.by,
                "updated_at": draft.updated_at,
            },
            "versions": [
                {
                    "id": ids.to_text("flow_version", one.id),
                    "number": one.number,
                    "note": one.note,
                    "by": one.by,
                    "published_at": one.published_at,
                }
                for one in found
            ],
        }

    return await context.app.database.read(read)


@operation("flow.diff", Diff)
async def diff(context: Context, arguments: Diff) -> Result:
    """What has changed from one text of a flow to another, in words."""

    def read(connection: Connection) -> Result:
        flow = flow_history.by_key(connection, context.workspace_id, arguments.flow)
        found = flow_history.compare(
            connection, context.workspace_id, flow, arguments.before, arguments.after
        )
        return {
            "key": flow.key,
            "before": found.before,
            "after": found.after,
            "differences": [_difference(one) for one in found.differences],
            "renamed": found.renamed,
        }

    return await context.app.database.read(read)


def _difference(one: Difference) -> dict[str, Any]:
    return {**one._asdict(), "text": dict(one.text)}


@operation("flow.rollback", RollBack)
async def roll_back(context: Context, arguments: RollBack) -> Result:
    """Publishes an older version's text again."""
    flow = await context.app.database.read(
        lambda c: flow_history.by_key(c, context.workspace_id, arguments.flow)
    )
    wish = Wish(
        note=arguments.note or f"back to {arguments.number}",
        by=BY,
        people=arguments.people,
        mapping=arguments.map,
        dry_run=arguments.dry_run,
    )
    runtime, workspace_id = context.app.runtime, context.workspace_id
    if arguments.number < 1:
        raise RejectedInput("versions are counted from 1", where="number")
    source = await flow_publishing.older(runtime, workspace_id, flow.id, arguments.number)
    done = await flow_publishing.publish(runtime, workspace_id, [source], wish)
    return {"flows": [_published(one) for one in done]}


@operation("flow.where", OneFlow)
async def where(context: Context, arguments: OneFlow) -> Result:
    """Who stands where."""
    app, workspace_id = context.app, context.workspace_id
    flow = await app.database.read(lambda c: flow_history.by_key(c, workspace_id, arguments.flow))
    found = await standing.where(app.database, workspace_id, flow.id, flow.key, now=context.now)
    return {
        "key": flow.key,
        "published": flow.number,
        "people": sum(one.people for one in found),
        "steps": [
            {**msgspec.to_builtins(one), "version_id": ids.to_text("flow_version", one.version_id)}
            for one in found
        ],
    }


@operation("flow.replay", Replay)
async def replay_conversation(context: Context, arguments: Replay) -> Result:
    """Plays a conversation again and tells the first difference; that somebody read it goes into the audit log."""
    conversation_id = ids.from_text("conversation", arguments.conversation, where="conversation")
    session_id = ids.from_text("session", arguments.session, where="session") if arguments.session else 0
    app, workspace_id = context.app, context.workspace_id

    def note(connection: Connection) -> None:
        audit(
            connection,
            workspace_id=workspace_id,
            actor=BY,
            action="conversation_replayed",
            target=str(conversation_id),
            new_id=context.new_id,
            now=context.now,
        )

    kept = await app.database.read(
        lambda c: replay.of_conversation(
            c,
            workspace_id=workspace_id,
            conversation_id=conversation_id,
            session_id=session_id,
            number=arguments.number,
            sealer=app.sealer,
        )
    )
    found = await asyncio.to_thread(replay.play, kept, number=arguments.number, source=arguments.source)
    await app.database.write(note)
    return {
        "conversation": arguments.conversation,
        "same": all(one.same for one in found),
        "sessions": [
            {**msgspec.to_builtins(one), "session_id": ids.to_text("session", one.session_id)}
            for one in found
        ],
    }
