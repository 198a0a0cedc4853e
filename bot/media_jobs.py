"""Fetching what people send: a platform keeps a file for hours or days only, so a job makes our own sealed copy.

The message shows where the copy is (`media_id`). A file that is gone, too large or refused is no failure of the
conversation: the message stays with what the platform told of it, and the job's progress says why there is no copy.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
from sqlalchemy import Connection, text

from bot.channel_store import ChannelStore
from bot.media import MAX_FILE, MediaStore
from bot.runtime import Runtime
from bot.scope import Scope
from bot.sender import ClientFactory
from domain.errors import SendError, SendFailure
from domain.messages import ReceivedAlbum, ReceivedMedia, decode_received, encode
from storage import jobs
from storage.database import dialect
from storage.jobs import Again, Done, Running, job

KINDS = ("media_fetch",)


class Context(Protocol):
    """What fetching needs of the process."""

    runtime: Runtime
    media: MediaStore
    channels: ChannelStore
    clients: ClientFactory


def fetch_later(scope: Scope, message_id: int, platform_id: str) -> None:
    """Adds the job in the transaction that stores the message."""
    runtime, workspace_id, now = scope.runtime, scope.workspace_id, scope.now
    payload: dict[str, Any] = {
        "message_id": message_id,
        "channel_id": scope.channel.id,
        "platform_id": platform_id,
        "contact_id": 0 if scope.conversation is None else scope.conversation.contact_id,
    }

    def add(connection: Connection) -> None:
        jobs.add(
            connection,
            workspace_id=workspace_id,
            kind="media_fetch",
            key=f"{message_id}:{platform_id}"[:200],
            payload=payload,
            due_at=now,
            sealer=runtime.sealer,
            new_id=runtime.new_id,
            now=now,
        )

    scope.batch.after.append(add)
    scope.batch.wakes.append("jobs")


@job("media_fetch")
async def media_fetch(context: Context, running: Running) -> Done | Again:
    """Downloads one file and links it to its message."""
    channel = context.channels.get(int(running.payload["channel_id"]))
    if channel is None:
        return Done({"copy": "its channel is gone"})
    try:
        found = await context.clients(channel).download(running.payload["platform_id"], max_bytes=MAX_FILE)
    except SendError as error:
        if error.retryable or error.reason is SendFailure.unknown:
            raise
        return Done({"copy": str(error.reason)})
    media_id = await context.media.save(
        running.workspace_id,
        found.data,
        filename=found.filename or "file",
        mime=found.mime or "application/octet-stream",
        contact_id=int(running.payload["contact_id"]),
    )
    message_id, platform_id = int(running.payload["message_id"]), str(running.payload["platform_id"])
    await context.runtime.database.write(
        lambda c: _link(c, running.workspace_id, message_id, platform_id, media_id)
    )
    return Done({"copy": "stored", "size": len(found.data)})


def _link(
    connection: Connection, workspace_id: int, message_id: int, platform_id: str, media_id: int
) -> None:
    values = {"workspace": workspace_id, "id": message_id}
    content = connection.execute(
        text(
            "SELECT content FROM message WHERE workspace_id = :workspace AND id = :id "
            f"{dialect(connection).for_update}"
        ),
        values,
    ).scalar()
    if content is None:
        return
    received = decode_received(content)
    if isinstance(received, ReceivedAlbum):
        items = tuple(_linked(item, platform_id, media_id) for item in received.items)
        changed: ReceivedAlbum | ReceivedMedia = msgspec.structs.replace(received, items=items)
    elif isinstance(received, ReceivedMedia):
        changed = _linked(received, platform_id, media_id)
    else:
        return
    connection.execute(
        text("UPDATE message SET content = :content WHERE workspace_id = :workspace AND id = :id"),
        {**values, "content": encode(changed)},
    )


def _linked(item: ReceivedMedia, platform_id: str, media_id: int) -> ReceivedMedia:
    return msgspec.structs.replace(item, media_id=media_id) if item.platform_id == platform_id else item
