"""Runs of campaigns: started, paused, resumed, cancelled, finished; each a transaction that may be repeated.

`campaigns.states` holds which is possible when. What a person or the brake decides is true at once: pausing takes every
message back that is not being sent yet, in the same transaction, and the run's row is locked by those who feed it. A
run begins with nobody: the scheduler looks at the contacts slice by slice (`audiences`) and feeds the sender
(`recipients`) while it does. A campaign that was restored from a backup is paused and sends nothing by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Connection

from campaigns import brakes, recipients
from campaigns.drafts import check_sendable, locked
from campaigns.states import CampaignState, next_state
from campaigns.totals import current
from domain.errors import AppError, Conflict, RejectedInput
from storage.statements import prepared

MAX_AHEAD_MS = 366 * 86_400_000  # a campaign scheduled later than a year from now is a slip of the pen

_encode = msgspec.json.Encoder().encode


def schedule(connection: Connection, workspace_id: int, campaign_id: int, *, at: int, now: int) -> None:
    """Has a draft started at a time (ms UTC); a time that has passed starts it at the next tick. Raises NotFound,
    Conflict, RejectedInput."""
    campaign = locked(connection, workspace_id, campaign_id)
    state = next_state(campaign.state, "schedule")
    if at > now + MAX_AHEAD_MS:
        raise RejectedInput("at most a year from now", where="at")
    check_sendable(connection, campaign)
    _set_state(connection, campaign_id, state, "", now, scheduled_at=at)


def unschedule(
    connection: Connection, workspace_id: int, campaign_id: int, *, now: int, reason: str = ""
) -> None:
    """A scheduled campaign is a draft again."""
    campaign = locked(connection, workspace_id, campaign_id)
    _set_state(
        connection, campaign_id, next_state(campaign.state, "unschedule"), reason, now, scheduled_at=None
    )


def start(
    connection: Connection, workspace_id: int, campaign_id: int, *, new_id: Callable[[], int], now: int
) -> int:
    """Starts a draft or scheduled campaign; gives the run's id, also when it runs already. Raises NotFound, Conflict,
    RejectedInput when it cannot be sent as it stands."""
    campaign = locked(connection, workspace_id, campaign_id)
    state = next_state(campaign.state, "start")
    if campaign.state == state:
        return int(campaign.run_id)
    check_sendable(connection, campaign)
    run_id = new_id()
    connection.execute(
        prepared(
            "INSERT INTO campaign_run (id, workspace_id, campaign_id, channel_id, state, state_reason, materialised, "
            "cursor, ceiling, totals, baseline, samples, next_slot_at, started_at) VALUES (:run, :workspace, "
            ":campaign, :channel, "
            "'running', '', 0, 0, (SELECT COALESCE(max(id), 0) FROM contact WHERE workspace_id = :workspace), "
            "'{}', '{}', '[]', 0, :now)"
        ),
        {
            "run": run_id,
            "workspace": workspace_id,
            "campaign": campaign_id,
            "channel": campaign.channel_id,
            "now": now,
        },
    )
    connection.execute(
        prepared("UPDATE campaign SET run_id = :run WHERE id = :campaign"),
        {"run": run_id, "campaign": campaign_id},
    )
    _set_state(connection, campaign_id, state, "", now)
    return run_id


def pause(connection: Connection, workspace_id: int, campaign_id: int, *, now: int, reason: str = "") -> None:
    """Nothing more of it leaves, but for what is on the wire; `reason` is empty when a person paused it."""
    campaign = locked(connection, workspace_id, campaign_id)
    state = next_state(campaign.state, "pause")
    if campaign.state == state:
        return
    _set_run_state(connection, campaign.run_id, state, reason)
    _set_state(connection, campaign_id, state, reason, now)
    take_back_all(connection, campaign.run_id, now=now)


def resume(connection: Connection, workspace_id: int, campaign_id: int, *, now: int) -> None:
    """Goes on where it was paused; the brake forgets what was before. Raises Conflict while the channel or a stop
    button forbids it."""
    campaign = locked(connection, workspace_id, campaign_id)
    state = next_state(campaign.state, "resume")
    if campaign.state == state:
        return
    check_sendable(connection, campaign)
    if _stops(connection).get(campaign.run_id):
        raise Conflict("the stop button is pressed here: let go of it first")
    totals = current(connection, workspace_id, [campaign.run_id])[campaign.run_id]
    _set_run_state(connection, campaign.run_id, state, "")
    connection.execute(
        prepared("UPDATE campaign_run SET baseline = :baseline, samples = '[]' WHERE id = :run"),
        {"baseline": _encode(totals).decode(), "run": campaign.run_id},
    )
    _set_state(connection, campaign_id, state, "", now)


def cancel(
    connection: Connection, workspace_id: int, campaign_id: int, *, new_id: Callable[[], int], now: int
) -> None:
    """Ends it: whoever was not written to is skipped, a thousand at a time by the scheduler; what is on the wire
    arrives and is counted."""
    campaign = locked(connection, workspace_id, campaign_id)
    state = next_state(campaign.state, "cancel")
    if campaign.state == state:
        return
    _set_state(connection, campaign_id, state, "", now, scheduled_at=None)
    if campaign.run_id:
        _set_run_state(connection, campaign.run_id, state, "", finished_at=now)
        while recipients.drop_queued(connection, workspace_id, campaign.run_id, new_id=new_id, now=now):
            pass


def finish_done(connection: Connection, *, now: int) -> int:
    """Ends the runs whose contacts were all looked at and of whom nobody is pending or queued; gives how many."""
    rows = connection.execute(
        prepared(
            "SELECT id, workspace_id, campaign_id FROM campaign_run r WHERE state = 'running' AND materialised = 1 "
            "AND NOT EXISTS (SELECT 1 FROM recipient p WHERE p.run_id = r.id AND p.state = 0 AND p.not_before >= 0) "
            "AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.run_id = r.id AND o.run_id <> 0) ORDER BY id"
        )
    ).all()
    ended = 0
    for row in rows:
        totals = current(connection, row.workspace_id, [row.id])[row.id]
        campaign = locked(connection, row.workspace_id, row.campaign_id)
        if totals.get("pending", 0) or campaign.state != CampaignState.running or campaign.run_id != row.id:
            continue
        _set_run_state(connection, row.id, CampaignState.finished, "", finished_at=now)
        _set_state(connection, row.campaign_id, CampaignState.finished, "", now)
        ended += 1
    return ended


def start_due(connection: Connection, *, new_id: Callable[[], int], now: int) -> int:
    """Starts scheduled campaigns whose time has come; one that cannot be sent becomes a draft again and says why."""
    rows = connection.execute(
        prepared(
            "SELECT id, workspace_id FROM campaign WHERE state = 'scheduled' AND scheduled_at <= :now "
            "ORDER BY scheduled_at, id LIMIT 20"
        ),
        {"now": now},
    ).all()
    for row in rows:
        try:
            start(connection, row.workspace_id, row.id, new_id=new_id, now=now)
        except (RejectedInput, Conflict) as error:  # nothing was written yet: both are raised by the checks
            _unschedule_failed(connection, row, error, now)
    return len(rows)


def brake(connection: Connection, *, now: int) -> int:
    """Pauses the runs that a stop button, their channel, the platform or their own failures forbid; gives how many."""
    rows = connection.execute(
        prepared(
            "SELECT r.id, r.workspace_id, r.campaign_id, r.baseline, c.state AS channel_state "
            "FROM campaign_run r LEFT JOIN channel c ON c.id = r.channel_id WHERE r.state = 'running' ORDER BY r.id"
        )
    ).all()
    if not rows:
        return 0
    stops, waits = _stops(connection), _told_to_wait(connection, now)
    braked = 0
    for row in rows:
        reason = stops.get(row.id, "") or ("" if row.channel_state == "active" else "channel_stopped")
        reason = reason or ("told_to_wait" if row.id in waits else "")
        if not reason:
            totals = current(connection, row.workspace_id, [row.id])[row.id]
            reason = brakes.verdict(totals, msgspec.json.decode(row.baseline))
        if reason:
            pause(connection, row.workspace_id, row.campaign_id, now=now, reason=reason)
            braked += 1
    return braked


def pause_all(connection: Connection, *, now: int, reason: str = "restored") -> int:
    """After a restored backup: running campaigns are paused, scheduled ones are drafts. Gives how many."""
    rows = connection.execute(
        prepared(
            "SELECT id, workspace_id, state FROM campaign WHERE state IN ('running', 'scheduled') ORDER BY id"
        )
    ).all()
    for row in rows:
        if row.state == CampaignState.running:
            pause(connection, row.workspace_id, row.id, now=now, reason=reason)
        else:
            unschedule(connection, row.workspace_id, row.id, now=now, reason=reason)
    return len(rows)


def take_back_all(connection: Connection, run_id: int, *, now: int) -> None:
    """Every message of a run that is not being sent becomes a pending recipient again."""
    while recipients.take_back(connection, run_id, now=now):
        pass


def _unschedule_failed(connection: Connection, row: Any, error: AppError, now: int) -> None:
    unschedule(connection, row.workspace_id, row.id, now=now, reason=str(error))


def _set_state(
    connection: Connection,
    campaign_id: int,
    state: str,
    reason: str,
    now: int,
    **columns: int | None,
) -> None:
    scheduled = ", scheduled_at = :scheduled_at" if "scheduled_at" in columns else ""
    connection.execute(
        prepared(
            f"UPDATE campaign SET state = :state, state_reason = :reason, version = version + 1, "
            f"updated_at = :now{scheduled} WHERE id = :campaign"
        ),
        {"state": state, "reason": reason, "now": now, "campaign": campaign_id, **columns},
    )


def _set_run_state(
    connection: Connection, run_id: int, state: str, reason: str, *, finished_at: int | None = None
) -> None:
    connection.execute(
        prepared(
            "UPDATE campaign_run SET state = :state, state_reason = :reason, "
            "finished_at = COALESCE(:finished_at, finished_at) WHERE id = :run"
        ),
        {"state": state, "reason": reason, "run": run_id, "finished_at": finished_at},
    )


def _stops(connection: Connection) -> dict[int, str]:
    """Runs under a stop button: run id → reason."""
    rows = connection.execute(
        prepared(
            "SELECT r.id, s.scope FROM stop s JOIN campaign_run r ON r.state IN ('running', 'paused') AND ("
            "s.scope = 'installation' OR (s.workspace_id = r.workspace_id AND (s.scope = 'workspace' "
            "OR (s.scope = 'channel' AND s.target_id = r.channel_id) "
            "OR (s.scope = 'campaign' AND s.target_id = r.campaign_id))))"
        )
    ).all()
    return {row.id: f"stopped_{row.scope}" for row in rows}


def _told_to_wait(connection: Connection, now: int) -> set[int]:
    """Runs of which a platform has refused a message and asks for a longer wait than we take (index outbox_run)."""
    rows = connection.execute(
        prepared(
            "SELECT DISTINCT run_id FROM outbox WHERE run_id <> 0 AND state = 1 AND attempt > 0 AND tries = 0 "
            "AND not_before > :limit"
        ),
        {"limit": now + brakes.WAIT_LIMIT_MS},
    ).all()
    return {row.run_id for row in rows}
