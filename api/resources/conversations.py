"""`/conversations` and `/messages`: threads, who answers in them, and messages that people or programs write."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from sqlalchemy import Connection

from api import contents
from api.models import (
    ChannelId,
    ContactId,
    ConversationId,
    IdentityId,
    Input,
    MessageId,
    Output,
    Page,
    PageQuery,
    numeric_cursor,
    page_of,
)
from api.routing import Call, route
from bot import handover, threads
from bot.outbox import Item
from crm.accounts import audit
from domain.errors import RejectedInput

MAX_NOTE = 500


class Conversation(Output):
    """A thread with one person in one place. `status`: bot | human | closed; `flow`: the one that waits there."""

    id: ConversationId
    channel_id: ChannelId
    contact_id: ContactId
    identity_id: IdentityId
    place: str
    status: str
    assignee: str
    contact_name: str
    flow: str
    last_inbound_at: int | None
    last_message_at: int
    created_at: int


class Message(Output):
    """One message, in or out, with the times of the statuses that it has reached."""

    id: MessageId
    channel_id: ChannelId
    conversation_id: ConversationId | None
    contact_id: ContactId | None
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


class ConversationQuery(PageQuery):
    """Which conversations."""

    status: Literal["bot", "human", "closed"] | None = None
    contact_id: ContactId | None = Field(None, description="of one contact")


class MessageQuery(PageQuery):
    """Messages of which conversation."""

    conversation_id: ConversationId


class NewMessage(Input):
    """A service message to one identity: something that the person asked for. `content`: a text, or a content."""

    identity_id: IdentityId
    content: str | dict[str, Any]


class Wish(Input):
    """What shall happen to a conversation. `flow`, `variables`: for start_flow."""

    what: Literal["take_over", "hand_back", "stop", "start_flow"]
    note: str = Field("", max_length=MAX_NOTE)
    flow: str | None = Field(None, max_length=100)
    variables: dict[str, str | int | float | bool | None] = Field(default_factory=dict, max_length=50)


class Accepted(Output):
    """It will happen in order with what the person writes."""

    accepted: bool = True


@route("GET", "/conversations", scope="conversations:read", query=ConversationQuery, out=Page[Conversation])
async def list_conversations(call: Call[None, ConversationQuery]) -> Page[Conversation]:
    """Conversations, the latest message first."""
    query, before = call.query, _before(call.query.after)
    found = await call.read(
        lambda c: threads.conversations(
            c,
            call.workspace_id,
            status=query.status or "",
            contact_id=query.contact_id or 0,
            before=before,
            limit=query.limit + 1,
        )
    )
    page = page_of(found, query.limit, lambda one: f"{one.last_message_at}.{one.id}")
    return Page[Conversation](data=[_conversation(one) for one in page.data], next=page.next)


@route("GET", "/conversations/{conversation_id}", scope="conversations:read", out=Conversation)
async def get_conversation(call: Call[None, None]) -> Conversation:
    """One conversation."""
    found = await call.read(lambda c: threads.conversation(c, call.workspace_id, call.ids["conversation"]))
    return _conversation(found)


@route(
    "POST",
    "/conversations/{conversation_id}/commands",
    scope="conversations:write",
    body=Wish,
    out=Accepted,
    status=202,
)
async def command_conversation(call: Call[Wish, None]) -> Accepted:
    """Takes over, hands back, stops the flow, or starts one."""
    body = call.body
    if body.what == "start_flow" and not body.flow:
        raise RejectedInput("names the flow to start", where="flow")
    data: dict[str, Any] = {"note": body.note} if body.note else {}
    if body.what == "start_flow":
        data |= {"flow": body.flow, "variables": body.variables}

    def work(connection: Connection) -> Accepted:
        handover.command(
            connection,
            call.workspace_id,
            call.ids["conversation"],
            body.what,
            by=call.actor,
            data=data,
            sealer=call.runtime.sealer,
            new_id=call.runtime.new_id,
            now=call.now(),
        )
        return Accepted()

    accepted = await call.write(work)
    call.runtime.signals.notify("intake")
    return accepted


@route("GET", "/messages", scope="messages:read", query=MessageQuery, out=Page[Message])
async def list_messages(call: Call[None, MessageQuery]) -> Page[Message]:
    """Messages of a conversation, the newest first."""
    query, before = call.query, numeric_cursor(call.query.after)
    found = await call.read(
        lambda c: threads.messages(
            c, call.workspace_id, query.conversation_id, before=before, limit=query.limit + 1
        )
    )
    page = page_of(found, query.limit, lambda one: one.id)
    return Page[Message](data=[_message(one) for one in page.data], next=page.next)


@route("GET", "/messages/{message_id}", scope="messages:read", out=Message)
async def get_message(call: Call[None, None]) -> Message:
    """One message and its status."""
    return _message(await call.read(lambda c: threads.message(c, call.workspace_id, call.ids["message"])))


@route("POST", "/messages", scope="messages:write", body=NewMessage, out=Message, status=202)
async def send_message(call: Call[NewMessage, None]) -> Message:
    """Sends a service message: it is queued, and leaves if the person and the platform allow it."""
    body = call.body
    queued: list[Item] = []

    def work(connection: Connection) -> Message:
        to = threads.recipient(connection, call.workspace_id, body.identity_id)
        content = contents.checked(
            connection,
            call.workspace_id,
            body.content,
            kind=to.kind,
            address=to.address,
            language=to.language or "en",
        )
        item = threads.say(
            connection,
            call.workspace_id,
            to,
            content,
            author=call.actor,
            new_id=call.runtime.new_id,
            now=call.now(),
        )
        audit(
            connection,
            workspace_id=call.workspace_id,
            actor=call.actor,
            action="service_message",
            target=str(item.id),
            new_id=call.runtime.new_id,
            now=call.now(),
        )
        queued[:] = [item]
        return _message(threads.message(connection, call.workspace_id, item.id))

    made = await call.write(work)
    call.live.sender.offer(queued)
    call.runtime.signals.notify("outbox")
    return made


def _before(after: str | None) -> tuple[int, int] | None:
    if after is None:
        return None
    at, _, last = after.partition(".")
    return numeric_cursor(at), numeric_cursor(last)


def _conversation(one: threads.ConversationView) -> Conversation:
    return Conversation(**{name: getattr(one, name) for name in Conversation.model_fields})


def _message(one: threads.MessageView) -> Message:
    values = {name: getattr(one, name) for name in Message.model_fields}
    values["content"] = contents.shown(one.content)
    values["conversation_id"] = one.conversation_id or None
    values["contact_id"] = one.contact_id or None
    return Message(**values)
