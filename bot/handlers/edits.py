"""Messages that were changed or taken back: the rows change, no flow advances."""

from __future__ import annotations

from sqlalchemy import text

from bot.flow_store import FlowStore
from bot.handlers import handles
from bot.scope import Scope
from domain.events import MessageDeleted, MessageEdited
from domain.messages import encode
from storage.database import bulk_values


@handles(MessageEdited)
def message_edited(scope: Scope, flows: FlowStore, event: MessageEdited) -> None:
    """The inbound row gets the new content."""
    values = {
        "content": encode(event.content),
        "at": scope.now,
        "channel": scope.channel.id,
        "external": event.external_id,
        "workspace": scope.workspace_id,
    }
    scope.batch.after.append(
        lambda connection: connection.execute(
            text(
                "UPDATE message SET content = :content, edited_at = :at WHERE workspace_id = :workspace "
                "AND channel_id = :channel AND external_id = :external AND external_id <> '' AND direction = 'in'"
            ),
            values,
        )
        and None
    )


@handles(MessageDeleted)
def message_deleted(scope: Scope, flows: FlowStore, event: MessageDeleted) -> None:
    """The rows stay, marked: what was said to a business is not unsaid by the platform."""
    values = {
        "at": scope.now,
        "channel": scope.channel.id,
        "workspace": scope.workspace_id,
        "ids": bulk_values(event.external_ids),
    }
    scope.batch.after.append(
        lambda connection: connection.execute(
            text(
                "UPDATE message SET deleted_at = :at WHERE workspace_id = :workspace AND channel_id = :channel "
                "AND direction = 'in' AND external_id IN (SELECT e.value ->> 'v' FROM json_each(:ids) e) "
                "AND external_id <> ''"
            ),
            values,
        )
        and None
    )
