"""Campaigns: the list, a small draft, its dry run, the send button, and the run as it goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Connection

from bot import connecting
from campaigns import drafts, previews, reports, runs
from campaigns.reports import CampaignView
from console.routing import SEND, Answer, Goto, Rendered, Visit, page
from console.texts import LANGUAGES
from domain import predicates
from domain.errors import RejectedInput
from domain.ids import from_text, to_text

PAGE = 50
OUTCOMES = ("sent", "pending", "failed", "skipped", "unknown")


@page("GET", "/campaigns")
async def campaign_list(visit: Visit) -> Answer:
    """The newest campaigns, and a form for a new one."""
    before = visit.number("before")

    def look(connection: Connection) -> Rendered:
        found = reports.campaigns(connection, visit.workspace_id, before=before, limit=PAGE + 1)
        channels = connecting.channels(connection, visit.workspace_id)
        return Rendered(
            "campaigns/list.html",
            {
                "campaigns": found[:PAGE],
                "next": found[PAGE - 1].id if len(found) > PAGE else None,
                "channels": channels,
                "names": {one.id: one.name for one in channels},
                "form": dict(visit.form),
            },
        )

    return await visit.read(look)


async def _list_again(visit: Visit, problem: str) -> Answer:
    return await campaign_list(visit)


@page("POST", "/campaigns", needs=SEND, again=_list_again)
async def create_campaign(visit: Visit) -> Answer:
    """Saves a draft for everybody who has consented, or for those with a tag."""
    form = visit.form
    language = form.get("language", "")
    if language not in LANGUAGES:
        raise RejectedInput(f"must be one of {', '.join(LANGUAGES)}", where="language")
    tag = form.get("tag", "").strip()
    draft = drafts.Draft(
        name=form.get("name", ""),
        channel_id=from_text("channel", form.get("channel", ""), where="channel"),
        content={language: {"kind": "text", "text": form.get("text", "")}},
        audience={"subject": "contact.tags", "op": "has_tag", "value": tag} if tag else {"all": []},
    )
    campaign_id = await visit.write(
        lambda c: drafts.create(c, visit.workspace_id, draft, new_id=visit.runtime.new_id, now=visit.now()),
        action="campaign_created",
        target=draft.name,
    )
    return Goto(_path(campaign_id), "saved")


@page("GET", "/campaigns/{campaign_id}")
async def campaign(visit: Visit) -> Answer:
    """One campaign: its dry run before the start, its run after."""
    campaign_id = visit.ids["campaign"]

    def look(connection: Connection) -> tuple[CampaignView, reports.Progress | None, str]:
        view = reports.campaign(connection, visit.workspace_id, campaign_id)
        progress = reports.progress(connection, visit.workspace_id, campaign_id, now=visit.now())
        return view, progress, connecting.channel(connection, visit.workspace_id, view.channel_id).name

    view, progress, channel = await visit.read(look)
    preview = None
    if view.state in ("draft", "scheduled"):
        preview = await previews.preview(
            visit.runtime.database, visit.workspace_id, campaign_id, now=visit.now()
        )
    return Rendered(
        "campaigns/campaign.html",
        {
            "campaign": view,
            "channel": channel,
            "audience": _sentence(view.audience, visit.words.language),
            "preview": preview,
            "steps": _steps(preview) if preview else (),
            "left_out": _left_out(preview) if preview else (),
            "progress": progress,
            "outcomes": OUTCOMES,
        },
    )


async def _again(visit: Visit, problem: str) -> Answer:
    return await campaign(visit)


@page("POST", "/campaigns/{campaign_id}/start", needs=SEND, again=_again)
async def start(visit: Visit) -> Answer:
    """Sends it."""
    return await _act(
        visit,
        "started",
        lambda c, one: runs.start(c, visit.workspace_id, one, new_id=visit.runtime.new_id, now=visit.now()),
    )


@page("POST", "/campaigns/{campaign_id}/pause", needs=SEND, again=_again)
async def pause(visit: Visit) -> Answer:
    """Nothing more of it leaves."""
    return await _act(visit, "paused", lambda c, one: runs.pause(c, visit.workspace_id, one, now=visit.now()))


@page("POST", "/campaigns/{campaign_id}/resume", needs=SEND, again=_again)
async def resume(visit: Visit) -> Answer:
    """It goes on."""
    return await _act(
        visit, "resumed", lambda c, one: runs.resume(c, visit.workspace_id, one, now=visit.now())
    )


@page("POST", "/campaigns/{campaign_id}/cancel", needs=SEND, again=_again)
async def cancel(visit: Visit) -> Answer:
    """It ends."""
    return await _act(
        visit,
        "cancelled",
        lambda c, one: runs.cancel(c, visit.workspace_id, one, new_id=visit.runtime.new_id, now=visit.now()),
    )


async def _act(visit: Visit, done: str, act: Callable[[Connection, int], object]) -> Answer:
    campaign_id = visit.ids["campaign"]
    await visit.write(lambda c: act(c, campaign_id), action=f"campaign_{done}", target=str(campaign_id))
    visit.runtime.signals.notify("outbox")
    return Goto(_path(campaign_id), done)


def _path(campaign_id: int) -> str:
    return f"/campaigns/{to_text('campaign', campaign_id)}"


def _sentence(audience: dict[str, Any], language: str) -> str:
    """How the audience reads; "" for everybody."""
    predicate = predicates.parse(audience)
    return "" if predicate == predicates.All(()) else predicates.sentence(predicate, language)


def _steps(preview: previews.Preview) -> list[tuple[str, int]]:
    return [
        (name, getattr(preview, name))
        for name in ("contacts", "in_audience", "reachable", "consented", "allowed")
    ]


def _left_out(preview: previews.Preview) -> list[tuple[str, int]]:
    """Reasons with their numbers, the most first."""
    values = msgspec.to_builtins(preview)
    counts: dict[str, int] = {}
    for group in ("excluded", "denied", "later", "not_composed"):
        for reason, people in values[group].items():
            counts[reason] = counts.get(reason, 0) + people
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
