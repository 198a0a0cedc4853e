"""What has to be done for campaigns and posts again and again: plain functions, and how often each wants to be called.

Only one process calls them (the scheduler's lease), but nothing breaks when two do: each is one transaction that starts
from the state it finds. A tick says whether there is more to do at once, and which channels got something to send, so
that their senders can be woken after the commit. `crash_at` names the crash point that lies behind the commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, text

from bot.outbox import Item
from bot.scheduler import Ticked, Ticker
from campaigns import (
    audiences,
    posts,
    privacy,  # noqa: F401  (registers what campaigns hold of a person)
    recipients,
    runs,
    totals,
)
from campaigns.brakes import ahead
from campaigns.recipients import Fed
from storage.database import Queue


def start_due(connection: Connection, *, new_id: Callable[[], int], now: int) -> Ticked:
    """Scheduled campaigns whose time has come are started."""
    runs.start_due(connection, new_id=new_id, now=now)
    return Ticked()


def queue_due_posts(connection: Connection, *, new_id: Callable[[], int], now: int) -> Ticked:
    """Scheduled posts whose time has come are queued."""
    channels = posts.queue_due(connection, new_id=new_id, now=now)
    return Ticked(more=bool(channels), channels=tuple(channels))


def materialise(connection: Connection, *, new_id: Callable[[], int], now: int) -> Ticked:
    """One slice of contacts of the run that began first and is not through yet."""
    run_id = connection.execute(
        text(
            "SELECT id FROM campaign_run WHERE state = 'running' AND materialised = 0 ORDER BY cursor, id LIMIT 1"
        )
    ).scalar()
    if run_id is None:
        return Ticked()
    audiences.materialise(connection, run_id, new_id=new_id, now=now)
    return Ticked(more=True)


def fold(connection: Connection, *, new_id: Callable[[], int], now: int) -> Ticked:
    """Deltas become totals."""
    return Ticked(more=totals.fold(connection, now=now))


def brake_and_finish(connection: Connection, *, new_id: Callable[[], int], now: int) -> Ticked:
    """Runs that may not go on are paused, those that are through are finished."""
    runs.brake(connection, now=now)
    runs.finish_done(connection, now=now)
    return Ticked()


def feed(connection: Connection, *, new_id: Callable[[], int], now: int) -> Ticked:
    """Every channel's outbox is filled up from its running campaigns, in equal parts; brakes are looked at before."""
    runs.brake(connection, now=now)
    by_channel: dict[int, list[_Running]] = {}
    for run in _running(connection, now):
        by_channel.setdefault(run.channel_id, []).append(run)
    channels: list[int] = []
    items: list[Item] = []
    for channel_id, running in sorted(by_channel.items()):
        fed = _feed_channel(connection, channel_id, running, new_id, now)
        if any(one.people for one in fed):
            channels.append(channel_id)
        if all(one.items for one in fed if one.people):  # else its sender has to look anyway
            items += [item for one in fed for item in one.items]
    return Ticked(channels=tuple(channels), items=tuple(items))


def take_back(connection: Connection, *, new_id: Callable[[], int], now: int) -> Ticked:
    """What may not go (yet) leaves the outbox: messages that were returned to a run which is not running any more, and
    those of people who may only be written to later, so that others can have their place."""
    strays = connection.execute(
        text(
            "SELECT DISTINCT r.id, r.workspace_id, r.state FROM outbox o JOIN campaign_run r ON r.id = o.run_id "
            "WHERE o.run_id <> 0 AND o.state = 1 "
            "AND (r.state <> 'running' OR (o.attempt = 0 AND o.not_before > :past)) ORDER BY r.id"
        ),
        {"past": now + recipients.LATER_MS},
    ).all()
    for run in strays:
        if run.state == "cancelled":
            recipients.drop_queued(connection, run.workspace_id, run.id, new_id=new_id, now=now)
        else:
            past = now + recipients.LATER_MS if run.state == "running" else None
            recipients.take_back(connection, run.id, postponed_past=past, now=now)
    return Ticked()


