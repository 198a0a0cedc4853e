"""The long halves of `/mydata` and `/forget`, as jobs: the complete file, and the erasure layer by layer."""

from __future__ import annotations

from typing import Protocol

import msgspec
from sqlalchemy import Connection, text

from bot import outbox, personal
from bot.media import MediaStore
from bot.outbox import REPLY_LIFE_MS, Outgoing
from bot.runtime import Runtime
from crm import privacy
from domain.errors import NotFound
from domain.messages import Media, MediaKind, MediaSource, MessageClass
from storage.jobs import Again, Done, Running, job

__all__ = [
    "KINDS",
    "erasure",
    "mydata",
    "personal",
]  # `personal` registers what there is to show and to erase
KINDS = ("erasure", "mydata")


class Context(Protocol):
    """What these jobs need of the process."""

    runtime: Runtime
    media: MediaStore


@job("erasure")
async def erasure(context: Context, running: Running) -> Done | Again:
    """One unit of an erasure; the receipt is its progress."""
    runtime = context.runtime
    if (
        not running.cursor
    ):  # bytes first: a row without its file says so, a file without a row would stay for ever
        await context.media.erase_bytes(running.workspace_id, int(running.payload["contact_id"]))

    def unit(connection: Connection) -> str | privacy.Receipt:
        return privacy.erase_unit(
            connection,
            workspace_id=running.workspace_id,
            contact_id=int(running.payload["contact_id"]),
            cursor=running.cursor,
            actor=str(running.payload.get("by", "person")),
            new_id=runtime.new_id,
            now=runtime.clock(),
        )

    step = await runtime.database.write(unit)
    if isinstance(step, str):
        return Again(step, {"unit": step})
    return Done({"contact": step.contact, "at": step.at, "erased": list(step.erased)})


@job("mydata")
async def mydata(context: Context, running: Running) -> Done | Again:
    """The complete export as a file, to the conversation in which it was asked for."""
    runtime, contact_id = context.runtime, int(running.payload["contact_id"])
    try:
        data = await runtime.database.read(
            lambda c: privacy.export(
                c, workspace_id=running.workspace_id, contact_id=contact_id, now=runtime.clock()
            )
        )
    except NotFound:  # forgotten in the meantime
        return Done()
    document = msgspec.json.format(msgspec.json.encode(data), indent=2)
    media_id = await context.media.save(
        running.workspace_id, document, filename="mydata.json", mime="application/json", contact_id=contact_id
    )
    language = str(running.payload.get("language", "en"))
    conversation_id = int(running.payload["conversation_id"])
    await runtime.database.write(
        lambda c: _send(c, runtime, running.workspace_id, conversation_id, media_id, language, running.id)
    )
    runtime.signals.notify("outbox")
    return Done()


_CAPTION = {"it": "Tutti i dati che abbiamo su di te.", "en": "All the data that we have about you."}


def _send(
    connection: Connection,
    runtime: Runtime,
    workspace_id: int,
    conversation_id: int,
    media_id: int,
    language: str,
    job_id: int,
) -> None:
    author = f"job:{job_id}"
    row = connection.execute(
        text(
            "SELECT channel_id, contact_id, identity_id, address, topic, place FROM conversation c WHERE id = :id AND "
            "workspace_id = :workspace AND NOT EXISTS (SELECT 1 FROM message m WHERE m.workspace_id = c.workspace_id "
            "AND m.conversation_id = c.id AND m.author = :author)"
        ),
        {"id": conversation_id, "workspace": workspace_id, "author": author},
    ).one_or_none()
    if row is None:  # gone, or sent by this very job before a crash
        return
    now = runtime.clock()
    content = Media(
        MediaKind.document,
        MediaSource(media_id=media_id, filename="mydata.json", mime="application/json"),
        caption=_CAPTION.get(language, _CAPTION["en"]),
    )
    outbox.enqueue(
        connection,
        [
            Outgoing(
                id=runtime.new_id(),
                workspace_id=workspace_id,
                channel_id=row.channel_id,
                conversation_id=conversation_id,
                contact_id=row.contact_id,
                identity_id=row.identity_id,
                message_class=MessageClass.service,
                author=author,
                address=row.address,
                topic=row.topic,
                place=row.place,
                language=language,
                content=content,
                expires_at=now + REPLY_LIFE_MS,
            )
        ],
        now=now,
    )
