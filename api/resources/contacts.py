"""`/contacts`: people, their fields and tags, what happened with them, and the proof of what they agreed to."""

from __future__ import annotations

from typing import Any

import msgspec
from pydantic import Field
from sqlalchemy import Connection, text

from api import bodies
from api.models import (
    ChannelId,
    ConsentId,
    ContactId,
    IdentityId,
    Input,
    JobId,
    Output,
    Page,
    PageQuery,
    Query,
    numeric_cursor,
    page_of,
)
from api.problems import Refused
from api.routing import Call, route
from bot import occasions
from crm import consent_views, contacts, proof
from crm.accounts import audit
from crm.segments import members
from domain import predicates
from domain.contacts import ContactView
from domain.effects import PatchContact
from domain.errors import NotFound, RejectedInput
from domain.events import storable
from domain.predicates import All, Predicate, Test
from storage import jobs

FieldValue = str | int | float | bool | list[str] | None
MAX_FILTER = 8_000  # characters: what a query string carries safely


class Identity(Output):
    """An address on a channel; the address itself is not shown."""

    id: IdentityId
    channel_id: ChannelId
    kind: str
    username: str | None
    state: str


class Contact(Output):
    """A person. `consents`: purpose → state, of each the one that changed last."""

    id: ContactId
    name: str
    first_name: str
    last_name: str
    email: str | None
    phone: str | None
    language: str | None
    timezone: str | None
    fields: dict[str, Any]
    tags: list[str]
    consents: dict[str, str]
    identities: list[Identity]
    created_at: int


class ContactQuery(PageQuery):
    """Which contacts. `search`: a part of name, e-mail or phone; `filter`: a predicate as JSON."""

    search: str | None = Field(None, min_length=1, max_length=200)
    tag: str | None = Field(None, min_length=1, max_length=contacts.MAX_TAG)
    filter: str | None = Field(None, max_length=MAX_FILTER, description="a predicate as JSON text")


class NewContact(Input):
    """A person to add; what is left out stays empty."""

    name: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    phone: str | None = None
    language: str | None = None
    timezone: str | None = None
    fields: dict[str, FieldValue] = Field(default_factory=dict)
    tags: list[str] = Field(default_factory=list)


class ContactChange(Input):
    """What changes: members that are left out stay, null empties. `increment` adds to numbers in fields."""

    name: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    phone: str | None = None
    language: str | None = None
    timezone: str | None = None
    fields: dict[str, FieldValue] = Field(default_factory=dict)
    increment: dict[str, float] = Field(default_factory=dict)
    add_tags: list[str] = Field(default_factory=list)
    remove_tags: list[str] = Field(default_factory=list)


class TimelineLine(Output):
    """Something that happened with a contact."""

    kind: str
    data: dict[str, Any]
    at: int


class Consent(Output):
    """One identity's consent for one purpose; `mailable`: it counts now."""

    identity_id: IdentityId
    channel_id: ChannelId
    purpose: str
    state: str
    mailable: bool
    changed_at: int


class Proof(Output):
    """The proof sheet: the ledger's rows as they were written. `intact`: the chain of hashes verifies."""

    identity_id: IdentityId
    purpose: str
    state: str
    mailable: bool
    consent_id: ConsentId | None
    intact: bool
    entries: list[dict[str, Any]]


class ProofQuery(Query):
    """Whose consent, and for what."""

    identity_id: IdentityId
    purpose: str = Field(min_length=1, max_length=100)


class Erasure(Output):
    """The job that erases a contact; see `/jobs`."""

    job_id: JobId


@route("GET", "/contacts", scope="contacts:read", query=ContactQuery, out=Page[Contact])
async def list_contacts(call: Call[None, ContactQuery]) -> Page[Contact]:
    """Contacts in the order in which they were made."""
    query = call.query
    wanted = _wanted(query)
    after = numeric_cursor(query.after)

    def work(connection: Connection) -> Page[Contact]:
        if wanted is None:
            page = contacts.list_contacts(
                connection,
                workspace_id=call.workspace_id,
                after=after,
                limit=query.limit,
                search=query.search or "",
            )
            following = None if page.next is None else str(page.next)
            return Page[Contact](data=[shown(one) for one in page.contacts], next=following)
        found = members(
            connection,
            workspace_id=call.workspace_id,
            predicate=wanted,
            now=call.now(),
            after=after,
            limit=query.limit + 1,
        )
        part = found[: query.limit]
        views = contacts.load_views(connection, [(call.workspace_id, one, 0) for one in part])
        return Page[Contact](
            data=[shown(views[(one, 0)]) for one in part],
            next=str(part[-1]) if len(found) > query.limit else None,
        )

    return await call.read(work)


