"""What people see of conversations and messages, and the messages that they write themselves.

A message from a person or a program enters the outbox like every other, as class service and to one identity: whether
it may leave (blocked, stopped, the platform's answer window) is `may_send`'s word when it is about to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, text

from bot import outbox
from bot.outbox import Item, Outgoing
from domain.errors import Conflict, NotFound
from domain.messages import Content, MessageClass

PAGE = 50
SERVICE_LIFE_MS = 24 * 3_600_000  # what a person wrote helps nobody after a day

_decode = msgspec.json.Decoder().decode


class ConversationView(Struct, frozen=True, kw_only=True):
    """A thread with one person in one place. `status`: bot | human | closed; `flow`: of the waiting session, or ""."""

    id: int
    channel_id: int
    contact_id: int
    identity_id: int
    place: str
    status: str
    assignee: str
    contact_name: str
    flow: str
    last_inbound_at: int | None
    last_message_at: int
    created_at: int


class MessageView(Struct, frozen=True, kw_only=True):
    """One message. `content`: its JSON form; the times are those of the statuses that it has reached, ms UTC."""

    id: int
    channel_id: int
    conversation_id: int
    contact_id: int
    direction: str
    message_class: str
    author: str
    content: dict[str, Any]
    status: str
    reason: str
    possibly_twice: bool
    created_at: int
    sent_at: int | None
    delivered_at: int | None
    read_at: int | None
    failed_at: int | None


def conversations(
    connection: Connection,
    workspace_id: int,
    *,
    status: str = "",
    contact_id: int = 0,
    before: tuple[int, int] | None = None,
    limit: int = PAGE,
) -> list[ConversationView]:
    """Conversations, the latest first (index conversation_recent); `before`: (last_message_at, id) of the last page's
    end."""
    at, last_id = before or ((1 << 63) - 1, (1 << 63) - 1)
    rows = connection.execute(
        text(
            f"{_CONVERSATION} WHERE v.workspace_id = :workspace AND v.last_message_at <= :at "
            "AND (v.last_message_at < :at OR v.id < :last) AND (CAST(:status AS TEXT) = '' OR v.status = :status) "
            "AND (CAST(:contact AS BIGINT) = 0 OR v.contact_id = :contact) "
            "ORDER BY v.last_message_at DESC, v.id DESC LIMIT :limit"
        ),
        {
            "workspace": workspace_id,
            "at": at,
            "last": last_id,
            "status": status,
            "contact": contact_id,
            "limit": limit,
        },
    ).all()
    return [ConversationView(**row._mapping) for row in rows]


def conversation(connection: Connection, workspace_id: int, conversation_id: int) -> ConversationView:
    """One conversation. Raises NotFound."""
    row = connection.execute(
        text(f"{_CONVERSATION} WHERE v.workspace_id = :workspace AND v.id = :id"),
        {"workspace": workspace_id, "id": conversation_id},
    ).one_or_none()
    if row is None:
        raise NotFound("there is no such conversation")
    return ConversationView(**row._mapping)


def messages(
    connection: Connection,
    workspace_id: int,
    conversation_id: int,
    *,
    before: int = 0,
    limit: int = PAGE,
) -> list[MessageView]:
    """The newest messages of a conversation, newest first, before an id (0: the newest). Raises NotFound."""
    conversation(connection, workspace_id, conversation_id)
    rows = connection.execute(
        text(
            f"{_MESSAGE} WHERE workspace_id = :workspace AND conversation_id = :conversation "
            "AND id < :before ORDER BY id DESC LIMIT :limit"
        ),
        {
            "workspace": workspace_id,
            "conversation": conversation_id,
            "before": before or (1 << 63) - 1,
            "limit": limit,
        },
    ).all()
    return [_message(row) for row in rows]


def message(connection: Connection, workspace_id: int, message_id: int) -> MessageView:
    """One message. Raises NotFound."""
    row = connection.execute(
        text(f"{_MESSAGE} WHERE workspace_id = :workspace AND id = :id"),
        {"workspace": workspace_id, "id": message_id},
    ).one_or_none()
    if row is None:
        raise NotFound("there is no such message")
    return _message(row)


class Recipient(Struct, frozen=True, kw_only=True):
    """Where a message to one identity goes, and its channel's kind."""

    channel_id: int
    kind: str
    contact_id: int
    identity_id: int
    conversation_id: int
    address: str
    topic: str | None
    place: str
    language: str


