"""Messages that were changed or taken back: the rows change, no flow advances."""

from __future__ import annotations

from sqlalchemy import text

from bot.flow_store import FlowStore
from bot.handlers import handles
from bot.scope import Scope
from domain.events import MessageDeleted, MessageEdited
from domain.messages import encode
from storage.statements import bulk_values

_EDIT = text(
    "UPDATE message SET content = :content, edited_at = :now WHERE workspace_id = :workspace "
    "AND channel_id = :channel AND external_id = :external AND external_id <> '' AND direction = 'in'"
)
_DELETE = text(
    "UPDATE message SET deleted_at = :now WHERE workspace_id = :workspace AND channel_id = :channel "
    "AND direction = 'in' AND external_id <> '' "
    "AND external_id IN (SELECT e.value ->> 'v' FROM json_each(:ids) e)"
)


@handles(MessageEdited)
def message_edited(scope: Scope, flows: FlowStore, event: MessageEdited) -> None:
    """The inbound row gets the new content."""
    scope.write_after(_EDIT, {"content": encode(event.content), "external": event.external_id})


@handles(MessageDeleted)
def message_deleted(scope: Scope, flows: FlowStore, event: MessageDeleted) -> None:
    """The rows stay, marked: what was said to a business is not unsaid by the platform."""
    scope.write_after(_DELETE, {"ids": bulk_values(event.external_ids)})
