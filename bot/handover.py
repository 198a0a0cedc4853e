"""Steering a conversation from outside: people take over, hand back, stop a flow, start one.

Nothing is written to the conversation directly: the wish is an event of that conversation, so that it happens in order
with what the person writes (DESIGN 2.3). The caller wakes the worker after the commit (`signals.notify("intake")`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, text

from bot import intake
from domain.errors import NotFound, RejectedInput
from domain.events import SessionCommand
from storage.sealing import Sealer

COMMANDS = ("take_over", "hand_back", "stop", "start_flow")


def command(
    connection: Connection,
    workspace_id: int,
    conversation_id: int,
    what: str,
    *,
    by: str,
    data: dict[str, Any] | None = None,
    sealer: Sealer,
    new_id: Callable[[], int],
    now: int,
) -> int:
    """Appends the wish to the conversation's events; gives an id for it. Raises NotFound, RejectedInput.

    `data`: for start_flow `{"flow": key, "variables": {…}}`; the flow must be published.
    """
    if what not in COMMANDS:
        raise RejectedInput(f"must be one of {', '.join(COMMANDS)}", where="what")
    row = connection.execute(
        text(
            "SELECT channel_id, slot, intake_key FROM conversation WHERE workspace_id = :workspace AND id = :id"
        ),
        {"workspace": workspace_id, "id": conversation_id},
    ).one_or_none()
    if row is None:
        raise NotFound("there is no such conversation")
    if what == "start_flow":
        _check_flow(connection, workspace_id, str((data or {}).get("flow", "")))
    wish_id = new_id()
    event = SessionCommand(
        key=f"command:{wish_id}",
        occurred_at=now,
        conversation_id=conversation_id,
        what=what,
        data={"by": by, **(data or {})},
    )
    intake.append_own(
        connection,
        [(workspace_id, row.channel_id, row.slot, row.intake_key, event)],
        sealer=sealer,
        new_id=new_id,
        now=now,
    )
    return wish_id


def _check_flow(connection: Connection, workspace_id: int, key: str) -> None:
    found = connection.execute(
        text(
            "SELECT 1 FROM flow WHERE workspace_id = :workspace AND key = :key AND state = 'active' "
            "AND current_version_id <> 0"
        ),
        {"workspace": workspace_id, "key": key},
    ).first()
    if found is None:
        raise RejectedInput("there is no such published flow", where="flow")