@route("GET", "/contacts/{contact_id}", scope="contacts:read", out=Contact)
async def get_contact(call: Call[None, None]) -> Contact:
    """One contact."""
    found = await call.read(
        lambda c: contacts.get(c, workspace_id=call.workspace_id, contact_id=call.ids["contact"])
    )
    return shown(found)


@route("POST", "/contacts", scope="contacts:write", body=NewContact, out=Contact, status=201)
async def create_contact(call: Call[NewContact, None]) -> Contact:
    """Adds a contact without identities: they come when the person writes."""
    body = call.body
    patch = PatchContact(step_id="api", set=_set(body), add_tags=tuple(body.tags))

    def work(connection: Connection) -> Contact:
        contact_id = contacts.create(
            connection,
            workspace_id=call.workspace_id,
            patch=patch,
            new_id=call.runtime.new_id,
            now=call.now(),
            source=msgspec.json.encode({"api": call.key.id}).decode(),
        )
        return shown(contacts.get(connection, workspace_id=call.workspace_id, contact_id=contact_id))

    return await call.write(work)


@route("PATCH", "/contacts/{contact_id}", scope="contacts:write", body=ContactChange, out=Contact)
async def change_contact(call: Call[ContactChange, None]) -> Contact:
    """Changes fields and tags; changes of others to other members stay."""
    body = call.body
    patch = PatchContact(
        step_id="api",
        set=_set(body),
        increment={f"fields.{key}": amount for key, amount in body.increment.items()},
        add_tags=tuple(body.add_tags),
        remove_tags=tuple(body.remove_tags),
    )
    changed = await call.write(
        lambda c: shown(
            occasions.change_contact(
                c,
                call.live.flows,
                workspace_id=call.workspace_id,
                contact_id=call.ids["contact"],
                patch=patch,
                sealer=call.runtime.sealer,
                new_id=call.runtime.new_id,
                now=call.now(),
            )
        )
    )
    call.runtime.signals.notify("intake")
    return changed


@route("DELETE", "/contacts/{contact_id}", scope="contacts:write", out=Erasure, status=202)
async def erase_contact(call: Call[None, None]) -> Erasure:
    """Erases a person everywhere, by a job; what remains is the proof without anything personal."""
    contact_id = call.ids["contact"]

    def work(connection: Connection) -> Erasure:
        contacts.get(connection, workspace_id=call.workspace_id, contact_id=contact_id)
        key = f"contact:{contact_id}"
        jobs.add(
            connection,
            workspace_id=call.workspace_id,
            kind="erasure",
            key=key,
            payload={"contact_id": contact_id, "by": call.actor},
            due_at=call.now(),
            sealer=call.runtime.sealer,
            new_id=call.runtime.new_id,
            now=call.now(),
        )
        audit(
            connection,
            workspace_id=call.workspace_id,
            actor=call.actor,
            action="erasure_asked",
            target=str(contact_id),
            new_id=call.runtime.new_id,
            now=call.now(),
        )
        job_id = connection.execute(
            text("SELECT id FROM job WHERE workspace_id = :workspace AND kind = 'erasure' AND key = :key"),
            {"workspace": call.workspace_id, "key": key},
        ).scalar_one()
        return Erasure(job_id=job_id)

    return await call.write(work)


