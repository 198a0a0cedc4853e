"""Posts: publications on outlets (a Telegram channel or group where our bot may write), now or at a time.

A post is scheduled until it becomes one outbox row (class service: an outlet is public, nobody's consent is asked),
then queued, and ends sent, failed or unknown as the sender tells; an unknown one is never sent again by itself, because
everybody would see it twice. A post that could not leave for a day is news of yesterday and expires.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, text

from bot import outbox, settling
from bot.channels.base import channel_of
from bot.outbox import Outgoing
from bot.settling import Outcome
from bot.withdrawals import withdraw_message
from campaigns.contents import parse_one, showable
from campaigns.runs import MAX_AHEAD_MS
from domain.errors import Conflict, NotFound, RejectedInput
from domain.events import Place
from domain.messages import (
    Album,
    Content,
    LocationContent,
    Media,
    MessageClass,
    Poll,
    Text,
    decode_content,
    encode,
)
from storage.database import dialect
from storage.statements import bulk, json_rows

LIFE_MS = 24 * 3_600_000
DUE_LIMIT = 50  # posts in one transaction
_KINDS = (Text, Media, Album, Poll, LocationContent)


class OutletView(Struct, kw_only=True):
    """A place that is posted to. `rights` is what the platform says that our bot may do there."""

    id: int
    channel_id: int
    address: str
    kind: str
    title: str
    state: str
    rights: dict[str, Any]
    members: int | None


class PostView(Struct, kw_only=True):
    """A post. `state`: scheduled | queued | sent | failed | unknown | cancelled; times are ms UTC."""

    id: int
    outlet_id: int
    channel_id: int
    content: dict[str, Any]
    state: str
    reason: str
    due_at: int
    message_id: int
    external_id: str
    created_at: int


def outlets(connection: Connection, workspace_id: int) -> list[OutletView]:
    """All outlets of a workspace, by title."""
    rows = connection.execute(
        text(
            "SELECT id, channel_id, address, kind, title, state, rights, members FROM outlet "
            "WHERE workspace_id = :workspace ORDER BY title, id"
        ),
        {"workspace": workspace_id},
    ).all()
    return [OutletView(**{**row._mapping, "rights": msgspec.json.decode(row.rights)}) for row in rows]


def create(
    connection: Connection,
    workspace_id: int,
    outlet_id: int,
    content: Any,
    *,
    at: int | None = None,
    new_id: Callable[[], int],
    now: int,
) -> int:
    """A post now (`at` None or past: queued in this transaction) or at a time; gives its id. `content`: a text or a
    content's JSON form. Raises NotFound, Conflict, RejectedInput."""
    outlet = _outlet(connection, workspace_id, outlet_id)
    said = _checked(content, outlet)
    due_at = max(at or now, now)
    if due_at > now + MAX_AHEAD_MS:
        raise RejectedInput("at most a year from now", where="at")
    post_id = new_id()
    connection.execute(
        text(
            "INSERT INTO post (id, workspace_id, outlet_id, channel_id, content, state, reason, due_at, message_id, "
            "external_id, created_at) VALUES (:id, :workspace, :outlet, :channel, :content, 'scheduled', '', :due_at, "
            "0, '', :now)"
        ),
        {
            "id": post_id,
            "workspace": workspace_id,
            "outlet": outlet_id,
            "channel": outlet.channel_id,
            "content": encode(said),
            "due_at": due_at,
            "now": now,
        },
    )
    if due_at <= now:
        _queue(connection, [_locked(connection, workspace_id, post_id)], new_id, now)
    return post_id


def change(
    connection: Connection,
    workspace_id: int,
    post_id: int,
    *,
    content: Any = None,
    at: int | None = None,
    now: int,
) -> None:
    """Changes what a scheduled post says, or when. Raises NotFound, Conflict, RejectedInput."""
    post = _locked(connection, workspace_id, post_id)
    if post.state != "scheduled":
        raise Conflict(f"this post is {post.state}: only a scheduled one can be changed")
    if at is not None and at > now + MAX_AHEAD_MS:
        raise RejectedInput("at most a year from now", where="at")
    said = post.content
    if content is not None:
        said = encode(_checked(content, _outlet(connection, workspace_id, post.outlet_id)))
    connection.execute(
        text("UPDATE post SET content = :content, due_at = :due_at WHERE id = :id"),
        {"content": said, "due_at": post.due_at if at is None else at, "id": post_id},
    )


def cancel(connection: Connection, workspace_id: int, post_id: int) -> None:
    """A post that has not left does not leave. Raises NotFound, and Conflict when it is too late."""
    post = _locked(connection, workspace_id, post_id)
    if post.state == "cancelled":
        return
    if post.state not in ("scheduled", "queued"):
        raise Conflict(f"this post is {post.state}")
    if post.state == "queued" and not withdraw_message(connection, post.message_id):
        raise Conflict("this post is being sent")
    connection.execute(
        text("UPDATE post SET state = 'cancelled', message_id = 0 WHERE id = :id"), {"id": post_id}
    )


def queue_due(connection: Connection, *, new_id: Callable[[], int], now: int) -> list[int]:
    """Queues posts whose time has come, the earliest first; gives the channels that have something to send."""
    rows = connection.execute(
        text(
            f"{_SELECT} WHERE p.state = 'scheduled' AND p.due_at <= :now ORDER BY p.due_at, p.id LIMIT :limit "
            f"{_lock(connection, ' SKIP LOCKED')}"
        ),
        {"now": now, "limit": DUE_LIMIT},
    ).all()
    return _queue(connection, rows, new_id, now)


