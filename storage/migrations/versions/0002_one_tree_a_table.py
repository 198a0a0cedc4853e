"""Schema 0002: on SQLite one tree a table.

Keys were BIGINT, so SQLite kept a row number of its own beside each and a second tree to find it by: every row was
written twice. A single integer key becomes the row number itself, composite keys become the table. PostgreSQL knows
no such difference. SQLite cannot change a key (https://sqlite.org/lang_altertable.html): each table is made anew, and
takes its rows over in the order of the new key.
"""

from __future__ import annotations

import re

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Composite keys of small rows, with the columns in their order.
CLUSTERED = {
    "consent_state": "identity_id, purpose",
    "contact_tag": "contact_id, tag",
    "flow_channel": "flow_id, channel_id",
    "identity_key": "channel_id, external_key",
    "revision": "workspace_id, subject",
    "seen": 'channel_id, "key"',
    "status_orphan": "channel_id, external_id, status",
    "stop": "workspace_id, scope, target_id",
    "suppression": "workspace_id, external_key, purpose",
    "uploaded_media": "channel_id, media_key",
}
_SINGLE = re.compile(r"PRIMARY KEY \((id|identity_id)\)")


def upgrade() -> None:
    """To this version."""
    context = op.get_context()
    if context.dialect.name != "sqlite" or context.as_sql:  # printed statements cannot look at what is there
        return
    connection = op.get_bind()
    # Tables that others point to are away for a moment, and a new name must not follow into others' references.
    connection.execute(sa.text("PRAGMA defer_foreign_keys=ON"))
    connection.execute(sa.text("PRAGMA legacy_alter_table=ON"))
    tables = connection.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'table'")).all()
    for name, statement in tables:
        changed, order = _changed(name, statement)
        if changed != statement:
            _made_anew(connection, name, changed, order)
    connection.execute(sa.text("PRAGMA legacy_alter_table=OFF"))


def downgrade() -> None:
    """To the version before: the program before reads this schema as it is."""


def _changed(name: str, statement: str) -> tuple[str, str]:
    """How the table is made from now on, and the order of its rows."""
    if name in CLUSTERED and "WITHOUT ROWID" not in statement:
        return f"{statement.rstrip()} WITHOUT ROWID", CLUSTERED[name]
    single = _SINGLE.search(statement)
    if single is None:
        return statement, ""
    return re.sub(rf"(?m)^(\s*{single[1]}) BIGINT NOT NULL", r"\1 INTEGER NOT NULL", statement), single[1]


def _made_anew(connection: sa.Connection, name: str, statement: str, order: str) -> None:
    indexes = connection.execute(
        sa.text(
            "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = :name AND sql IS NOT NULL"
        ),
        {"name": name},
    ).scalars()
    make_again = list(indexes)
    before = f"{name}_before"
    connection.exec_driver_sql(f'ALTER TABLE "{name}" RENAME TO "{before}"')
    connection.exec_driver_sql(statement)
    connection.exec_driver_sql(f'INSERT INTO "{name}" SELECT * FROM "{before}" ORDER BY {order}')
    connection.exec_driver_sql(f'DROP TABLE "{before}"')
    for index in make_again:
        connection.exec_driver_sql(index)