@route(
    "GET", "/contacts/{contact_id}/timeline", scope="contacts:read", query=PageQuery, out=Page[TimelineLine]
)
async def contact_timeline(call: Call[None, PageQuery]) -> Page[TimelineLine]:
    """What happened with a contact, the newest first."""
    query = call.query
    before = numeric_cursor(query.after) or None

    def work(connection: Connection) -> Page[TimelineLine]:
        contacts.get(connection, workspace_id=call.workspace_id, contact_id=call.ids["contact"])
        lines = contacts.timeline(
            connection,
            workspace_id=call.workspace_id,
            contact_id=call.ids["contact"],
            before=before,
            limit=query.limit + 1,
        )
        page = page_of(lines, query.limit, lambda line: line["id"])
        shown_lines = [TimelineLine(kind=one["kind"], data=one["data"], at=one["at"]) for one in page.data]
        return Page[TimelineLine](data=shown_lines, next=page.next)

    return await call.read(work)


@route("GET", "/contacts/{contact_id}/consents", scope="contacts:read", out=Page[Consent])
async def contact_consents(call: Call[None, None]) -> Page[Consent]:
    """What a contact has agreed to, by identity and purpose."""

    def work(connection: Connection) -> Page[Consent]:
        contacts.get(connection, workspace_id=call.workspace_id, contact_id=call.ids["contact"])
        found = consent_views.consents(connection, call.workspace_id, call.ids["contact"])
        return Page[Consent](
            data=[
                Consent(
                    identity_id=one.identity_id,
                    channel_id=one.channel_id,
                    purpose=one.purpose,
                    state=one.state,
                    mailable=one.mailable,
                    changed_at=one.changed_at,
                )
                for one in found
            ]
        )

    return await call.read(work)


@route("GET", "/contacts/{contact_id}/proof", scope="contacts:read", query=ProofQuery, out=Proof)
async def contact_proof(call: Call[None, ProofQuery]) -> Proof:
    """The proof of a consent: wording, when, how, the person's own words."""
    query = call.query

    def work(connection: Connection) -> Proof:
        view = contacts.get(connection, workspace_id=call.workspace_id, contact_id=call.ids["contact"])
        if query.identity_id not in {one["id"] for one in view.identities}:
            raise NotFound("this contact has no such identity")
        sheet = proof.sheet(
            connection, workspace_id=call.workspace_id, identity_id=query.identity_id, purpose=query.purpose
        )
        return Proof(
            identity_id=sheet.identity_id,
            purpose=sheet.purpose,
            state=sheet.state.state,
            mailable=sheet.state.mailable,
            consent_id=sheet.state.consent_id or None,
            intact=sheet.intact,
            entries=[_entry(row) for row in sheet.entries],
        )

    return await call.read(work)


_ENTRY = (
    "purpose",
    "action",
    "wording",
    "wording_version",
    "language",
    "double_opt_in",
    "source",
    "evidence",
    "occurred_at",
    "recorded_at",
    "previous_hash",
    "hash",
)


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _ENTRY}


def shown(view: ContactView) -> Contact:
    """A contact for outside."""
    return Contact(
        id=view.id,
        name=view.name,
        first_name=view.first_name,
        last_name=view.last_name,
        email=view.email,
        phone=view.phone,
        language=view.language,
        timezone=view.timezone,
        fields=view.fields,
        tags=sorted(view.tags),
        consents=view.consents,
        identities=[Identity(**one) for one in view.identities],
        created_at=view.created_at,
    )


def _set(body: NewContact | ContactChange) -> dict[str, Any]:
    given = body.model_fields_set
    columns = {name: getattr(body, name) for name in contacts.TEXT_COLUMNS if name in given}
    return columns | {f"fields.{key}": value for key, value in body.fields.items()}


def _wanted(query: ContactQuery) -> Predicate | None:
    """The predicate of a query's tag and filter, or None."""
    parts: list[Predicate] = []
    if query.tag is not None:
        parts.append(Test("contact.tags", "has_tag", storable(query.tag)))
    if query.filter is not None:
        parts.append(predicates.parse(_json(query.filter), where="filter"))
    if parts and query.search is not None:
        raise RejectedInput("search stands alone: use it without tag and filter", where="search")
    return All(tuple(parts)) if parts else None


def _json(given: str) -> Any:
    try:
        data = msgspec.json.decode(given)
        bodies.check(data, "filter")
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        raise Refused(400, "must be JSON", where="filter") from None
    return data
