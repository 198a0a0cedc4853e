"""What people see of campaigns: plain values for the API, the console and the command, read from the rows (I8)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, text

from campaigns.drafts import get
from campaigns.states import OUTCOMES, RecipientState
from campaigns.totals import current, done
from domain.errors import RejectedInput

PAGE_LIMIT = 500


class CampaignView(Struct, kw_only=True):
    """A campaign. `content` maps a language to a content's JSON form; times are ms UTC."""

    id: int
    channel_id: int
    name: str
    state: str
    state_reason: str
    purpose: str
    audience: dict[str, Any]
    content: dict[str, Any]
    default_language: str
    scheduled_at: int | None
    rate: int | None
    run_id: int
    version: int
    created_at: int
    updated_at: int


class Progress(Struct, kw_only=True):
    """Where a run stands. `total` is always pending + sent + failed + skipped + unknown; `delivered` and `read` are a
    second axis. `complete`: every contact was looked at, so the total does not grow any more.

    `per_second`: people done in the last minute, None while it is not known or not running. `eta_s`: seconds to the
    end at that speed; quiet hours and waits of the platform come on top. `reasons`: {outcome: {reason: n}}.
    """

    campaign_id: int
    run_id: int
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


class RecipientLine(Struct, kw_only=True):
    """One person of a run. `state` as in `RecipientState`; `receipt`: "" | delivered | read."""

    contact_id: int
    identity_id: int
    state: str
    receipt: str
    reason: str
    message_id: int
    not_before: int
    changed_at: int


def campaign(connection: Connection, workspace_id: int, campaign_id: int) -> CampaignView:
    """One campaign. Raises NotFound."""
    return _view(get(connection, workspace_id, campaign_id))


def campaigns(
    connection: Connection, workspace_id: int, *, before: int = 0, limit: int = 50
) -> list[CampaignView]:
    """The newest campaigns, newest first; `before`: the id at which the last page ended (0: from the newest)."""
    rows = connection.execute(
        text(
            "SELECT id, channel_id, name, state, state_reason, purpose, audience, content, default_language, "
            "scheduled_at, rate, run_id, version, created_at, updated_at FROM campaign WHERE workspace_id = :workspace "
            "AND (CAST(:before AS BIGINT) = 0 OR id < :before) ORDER BY id DESC LIMIT :limit"
        ),
        {"workspace": workspace_id, "before": before, "limit": _limited(limit)},
    ).all()
    return [_view(row) for row in rows]


def progress(connection: Connection, workspace_id: int, campaign_id: int, *, now: int) -> Progress | None:
    """The campaign's run, exact at this moment; None before its start. Raises NotFound."""
    row = get(connection, workspace_id, campaign_id)
    if not row.run_id:
        return None
    run = connection.execute(
        text(
            "SELECT id, state, state_reason, materialised, samples, started_at, finished_at FROM campaign_run "
            "WHERE workspace_id = :workspace AND id = :run"
        ),
        {"workspace": workspace_id, "run": row.run_id},
    ).one()
    totals = current(connection, workspace_id, [run.id])[run.id]
    speed = (
        per_second(msgspec.json.decode(run.samples), done(totals), now) if run.state == "running" else None
    )
    return Progress(
        campaign_id=campaign_id,
        run_id=run.id,
        state=run.state,
        state_reason=run.state_reason,
        complete=bool(run.materialised),
        total=totals.get("total", 0),
        **{name: totals.get(name, 0) for name in (*OUTCOMES, "delivered", "read")},
        reasons=_reasons(totals),
        per_second=speed,
        eta_s=round(totals.get("pending", 0) / speed) if speed else None,
        started_at=run.started_at,
        finished_at=run.finished_at,
    )


def per_second(samples: list[list[int]], people: int, now: int) -> float | None:
    """The speed between the oldest sample of the last minute and now; None when there is too little to say."""
    if not samples or now - samples[0][0] < 1_000:
        return None
    return (people - samples[0][1]) / ((now - samples[0][0]) / 1000)


def recipients(
    connection: Connection,
    workspace_id: int,
    run_id: int,
    *,
    state: str = "",
    after: int = 0,
    limit: int = 100,
) -> list[RecipientLine]:
    """A page of a run's people by contact id, of all or of one state (failed, skipped and unknown have an index)."""
    if state and state not in RecipientState.__members__:
        raise RejectedInput(f"must be one of {', '.join(RecipientState.__members__)}", where="state")
    chosen = "AND state = :state " + ("AND state > 2 " if state in ("failed", "skipped", "unknown") else "")
    rows = connection.execute(
        text(
            "SELECT contact_id, identity_id, state, receipt, reason, message_id, not_before, changed_at FROM recipient "
            f"WHERE workspace_id = :workspace AND run_id = :run AND contact_id > :after {chosen if state else ''}"
            "ORDER BY contact_id LIMIT :limit"
        ),
        {
            "workspace": workspace_id,
            "run": run_id,
            "after": after,
            "limit": _limited(limit),
            **({"state": RecipientState[state].value} if state else {}),
        },
    ).all()
    return [
        RecipientLine(
            contact_id=row.contact_id,
            identity_id=row.identity_id,
            state=RecipientState(row.state).name,
            receipt=("", "delivered", "read")[row.receipt],
            reason=row.reason,
            message_id=row.message_id,
            not_before=row.not_before,
            changed_at=row.changed_at,
        )
        for row in rows
    ]


def _view(row: Any) -> CampaignView:
    values = {name: getattr(row, name) for name in CampaignView.__struct_fields__}
    return CampaignView(
        **{
            **values,
            "audience": msgspec.json.decode(row.audience),
            "content": msgspec.json.decode(row.content),
        }
    )


def _reasons(totals: dict[str, int]) -> dict[str, dict[str, int]]:
    groups: dict[str, dict[str, int]] = {}
    for name, people in sorted(totals.items(), key=lambda item: (-item[1], item[0])):
        outcome, colon, reason = name.partition(":")
        if colon:
            groups.setdefault(outcome, {})[reason] = people
    return groups


def _limited(limit: int) -> int:
    if not 1 <= limit <= PAGE_LIMIT:
        raise RejectedInput(f"must be 1 to {PAGE_LIMIT}", where="limit")
    return limit
