"""Schema 0005: timers know their version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
contract = None  # what this takes away is unused by programs that know this version (checks/migrations.py)


def upgrade() -> None:
    """To this version."""
    # Programs of the version before write timers without it.
    op.add_column("timer", sa.Column("flow_version_id", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Back to the version before."""
    op.drop_column("timer", "flow_version_id")
