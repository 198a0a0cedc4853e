"""Conversations: the list, one thread with its messages and their statuses, an answer by a person."""

from __future__ import annotations

from sqlalchemy import Connection

from bot import connecting, handover, threads
from bot.channels.base import channel_of
from bot.outbox import Item
from campaigns.contents import showable
from console.routing import CONVERSE, Answer, Goto, Rendered, Visit, page
from domain.errors import RejectedInput
from domain.ids import to_text
from domain.messages import Text

STATUSES = ("bot", "human", "closed")
_WISHES = ("take_over", "hand_back", "stop")


@page("GET", "/conversations")
async def conversation_list(visit: Visit) -> Answer:
    """A page of conversations, the latest message first."""
    at, last = visit.number("at"), visit.number("last")
    status = visit.query.get("status", "")
    if status not in ("", *STATUSES):
        raise RejectedInput("is no status of conversations", where="status")

    def look(connection: Connection) -> Rendered:
        found = threads.conversations(
            connection,
            visit.workspace_id,
            status=status,
            before=(at, last) if last else None,
            limit=threads.PAGE + 1,
        )
        shown = found[: threads.PAGE]
        return Rendered(
            "conversations/list.html",
            {
                "conversations": shown,
                "next": shown[-1] if len(found) > len(shown) else None,
                "status": status,
                "statuses": STATUSES,
                "channels": {one.id: one.name for one in connecting.channels(connection, visit.workspace_id)},
            },
        )

    return await visit.read(look)


@page("GET", "/conversations/{conversation_id}")
async def conversation(visit: Visit) -> Answer:
    """One thread, the oldest message first."""
    before, conversation_id = visit.number("before"), visit.ids["conversation"]

    def look(connection: Connection) -> Rendered:
        view = threads.conversation(connection, visit.workspace_id, conversation_id)
        found = threads.messages(
            connection, visit.workspace_id, conversation_id, before=before, limit=threads.PAGE + 1
        )
        shown = found[: threads.PAGE]
        return Rendered(
            "conversations/thread.html",
            {
                "conversation": view,
                "messages": list(reversed(shown)),
                "earlier": shown[-1].id if len(found) > len(shown) else None,
                "channel": connecting.channel(connection, visit.workspace_id, view.channel_id),
                "typed": visit.form.get("text", ""),
            },
        )

    return await visit.read(look)


async def _again(visit: Visit, problem: str) -> Answer:
    return await conversation(visit)


@page("POST", "/conversations/{conversation_id}/messages", needs=CONVERSE, again=_again)
async def answer(visit: Visit) -> Answer:
    """A person's own message."""
    conversation_id = visit.ids["conversation"]
    said = visit.form.get("text", "").strip()
    queued: list[Item] = []

    def work(connection: Connection) -> None:
        if not said:
            raise RejectedInput("must not be empty", where="text")
        view = threads.conversation(connection, visit.workspace_id, conversation_id)
        to = threads.recipient(
            connection, visit.workspace_id, view.identity_id, conversation_id=conversation_id
        )
        content = Text(said)
        showable(content, channel_of(to.kind), address=to.address, language=to.language or "en", where="text")
        queued[:] = [
            threads.say(
                connection,
                visit.workspace_id,
                to,
                content,
                author=visit.actor,
                new_id=visit.runtime.new_id,
                now=visit.now(),
            )
        ]

    await visit.write(work, action="service_message", target=str(conversation_id))
    visit.live.sender.offer(queued)
    visit.runtime.signals.notify("outbox")
    return Goto(f"/conversations/{to_text('conversation', conversation_id)}", "sent")


@page("POST", "/conversations/{conversation_id}/commands", needs=CONVERSE)
async def wish(visit: Visit) -> Answer:
    """Takes over, hands back, stops the flow."""
    conversation_id, what = visit.ids["conversation"], visit.form.get("what", "")
    if what not in _WISHES:
        raise RejectedInput(f"must be one of {', '.join(_WISHES)}", where="what")
    await visit.write(
        lambda c: handover.command(
            c,
            visit.workspace_id,
            conversation_id,
            what,
            by=visit.actor,
            sealer=visit.runtime.sealer,
            new_id=visit.runtime.new_id,
            now=visit.now(),
        ),
        action=f"conversation_{what}",
        target=str(conversation_id),
    )
    visit.runtime.signals.notify("intake")
    return Goto(f"/conversations/{to_text('conversation', conversation_id)}", "wished")
