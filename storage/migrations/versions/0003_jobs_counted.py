"""Schema 0003: jobs counted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
contract = None  # what this takes away is unused by programs that know this version (checks/migrations.py)


def upgrade() -> None:
    """To this version."""
    op.create_index(
        "job_done",
        "job",
        ["updated_at"],
        unique=False,
        sqlite_where=sa.text("state = 2"),
        postgresql_where=sa.text("state = 2"),
    )
    op.create_index(
        "job_failed",
        "job",
        ["id"],
        unique=False,
        sqlite_where=sa.text("state = 1"),
        postgresql_where=sa.text("state = 1"),
    )


def downgrade() -> None:
    """Back to the version before."""
    op.drop_index(
        "job_failed",
        table_name="job",
        sqlite_where=sa.text("state = 1"),
        postgresql_where=sa.text("state = 1"),
    )
    op.drop_index(
        "job_done", table_name="job", sqlite_where=sa.text("state = 2"), postgresql_where=sa.text("state = 2")
    )
