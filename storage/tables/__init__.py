"""The tables, one file per subject, without behaviour. Importing this package fills `SQLModel.metadata`.

Conventions: ids are 63-bit integers made by the process (`domain.ids`); every table has `workspace_id` (0: the
installation itself); times are integer milliseconds since 1970 UTC in columns named `…_at`; JSON and sealed
(AES-256-GCM, base64) values are text, so that one bulk statement with one JSON parameter serves SQLite and
PostgreSQL alike; flags are 0 or 1. Foreign keys are (workspace_id, id); the tables of the message path carry none,
because their rows are written by bulk statements that already hold the ids.
"""

from storage.tables import (
    accounts,
    campaigns,
    channels,
    consents,
    contacts,
    conversations,
    flows,
    intake,
    messages,
    outcomes,
    runtime,
    workspaces,
)

__all__ = [
    "accounts",
    "campaigns",
    "channels",
    "consents",
    "contacts",
    "conversations",
    "flows",
    "intake",
    "messages",
    "outcomes",
    "runtime",
    "workspaces",
]