def sweep_cancelled(connection: Connection, *, new_id: Callable[[], int], now: int) -> Ticked:
    """A thousand of the people whom a cancelled run will not write to."""
    row = connection.execute(
        text(
            "SELECT r.id, r.workspace_id FROM campaign_run r WHERE r.state = 'cancelled' AND EXISTS "
            "(SELECT 1 FROM recipient p WHERE p.run_id = r.id AND p.state = 0 AND p.not_before >= 0) "
            "ORDER BY r.id LIMIT 1"
        )
    ).one_or_none()
    if row is None:
        return Ticked()
    recipients.drop_pending(connection, row.workspace_id, row.id, new_id=new_id, now=now)
    return Ticked(more=True)


_RUNNING = "EXISTS (SELECT 1 FROM campaign_run WHERE state = 'running')"

TICKERS = (
    Ticker(
        "campaigns_start",
        start_due,
        1.0,
        Queue.people,
        durable=True,
        due="EXISTS (SELECT 1 FROM campaign WHERE state = 'scheduled' AND scheduled_at <= :now)",
    ),
    Ticker(
        "campaigns_posts",
        queue_due_posts,
        1.0,
        Queue.people,
        durable=True,
        due="EXISTS (SELECT 1 FROM post WHERE state = 'scheduled' AND due_at <= :now)",
    ),
    Ticker(
        "campaigns_materialise",
        materialise,
        0.5,
        Queue.bulk,
        crash_at="campaign.after_slice",
        due="EXISTS (SELECT 1 FROM campaign_run WHERE state = 'running' AND materialised = 0)",
    ),
    Ticker("campaigns_feed", feed, 0.25, Queue.bulk, crash_at="campaign.after_feed", due=_RUNNING),
    Ticker("campaigns_fold", fold, 1.0, Queue.bulk, due="EXISTS (SELECT 1 FROM run_delta)"),
    Ticker("campaigns_brake", brake_and_finish, 1.0, Queue.people, due=_RUNNING),
    Ticker(
        "campaigns_take_back",
        take_back,
        1.0,
        Queue.bulk,
        due="EXISTS (SELECT 1 FROM outbox WHERE run_id <> 0)",
    ),
    Ticker(
        "campaigns_sweep",
        sweep_cancelled,
        1.0,
        Queue.bulk,
        due="EXISTS (SELECT 1 FROM campaign_run WHERE state = 'cancelled')",
    ),
)


@dataclass(frozen=True)
class _Running:
    id: int
    channel_id: int
    allowed: int  # messages that it may have in the outbox


def _running(connection: Connection, now: int) -> list[_Running]:
    """Running runs that have somebody to write to now, with how far ahead of the sender each may be."""
    rows = connection.execute(
        text(
            "SELECT r.id, r.workspace_id, r.channel_id, r.baseline FROM campaign_run r WHERE r.state = 'running' "
            "AND EXISTS (SELECT 1 FROM recipient p WHERE p.run_id = r.id AND p.state = 0 AND p.not_before <= :now) "
            "ORDER BY r.id"
        ),
        {"now": now},
    ).all()
    found = []
    for row in rows:
        so_far = totals.current(connection, row.workspace_id, [row.id])[row.id]
        allowed = ahead(so_far, msgspec.json.decode(row.baseline), recipients.AHEAD)
        found.append(_Running(row.id, row.channel_id, allowed))
    return found


def _feed_channel(
    connection: Connection, channel_id: int, running: list[_Running], new_id: Callable[[], int], now: int
) -> list[Fed]:
    """Fills one channel's outbox."""
    fed = []
    for n, run in enumerate(running):
        free = recipients.AHEAD - recipients.queued_on(connection, channel_id)
        room = min(free // (len(running) - n), run.allowed - recipients.queued_of(connection, run.id))
        if room > 0:
            fed.append(recipients.feed(connection, run.id, room=room, new_id=new_id, now=now))
    return fed
