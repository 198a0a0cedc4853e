"""How people get through a flow."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from bot import flow_history, passages
from bot.passages import MAX_DAYS
from config.operations import Context, Result, operation
from domain.errors import RejectedInput


class Steps(msgspec.Struct, forbid_unknown_fields=True):
    """`flow`: its key; `number`: the version, 0 for the published one; `days`: today and so many before it."""

    flow: str
    number: int = 0
    days: int = 30


@operation("flow.steps", Steps)
async def steps(context: Context, arguments: Steps) -> Result:
    """The counts of a version, steps in the order in which most people entered them."""
    if not 1 <= arguments.days <= MAX_DAYS:
        raise RejectedInput(f"must be 1 to {MAX_DAYS}", where="days")

    def read(connection: Connection) -> Result:
        flow = flow_history.by_key(connection, context.workspace_id, arguments.flow)
        number, found = passages.of_version(
            connection,
            context.workspace_id,
            flow,
            arguments.number,
            days=arguments.days,
            now=context.now,
        )
        return {
            "flow": arguments.flow,
            "version": number,
            "starts": found.starts,
            "ends": found.ends,
            "steps": [msgspec.to_builtins(one) for one in found.steps],
        }

    return await context.app.database.read(read)
