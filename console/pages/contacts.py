"""Contacts: the list, and one person with tags, what happened, and the proof of each consent."""

from __future__ import annotations

from sqlalchemy import Connection

from bot import connecting, occasions, threads
from console.routing import CONVERSE, Answer, Goto, Rendered, Visit, page
from crm import consent_views, contacts, proof
from domain.effects import PatchContact
from domain.ids import to_text

LINES = 100  # of the timeline
MAX_SEARCH = 200


@page("GET", "/contacts")
async def contact_list(visit: Visit) -> Answer:
    """A page of contacts, or those that a search finds."""
    after, search = visit.number("after"), visit.query.get("search", "").strip()[:MAX_SEARCH]
    found = await visit.read(
        lambda c: contacts.list_contacts(
            c, workspace_id=visit.workspace_id, after=after, search=search, limit=50
        )
    )
    return Rendered("contacts/list.html", {"contacts": found.contacts, "next": found.next, "search": search})


@page("GET", "/contacts/{contact_id}")
async def contact(visit: Visit) -> Answer:
    """One person."""
    workspace_id, contact_id = visit.workspace_id, visit.ids["contact"]

    def look(connection: Connection) -> Rendered:
        view = contacts.get(connection, workspace_id=workspace_id, contact_id=contact_id)
        agreed = consent_views.consents(connection, workspace_id, contact_id)
        proofs = {
            (one.identity_id, one.purpose): proof.sheet(
                connection, workspace_id=workspace_id, identity_id=one.identity_id, purpose=one.purpose
            )
            for one in agreed
        }
        return Rendered(
            "contacts/contact.html",
            {
                "contact": view,
                "tags": sorted(view.tags),
                "consents": [(one, proofs[one.identity_id, one.purpose]) for one in agreed],
                "channels": {one.id: one.name for one in connecting.channels(connection, workspace_id)},
                "conversations": threads.conversations(connection, workspace_id, contact_id=contact_id),
                "timeline": contacts.timeline(
                    connection, workspace_id=workspace_id, contact_id=contact_id, limit=LINES
                ),
            },
        )

    return await visit.read(look)


async def _again(visit: Visit, problem: str) -> Answer:
    return await contact(visit)


@page("POST", "/contacts/{contact_id}/tags", needs=CONVERSE, again=_again)
async def change_tags(visit: Visit) -> Answer:
    """Adds or removes a tag."""
    contact_id = visit.ids["contact"]
    patch = PatchContact(
        step_id="console",
        add_tags=tuple(filter(None, [visit.form.get("add", "").strip()])),
        remove_tags=tuple(filter(None, [visit.form.get("remove", "").strip()])),
    )
    await visit.write(
        lambda c: occasions.change_contact(
            c,
            visit.live.flows,
            workspace_id=visit.workspace_id,
            contact_id=contact_id,
            patch=patch,
            sealer=visit.runtime.sealer,
            new_id=visit.runtime.new_id,
            now=visit.now(),
        ),
        action="contact_changed",
        target=str(contact_id),
    )
    visit.runtime.signals.notify("intake")
    return Goto(f"/contacts/{to_text('contact', contact_id)}", "saved")
