"""`/flows`: documents, checked and published; versions never change."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from pydantic import Field
from sqlalchemy import Connection

from api.models import ChannelId, FlowId, Input, Output, Page, PageQuery, VersionId, numeric_cursor, page_of
from api.routing import Call, route
from bot import connecting, flow_store, flow_views, secret_store
from crm.accounts import audit
from flows import compiler, document, inspection
from flows.document import DocumentRejected, Problem
from flows.versions import CompiledFlow

MAX_DOCUMENT = 900_000  # characters: the body's limit with room for the rest


class Flow(Output):
    """A flow. `version_id`, `number`: the published version; `channel_ids` empty: it answers on all channels."""

    id: FlowId
    key: str
    title: str
    state: str
    version_id: VersionId | None
    number: int
    channel_ids: list[ChannelId]
    created_at: int


class Version(Output):
    """A published version."""

    id: VersionId
    flow_id: FlowId
    number: int
    note: str
    by: str
    published_at: int


class VersionText(Version):
    """A version with its text as it was written."""

    document: str


class NewVersion(Input):
    """A document to publish. `channel_ids`: the flow answers on these channels only."""

    document: str = Field(min_length=1, max_length=MAX_DOCUMENT)
    channel_ids: list[ChannelId] = Field(default_factory=list, max_length=100)
    note: str = Field("", max_length=500)


class DocumentToCheck(Input):
    """A document to check."""

    document: str = Field(min_length=1, max_length=MAX_DOCUMENT)


class Published(Output):
    """What publishing gave; `changed` false: the published version has the same text."""

    flow_id: FlowId
    version_id: VersionId
    key: str
    number: int
    changed: bool


class Finding(Output):
    """Something that inspection found. `severity`: error | warning; `line` counts from 1."""

    severity: str
    code: str
    step: str
    line: int
    text: dict[str, str]
    remedy: dict[str, str]


class Findings(Output):
    """What inspection found; `publishable`: there is no error among it."""

    publishable: bool
    findings: list[Finding]


@route("GET", "/flows", scope="flows:read", query=PageQuery, out=Page[Flow])
async def list_flows(call: Call[None, PageQuery]) -> Page[Flow]:
    """Flows in the order in which they were made."""
    query, after = call.query, numeric_cursor(call.query.after)
    found = await call.read(
        lambda c: flow_views.flows(c, call.workspace_id, after=after, limit=query.limit + 1)
    )
    page = page_of(found, query.limit, lambda one: one.id)
    return Page[Flow](data=[_flow(one) for one in page.data], next=page.next)


@route("GET", "/flows/{flow_id}", scope="flows:read", out=Flow)
async def get_flow(call: Call[None, None]) -> Flow:
    """One flow."""
    return _flow(await call.read(lambda c: flow_views.flow(c, call.workspace_id, call.ids["flow"])))


@route("GET", "/flows/{flow_id}/versions", scope="flows:read", out=Page[Version])
async def list_versions(call: Call[None, None]) -> Page[Version]:
    """The newest versions of a flow, the newest first."""
    found = await call.read(lambda c: flow_views.versions(c, call.workspace_id, call.ids["flow"]))
    return Page[Version](data=[Version(**_version(one)) for one in found])


@route("GET", "/flows/{flow_id}/versions/{flow_version_id}", scope="flows:read", out=VersionText)
async def get_version(call: Call[None, None]) -> VersionText:
    """One version with its text."""
    found = await call.read(
        lambda c: flow_views.version(c, call.workspace_id, call.ids["flow"], call.ids["flow_version"])
    )
    return VersionText(**_version(found), document=found.document)


@route("POST", "/flows/check", scope="flows:read", body=DocumentToCheck, out=Findings)
async def check_flow(call: Call[DocumentToCheck, None]) -> Findings:
    """Inspects a document without publishing it."""
    known = await call.read(lambda c: {one.name for one in secret_store.names(c, call.workspace_id)})
    _, found = await asyncio.to_thread(_inspected, call, call.body.document, known)
    return Findings(**found)


@route("POST", "/flows", scope="flows:write", body=NewVersion, out=Published, status=201)
async def publish_flow(call: Call[NewVersion, None]) -> Published:
    """Publishes a document as the current version of its flow."""
    body = call.body
    compiled, found = await asyncio.to_thread(_inspected, call, body.document)
    errors = [one for one in found["findings"] if one.severity == "error"]
    if errors:
        lines = [Problem(one.line, one.step, f"{one.text['en']} ({one.remedy['en']})") for one in errors]
        raise DocumentRejected("document", lines)

    def work(connection: Connection) -> Published:
        for channel_id in body.channel_ids:
            connecting.channel(connection, call.workspace_id, channel_id)
        made = flow_store.publish(
            connection,
            workspace_id=call.workspace_id,
            source=body.document,
            name="document",
            channel_ids=body.channel_ids,
            note=body.note,
            by=call.actor,
            checked=compiled,
            new_id=call.runtime.new_id,
            now=call.now(),
        )
        audit(
            connection,
            workspace_id=call.workspace_id,
            actor=call.actor,
            action="flow_published",
            target=str(made.flow_id),
            detail={"number": made.number},
            new_id=call.runtime.new_id,
            now=call.now(),
        )
        return Published(
            flow_id=made.flow_id,
            version_id=made.version_id,
            key=made.key,
            number=made.number,
            changed=made.changed,
        )

    published = await call.write(work)
    await call.live.reload()
    return published


def _inspected(
    call: Call[Any, None], source: str, secrets: Collection[str] | None = None
) -> tuple[CompiledFlow, dict[str, Any]]:
    """What a document compiles to, and what is found in it. Raises DocumentRejected when it cannot be read at all."""
    compiled = compiler.compile(document.load(source, "document"), 0)
    store = call.live.flows
    library = store.library(call.workspace_id)
    found = inspection.check(
        compiled,
        library,
        business=store.business(call.workspace_id).view,
        secrets=secrets,
        beside=library,
        now=call.now(),
    )
    return compiled, {
        "publishable": all(one.severity != "error" for one in found),
        "findings": [finding(one) for one in found],
    }


def finding(one: inspection.Finding) -> Finding:
    """What inspection found, as it is shown."""
    return Finding(
        severity=one.severity,
        code=one.code,
        step=one.step,
        line=one.line,
        text=dict(one.text),
        remedy=dict(one.remedy),
    )


def _flow(one: flow_views.FlowView) -> Flow:
    return Flow(
        id=one.id,
        key=one.key,
        title=one.title,
        state=one.state,
        version_id=one.version_id or None,
        number=one.number,
        channel_ids=list(one.channel_ids),
        created_at=one.created_at,
    )


def _version(one: flow_views.VersionView) -> dict[str, Any]:
    return {
        "id": one.id,
        "flow_id": one.flow_id,
        "number": one.number,
        "note": one.note,
        "by": one.by,
        "published_at": one.published_at,
    }