def posts(
    connection: Connection, workspace_id: int, *, outlet_id: int = 0, before: int = 0, limit: int = 50
) -> list[PostView]:
    """The newest posts, newest first, of all outlets or one; `before`: the id at which the last page ended."""
    rows = connection.execute(
        text(
            "SELECT id, outlet_id, channel_id, content, state, reason, due_at, message_id, external_id, created_at "
            "FROM post WHERE workspace_id = :workspace AND (CAST(:outlet AS BIGINT) = 0 OR outlet_id = :outlet) "
            "AND (CAST(:before AS BIGINT) = 0 OR id < :before) ORDER BY id DESC LIMIT :limit"
        ),
        {"workspace": workspace_id, "outlet": outlet_id, "before": before, "limit": min(max(limit, 1), 500)},
    ).all()
    return [PostView(**{**row._mapping, "content": msgspec.json.decode(row.content)}) for row in rows]


@settling.settles
def hear(connection: Connection, outcomes: Sequence[Outcome], *, new_id: Callable[[], int], now: int) -> None:
    """Writes outcomes into posts, in the transaction that settles them. A later truth (unknown → sent) counts; what is
    not a post's message matches no row."""
    told = {
        outcome.message_id: {
            "message_id": outcome.message_id,
            "state": _STATES[outcome.state],
            "reason": outcome.reason or ("expired" if outcome.state == "expired" else ""),
            "external_id": outcome.external_id,
        }
        for outcome in outcomes
        if outcome.outlet_id and outcome.state in _STATES
    }
    if told:
        connection.execute(_HEARD, {"rows": bulk(told.values())})


_STATES = {"sent": "sent", "failed": "failed", "skipped": "failed", "expired": "failed", "unknown": "unknown"}
_HEARD_COLUMNS = {"message_id": "BIGINT", "state": "TEXT", "reason": "TEXT", "external_id": "TEXT"}
_HEARD = text(
    "UPDATE post SET state = v.state, reason = v.reason, external_id = CASE WHEN v.external_id <> '' "
    f"THEN v.external_id ELSE post.external_id END FROM ({json_rows(_HEARD_COLUMNS)}) v "
    "WHERE post.message_id = v.message_id AND post.message_id <> 0 AND (post.state IN ('queued', 'unknown') "
    "OR (post.state = 'sent' AND v.state = 'failed'))"
)
_SELECT = (
    "SELECT p.id, p.workspace_id, p.outlet_id, p.channel_id, p.content, p.state, p.due_at, p.message_id, "
    "o.address, o.kind, o.state AS outlet_state FROM post p JOIN outlet o ON o.id = p.outlet_id "
    "AND o.workspace_id = p.workspace_id"
)


def _lock(connection: Connection, how: str = "") -> str:
    lock = dialect(connection).for_update
    return f"{lock} OF p{how}" if lock else ""


def _locked(connection: Connection, workspace_id: int, post_id: int) -> Any:
    row = connection.execute(
        text(f"{_SELECT} WHERE p.workspace_id = :workspace AND p.id = :id {_lock(connection)}"),
        {"workspace": workspace_id, "id": post_id},
    ).one_or_none()
    if row is None:
        raise NotFound("no such post")
    return row


def _outlet(connection: Connection, workspace_id: int, outlet_id: int) -> Any:
    row = connection.execute(
        text(
            "SELECT o.id, o.channel_id, o.address, o.state, c.kind FROM outlet o JOIN channel c ON c.id = o.channel_id "
            "AND c.workspace_id = o.workspace_id WHERE o.workspace_id = :workspace AND o.id = :id"
        ),
        {"workspace": workspace_id, "id": outlet_id},
    ).one_or_none()
    if row is None:
        raise NotFound("no such outlet")
    if row.state != "active":
        raise Conflict("our bot can no longer write to this outlet")
    return row


def _checked(content: Any, outlet: Any) -> Content:
    said = parse_one(content)
    if not isinstance(said, _KINDS):
        raise RejectedInput("a post is a text, media, an album, a poll or a place", where="content")
    if isinstance(said, Text) and not said.text.strip():
        raise RejectedInput("must not be empty", where="content.text")
    showable(said, channel_of(outlet.kind), address=outlet.address, language="en", where="content")
    return said


def _queue(connection: Connection, rows: Sequence[Any], new_id: Callable[[], int], now: int) -> list[int]:
    """Scheduled posts become messages; those whose outlet is gone fail."""
    lost = [row.id for row in rows if row.outlet_state != "active"]
    if lost:
        connection.execute(
            text(
                "UPDATE post SET state = 'failed', reason = 'outlet_gone' WHERE state = 'scheduled' AND id IN "
                "(SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e)"
            ),
            {"ids": bulk({"v": post_id} for post_id in lost)},
        )
    made = {row.id: (row, new_id()) for row in rows if row.outlet_state == "active"}
    if not made:
        return []
    connection.execute(
        _QUEUED, {"rows": bulk({"id": post, "message_id": message} for post, (_, message) in made.items())}
    )
    outbox.enqueue(
        connection, [_outgoing(row, message_id, now) for row, message_id in made.values()], now=now
    )
    return sorted({row.channel_id for row, _ in made.values()})


_QUEUED = text(
    "UPDATE post SET state = 'queued', message_id = v.message_id "
    f"FROM ({json_rows({'id': 'BIGINT', 'message_id': 'BIGINT'})}) v WHERE post.id = v.id AND post.state = 'scheduled'"
)


def _outgoing(row: Any, message_id: int, now: int) -> Outgoing:
    return Outgoing(
        id=message_id,
        workspace_id=row.workspace_id,
        channel_id=row.channel_id,
        address=row.address,
        content=decode_content(row.content),
        outlet_id=row.outlet_id,
        message_class=MessageClass.service,
        author="person",
        place=Place.outlet if row.kind == "channel" else Place.group,
        expires_at=now + LIFE_MS,
    )