def recipient(
    connection: Connection, workspace_id: int, identity_id: int, *, conversation_id: int = 0
) -> Recipient:
    """An identity's conversation, its private one when none is named, or its address where there is none.

    Raises NotFound, and Conflict when the person has blocked us or is gone.
    """
    row = connection.execute(
        text(
            "SELECT i.channel_id, h.kind, i.contact_id, i.id AS identity_id, COALESCE(v.id, 0) AS conversation_id, "
            "COALESCE(v.address, i.address) AS address, v.topic, COALESCE(v.place, 'private') AS place, "
            "COALESCE(c.language, i.language, '') AS language, i.state FROM identity i "
            "JOIN contact c ON c.id = i.contact_id AND c.workspace_id = i.workspace_id "
            "JOIN channel h ON h.id = i.channel_id AND h.workspace_id = i.workspace_id "
            "LEFT JOIN conversation v ON v.channel_id = i.channel_id AND v.workspace_id = i.workspace_id "
            "AND (v.id = CAST(:conversation AS BIGINT) "
            "OR (CAST(:conversation AS BIGINT) = 0 AND v.conversation_key = :key)) "
            "WHERE i.workspace_id = :workspace AND i.id = :identity"
        ),
        {
            "workspace": workspace_id,
            "identity": identity_id,
            "conversation": conversation_id,
            "key": f"i:{identity_id}",
        },
    ).one_or_none()
    if row is None:
        raise NotFound("there is no such identity")
    if row.state != "reachable":
        raise Conflict(f"this person cannot be written to: {row.state}")
    return Recipient(**{name: getattr(row, name) for name in Recipient.__struct_fields__})


def say(
    connection: Connection,
    workspace_id: int,
    to: Recipient,
    content: Content,
    *,
    author: str,
    new_id: Callable[[], int],
    now: int,
) -> Item:
    """Queues a service message; the item goes to `Sender.offer` after the commit, its id is the message's."""
    (item,) = outbox.enqueue(
        connection,
        [
            Outgoing(
                id=new_id(),
                workspace_id=workspace_id,
                channel_id=to.channel_id,
                conversation_id=to.conversation_id,
                contact_id=to.contact_id,
                identity_id=to.identity_id,
                message_class=MessageClass.service,
                author=author,
                address=to.address,
                topic=to.topic,
                place=to.place,
                language=to.language,
                content=content,
                expires_at=now + SERVICE_LIFE_MS,
            )
        ],
        now=now,
    )
    return item


_CONVERSATION = (
    "SELECT v.id, v.channel_id, v.contact_id, v.identity_id, v.place, v.status, v.assignee, "
    "COALESCE(NULLIF(c.name, ''), i.display_name, '') AS contact_name, COALESCE(f.key, '') AS flow, "
    "v.last_inbound_at, v.last_message_at, v.created_at FROM conversation v "
    "LEFT JOIN contact c ON c.id = v.contact_id AND c.workspace_id = v.workspace_id "
    "LEFT JOIN identity i ON i.id = v.identity_id AND i.workspace_id = v.workspace_id "
    "LEFT JOIN flow_session s ON s.id = v.session_id AND s.workspace_id = v.workspace_id "
    "LEFT JOIN flow f ON f.id = s.flow_id AND f.workspace_id = v.workspace_id"
)
_MESSAGE = (
    "SELECT id, channel_id, conversation_id, contact_id, direction, message_class, author, content, status, reason, "
    "possibly_twice, created_at, sent_at, delivered_at, read_at, failed_at FROM message"
)


def _message(row: Any) -> MessageView:
    return MessageView(
        **{**row._mapping, "content": _decode(row.content), "possibly_twice": bool(row.possibly_twice)}
    )
