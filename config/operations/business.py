"""Apply a business file that the command has read."""

from __future__ import annotations

import msgspec

from config import business
from config.operations import Context, Result, operation
from domain import ids


class Apply(msgspec.Struct, forbid_unknown_fields=True):
    """What `config.business.read` made of the file."""

    business: business.Business


@operation("apply", Apply)
async def apply(context: Context, arguments: Apply) -> Result:
    """Makes the business what the file says, all or nothing."""
    app = context.app
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
