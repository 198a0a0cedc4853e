"""`/campaigns`: drafts, their dry run, and the runs that reach each person at most once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from pydantic import Field
from sqlalchemy import Connection

from api import contents
from api.models import (
    CampaignId,
    ChannelId,
    ContactId,
    IdentityId,
    Input,
    MessageId,
    Output,
    Page,
    PageQuery,
    RunId,
    Time,
    numeric_cursor,
    page_of,
)
from api.routing import Call, route
from campaigns import drafts, previews, reports, runs
from campaigns.reports import CampaignView
from crm.accounts import audit
from domain.errors import NotFound

OutcomeName = Literal["pending", "queued", "sent", "failed", "skipped", "unknown"]


class Campaign(Output):
    """A campaign. `state`: draft | scheduled | running | paused | finished | cancelled."""

    id: CampaignId
    channel_id: ChannelId
    name: str
    state: str
    state_reason: str
    purpose: str
    audience: dict[str, Any]
    content: dict[str, Any]
    default_language: str
    scheduled_at: int | None
    rate: int | None
    run_id: RunId | None
    version: int
    created_at: int
    updated_at: int


class DraftBody(Input):
    """What is said to whom. `content`: a text or a content for each language; `audience`: a predicate; `rate`: messages
    per second at most."""

    name: str = Field(min_length=1, max_length=drafts.MAX_NAME)
    channel_id: ChannelId
    content: dict[str, Any]
    audience: dict[str, Any] = Field(default_factory=lambda: {"all": []})
    purpose: str = Field("marketing", min_length=1, max_length=100)
    default_language: str = Field("", max_length=20)
    rate: int | None = Field(None, ge=1, le=drafts.MAX_RATE)


class StartBody(Input):
    """When. Without `at` now."""

    at: Time | None = None


class Preview(Output):
    """The dry run: what would happen to everybody now, by reason."""

    campaign_id: CampaignId
    complete: bool
    contacts: int
    in_audience: int
    reachable: int
    consented: int
    allowed: int
    excluded: dict[str, int]
    denied: dict[str, int]
    later: dict[str, int]
    not_composed: dict[str, int]
    languages: dict[str, int]
    seconds: int | None


class Progress(Output):
    """Where the run stands: total = pending + sent + failed + skipped + unknown, always."""

    campaign_id: CampaignId
    run_id: RunId
    state: str
    state_reason: str
    complete: bool
    total: int
    pending: int
    sent: int
    failed: int
    skipped: int
    unknown: int
    delivered: int
    read: int
    reasons: dict[str, dict[str, int]]
    per_second: float | None
    eta_s: int | None
    started_at: int
    finished_at: int | None


class Recipient(Output):
    """One person of the run."""

    contact_id: ContactId
    identity_id: IdentityId
    state: str
    receipt: str
    reason: str
    message_id: MessageId | None
    changed_at: int


class RecipientQuery(PageQuery):
    """Which people of the run."""

    state: OutcomeName | None = None


@route("GET", "/campaigns", scope="campaigns:read", query=PageQuery, out=Page[Campaign])
async def list_campaigns(call: Call[None, PageQuery]) -> Page[Campaign]:
    """Campaigns, the newest first."""
    query, before = call.query, numeric_cursor(call.query.after)
    found = await call.read(
        lambda c: reports.campaigns(c, call.workspace_id, before=before, limit=query.limit + 1)
    )
    page = page_of(found, query.limit, lambda one: one.id)
    return Page[Campaign](data=[_shown(one) for one in page.data], next=page.next)


@route("GET", "/campaigns/{campaign_id}", scope="campaigns:read", out=Campaign)
async def get_campaign(call: Call[None, None]) -> Campaign:
    """One campaign."""
    return _shown(await call.read(lambda c: reports.campaign(c, call.workspace_id, call.ids["campaign"])))


@route("POST", "/campaigns", scope="campaigns:write", body=DraftBody, out=Campaign, status=201)
async def create_campaign(call: Call[DraftBody, None]) -> Campaign:
    """Makes a draft."""

    def work(connection: Connection) -> Campaign:
        campaign_id = drafts.create(
            connection,
            call.workspace_id,
            _draft(connection, call),
            new_id=call.runtime.new_id,
            now=call.now(),
        )
        return _shown(reports.campaign(connection, call.workspace_id, campaign_id))

    return await call.write(work)


@route("PUT", "/campaigns/{campaign_id}", scope="campaigns:write", body=DraftBody, out=Campaign)
async def change_campaign(call: Call[DraftBody, None]) -> Campaign:
    """Replaces a draft."""

    def work(connection: Connection) -> Campaign:
        campaign_id = call.ids["campaign"]
        drafts.get(connection, call.workspace_id, campaign_id)  # 404 before what is wrong with the draft
        drafts.change(connection, call.workspace_id, campaign_id, _draft(connection, call), now=call.now())
        return _shown(reports.campaign(connection, call.workspace_id, campaign_id))

    return await call.write(work)


@route("GET", "/campaigns/{campaign_id}/preview", scope="campaigns:read", out=Preview)
async def preview_campaign(call: Call[None, None]) -> Preview:
    """The dry run, over the whole base."""
    found = await previews.preview(
        call.runtime.database, call.workspace_id, call.ids["campaign"], now=call.now()
    )
    values = msgspec.to_builtins(found)
    return Preview(**{name: values[name] for name in Preview.model_fields})


@route("POST", "/campaigns/{campaign_id}/start", scope="campaigns:write", body=StartBody, out=Campaign)
async def start_campaign(call: Call[StartBody, None]) -> Campaign:
    """Starts it, now or at a time."""
    at = call.body.at

    def act(connection: Connection, campaign_id: int) -> None:
        if at is not None and at > call.now():
            runs.schedule(connection, call.workspace_id, campaign_id, at=at, now=call.now())
        else:
            runs.start(connection, call.workspace_id, campaign_id, new_id=call.runtime.new_id, now=call.now())

    return await _acted(call, "campaign_started", act)


@route("POST", "/campaigns/{campaign_id}/pause", scope="campaigns:write", out=Campaign)
async def pause_campaign(call: Call[None, None]) -> Campaign:
    """Nothing more of it leaves until it is resumed."""
    return await _acted(
        call, "campaign_paused", lambda c, one: runs.pause(c, call.workspace_id, one, now=call.now())
    )


@route("POST", "/campaigns/{campaign_id}/resume", scope="campaigns:write", out=Campaign)
async def resume_campaign(call: Call[None, None]) -> Campaign:
    """Goes on where it was paused."""
    return await _acted(
        call, "campaign_resumed", lambda c, one: runs.resume(c, call.workspace_id, one, now=call.now())
    )


@route("POST", "/campaigns/{campaign_id}/cancel", scope="campaigns:write", out=Campaign)
async def cancel_campaign(call: Call[None, None]) -> Campaign:
    """Ends it; whoever was not written to is skipped."""
    return await _acted(
        call,
        "campaign_cancelled",
        lambda c, one: runs.cancel(c, call.workspace_id, one, new_id=call.runtime.new_id, now=call.now()),
    )


@route("GET", "/campaigns/{campaign_id}/status", scope="campaigns:read", out=Progress)
async def campaign_status(call: Call[None, None]) -> Progress:
    """Where the run stands, exact at this moment."""
    found = await call.read(
        lambda c: reports.progress(c, call.workspace_id, call.ids["campaign"], now=call.now())
    )
    if found is None:
        raise NotFound("this campaign has not been started")
    return Progress(**msgspec.to_builtins(found))


@route(
    "GET",
    "/campaigns/{campaign_id}/recipients",
    scope="campaigns:read",
    query=RecipientQuery,
    out=Page[Recipient],
)
async def campaign_recipients(call: Call[None, RecipientQuery]) -> Page[Recipient]:
    """The people of the run, of all or of one outcome."""
    query, after = call.query, numeric_cursor(call.query.after)

    def work(connection: Connection) -> Page[Recipient]:
        campaign = reports.campaign(connection, call.workspace_id, call.ids["campaign"])
        if not campaign.run_id:
            return Page[Recipient](data=[])
        found = reports.recipients(
            connection,
            call.workspace_id,
            campaign.run_id,
            state=query.state or "",
            after=after,
            limit=query.limit + 1,
        )
        page = page_of(found, query.limit, lambda one: one.contact_id)
        return Page[Recipient](data=[_recipient(one) for one in page.data], next=page.next)

    return await call.read(work)


async def _acted(call: Call[Any, None], action: str, act: Callable[[Connection, int], object]) -> Campaign:
    campaign_id = call.ids["campaign"]

    def work(connection: Connection) -> Campaign:
        act(connection, campaign_id)
        audit(
            connection,
            workspace_id=call.workspace_id,
            actor=call.actor,
            action=action,
            target=str(campaign_id),
            new_id=call.runtime.new_id,
            now=call.now(),
        )
        return _shown(reports.campaign(connection, call.workspace_id, campaign_id))

    acted = await call.write(work)
    call.runtime.signals.notify("outbox")
    return acted


def _draft(connection: Connection, call: Call[DraftBody, None]) -> drafts.Draft:
    body = call.body
    return drafts.Draft(
        name=body.name,
        channel_id=body.channel_id,
        content=contents.taken(connection, call.workspace_id, body.content),
        audience=body.audience,
        purpose=body.purpose,
        default_language=body.default_language,
        rate=body.rate,
    )


def _shown(one: CampaignView) -> Campaign:
    values = {name: getattr(one, name) for name in Campaign.model_fields}
    return Campaign(**{**values, "content": contents.shown(one.content), "run_id": one.run_id or None})


def _recipient(one: reports.RecipientLine) -> Recipient:
    values = {name: getattr(one, name) for name in Recipient.model_fields}
    return Recipient(**{**values, "message_id": one.message_id or None})
