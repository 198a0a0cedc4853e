"""Apply a business file that the command has read."""

from __future__ import annotations

import asyncio

import msgspec

from bot import flow_publishing, flow_store
from config import business
from config.operations import Context, Result, operation
from domain import ids
from domain.errors import RejectedInput
from flows import compiler, document, inspection


class Apply(msgspec.Struct, forbid_unknown_fields=True):
    """What `config.business.read` made of the file."""

    business: business.Business
    language: str = "en"  # of the findings that stop it


@operation("apply", Apply)
async def apply(context: Context, arguments: Apply) -> Result:
    """Makes the business what the file says, all or nothing. Raises RejectedInput when a flow has an error."""
    app = context.app
    known = await app.database.read(lambda c: flow_publishing.setting(c, context.workspace_id))
    await asyncio.to_thread(_prove, arguments, known, context.workspace_id)
    done = await app.database.write(
        lambda connection: business.apply(
            connection,
            arguments.business,
            workspace_id=context.workspace_id,
            default_mode="webhook" if app.settings.public_url else "polling",
            sealer=app.sealer,
            new_id=context.new_id,
            now=context.now,
        )
    )
    return {
        "changed": bool(done.changes),
        "changes": done.changes,
        "channels": {name: ids.to_text("channel", number) for name, number in done.channels.items()},
    }


def _prove(arguments: Apply, known: flow_publishing.Setting, workspace_id: int) -> None:
    """The file's flows as they would run: with its purposes and places, beside one another and what is published."""
    shop = arguments.business
    stored = msgspec.json.encode(shop.stored).decode()
    view = flow_store.read_business(workspace_id, shop.name, shop.locale, shop.timezone, stored).view
    compiled = [compiler.compile(document.load(one.source, one.name), 0) for one in shop.flows]
    library = {**known.library, **{flow.key: flow for flow in compiled}}
    for spec, flow in zip(shop.flows, compiled, strict=True):
        found = inspection.check(flow, library, business=view, beside=library)
        faults = [one.sentence(arguments.language) for one in found if one.severity == "error"]
        if faults:
            raise RejectedInput("; ".join(faults), where=spec.name)
