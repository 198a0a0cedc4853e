"""Contacts: erase."""

from __future__ import annotations

import msgspec

from bot import privacy_jobs
from config.operations import Context, Result, operation
from crm import privacy
from crm.contacts import get
from domain import ids

assert privacy_jobs.__all__  # its import registers what the conversation runtime has to erase


class Erase(msgspec.Struct, forbid_unknown_fields=True):
    """A contact by id."""

    contact: str


@operation("contact.erase", Erase)
async def erase(context: Context, arguments: Erase) -> Result:
    """Deletes a person unit by unit, as `/forget` does; what remains is the proof that it was done."""
    contact_id = ids.from_text("contact", arguments.contact, where="contact")
    app, workspace_id = context.app, context.workspace_id
    await app.database.read(lambda c: get(c, workspace_id=workspace_id, contact_id=contact_id))
    cursor, units = "", len(privacy.erasers()) + 2
    for done in range(10_000):  # of a thousand rows each: nobody wrote more
        step = await app.database.write(
            lambda c, cursor=cursor: privacy.erase_unit(  # type: ignore[misc]
                c,
                workspace_id=workspace_id,
                contact_id=contact_id,
                cursor=cursor,
                actor="command",
                new_id=context.new_id,
                now=context.now,
            )
        )
        if isinstance(step, privacy.Receipt):
            return {"contact": step.contact, "at": step.at, "erased": list(step.erased)}
        cursor = step
        context.progress(min(done + 1, units), units, "units")
    raise RuntimeError("an eraser does not come to an end")
