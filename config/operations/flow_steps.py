"""How people get through a flow."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, text

from bot import step_counts
from bot.step_counts import DAY_MS
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
    if not 1 <= arguments.days <= 366:
        raise RejectedInput("must be 1 to 366", where="days")

    def read(connection: Connection) -> Result:
        version = connection.execute(
            text(
                "SELECT v.id, v.number FROM flow f JOIN flow_version v ON v.flow_id = f.id "
                "AND v.workspace_id = f.workspace_id WHERE f.workspace_id = :workspace AND f.key = :key "
                "AND (v.number = :number OR (:number = 0 AND v.id = f.current_version_id))"
            ),
            {"workspace": context.workspace_id, "key": arguments.flow, "number": arguments.number},
        ).one_or_none()
        if version is None:
            raise RejectedInput("there is no such flow, or no such version of it", where=arguments.flow)
        today = context.now // DAY_MS
        found = step_counts.passage(
            connection,
            context.workspace_id,
            version.id,
            first_day=today - arguments.days + 1,
            last_day=today,
        )
        return {
            "flow": arguments.flow,
            "version": version.number,
            "starts": found.starts,
            "ends": found.ends,
            "steps": [msgspec.to_builtins(one) for one in found.steps],
        }

    return await context.app.database.read(read)
