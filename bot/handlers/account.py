"""What a platform tells about our account: templates, quality, limits, restrictions."""

from __future__ import annotations

import msgspec
from sqlalchemy import text

from bot import channel_store
from bot.flow_store import FlowStore
from bot.handlers import handles
from bot.scope import Scope
from domain.events import AccountNotice


@handles(AccountNotice)
def account_notice(scope: Scope, flows: FlowStore, event: AccountNotice) -> None:
    """Templates get their new status, a restriction stops the channel, everything leaves a line that people see."""
    if event.what == "template_status":
        _template(scope, event)
    if event.stops_channel:
        channel_store.set_state(
            scope.connection, scope.channel.id, "stopped", f"the platform says: {event.what}"
        )
    scope.log(event.what, event.severity, msgspec.json.encode(event.data).decode())


def _template(scope: Scope, event: AccountNotice) -> None:
    scope.connection.execute(
        text(
            "UPDATE message_template SET status = :status, updated_at = :now WHERE workspace_id = :workspace "
            "AND channel_id = :channel AND name = :name AND language = :language"
        ),
        {
            "status": str(event.data.get("event") or event.data.get("status") or ""),
            "name": str(event.data.get("message_template_name") or event.data.get("name") or ""),
            "language": str(event.data.get("message_template_language") or event.data.get("language") or ""),
            "now": scope.now,
            "workspace": scope.workspace_id,
            "channel": scope.channel.id,
        },
    )
