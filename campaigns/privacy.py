"""What campaigns hold of a person, for their copy of everything (`/mydata`).

Nothing has to be erased here: a recipient's row holds ids and an outcome, and after erasure the ids lead to nobody. The
rows stay, so that a run's sums stay true; whoever was still pending is skipped as `gone` when their turn comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, text

from campaigns.states import RecipientState
from crm.privacy import exports


@exports("campaigns")
def received(
    connection: Connection, workspace_id: int, contact_id: int, identity_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """The campaigns that were meant for the person, oldest first, and what became of each: by the workspace's runs and
    the recipients' primary key."""
    rows = connection.execute(
        text(
            "SELECT c.name, p.state, p.receipt, p.reason, p.changed_at FROM campaign_run r "
            "JOIN recipient p ON p.run_id = r.id AND p.contact_id = :contact "
            "JOIN campaign c ON c.id = r.campaign_id AND c.workspace_id = r.workspace_id "
            "WHERE r.workspace_id = :workspace ORDER BY r.id"
        ),
        {"workspace": workspace_id, "contact": contact_id},
    ).all()
    return [
        {
            "campaign": row.name,
            "outcome": RecipientState(row.state).name,
            "receipt": ("", "delivered", "read")[row.receipt],
            "reason": row.reason,
            "at": f"{datetime.fromtimestamp(row.changed_at // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
            if row.changed_at
            else "",
        }
        for row in rows
    ]
