"""Schema 0006: events held."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
contract = None  # what this takes away is unused by programs that know this version (checks/migrations.py)


def upgrade() -> None:
    """To this version."""
    op.create_index(
        "intake_held",
        "intake",
        ["channel_id", "intake_key"],
        unique=False,
        sqlite_where=sa.text("state = 3"),
        postgresql_where=sa.text("state = 3"),
    )


def downgrade() -> None:
    """Back to the version before."""
    # Programs of the version before know no held events: theirs are open.
    op.execute("UPDATE intake SET state = 0, not_before = 0 WHERE state = 3")
    op.drop_index(
        "intake_held",
        table_name="intake",
        sqlite_where=sa.text("state = 3"),
        postgresql_where=sa.text("state = 3"),
    )
