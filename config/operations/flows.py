"""Flows: publish. Checking, testing and playing need no store: the command does them by itself."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, text

from bot import flow_store
from config.operations import Context, Result, operation
from config.operations.channels import find
from domain import ids
from domain.errors import RejectedInput
from flows import compiler, document, inspection
from flows.versions import CompiledFlow


class FlowText(msgspec.Struct, forbid_unknown_fields=True):
    """A document and the name of its file."""

    name: str
    source: str


class Publish(msgspec.Struct, forbid_unknown_fields=True):
    """`channels`: ids or names; empty: where they answered before, a new flow on all."""

    flows: list[FlowText]
    channels: list[str] = msgspec.field(default_factory=list)
    note: str = ""
    language: str = "en"  # of the findings that stop it


@operation("flow.publish", Publish)
async def publish(context: Context, arguments: Publish) -> Result:
    """Checks all and publishes all, or none."""
    channel_ids = [(await find(context, name)).id for name in arguments.channels]
    app = context.app

    def write(connection: Connection) -> list[Result]:
        _refuse_faulty(connection, context.workspace_id, arguments.flows, arguments.language)
        return [_publish(connection, context, flow, channel_ids, arguments.note) for flow in arguments.flows]

    return {"flows": await app.database.write(write)}


def _publish(
    connection: Connection, context: Context, flow: FlowText, channel_ids: list[int], note: str
) -> dict[str, Any]:
    done = flow_store.publish(
        connection,
        workspace_id=context.workspace_id,
        source=flow.source,
        name=flow.name,
        channel_ids=channel_ids,
        note=note,
        by="command",
        new_id=context.new_id,
        now=context.now,
    )
    flow_id = ids.to_text("flow", done.flow_id)
    return {"id": flow_id, "key": done.key, "version": done.number, "changed": done.changed}


def _refuse_faulty(connection: Connection, workspace_id: int, given: list[FlowText], language: str) -> None:
    """What inspection calls an error stops publishing; flows of one call may call each other."""
    compiled = [compiler.compile(document.load(flow.source, flow.name), 0) for flow in given]
    library: dict[str, CompiledFlow] = {}
    for row in connection.execute(
        text(
            "SELECT f.key, v.document FROM flow f JOIN flow_version v ON v.id = f.current_version_id "
            "WHERE f.workspace_id = :workspace AND f.state = 'active'"
        ),
        {"workspace": workspace_id},
    ).all():
        library[row.key] = compiler.compile(document.load(row.document, row.key), 0)
    library |= {flow.key: flow for flow in compiled}
    row = connection.execute(
        text("SELECT name, locale, timezone, business FROM workspace WHERE id = :id"), {"id": workspace_id}
    ).one()
    business = flow_store.read_business(workspace_id, row.name, row.locale, row.timezone, row.business).view
    for flow, one in zip(given, compiled, strict=True):
        found = inspection.check(one, library, business=business)
        faults = [finding.sentence(language) for finding in found if finding.severity == "error"]
        if faults:
            raise RejectedInput("; ".join(faults), where=flow.name)
