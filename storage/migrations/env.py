"""Alembic runs this for every command. The connection comes from `storage.schema`; nothing connects here, and without
a connection the statements are printed (offline mode: `alembic upgrade --sql`)."""

from alembic import context
from sqlalchemy import Connection
from sqlmodel import SQLModel

import storage.tables  # noqa: F401 (fills the metadata)
from storage.schema import ours

connection: Connection | None = context.config.attributes.get("connection")
if connection is None:
    context.configure(
        dialect_name=context.config.get_main_option("dialect") or "sqlite",
        target_metadata=SQLModel.metadata,
        literal_binds=True,
    )
else:
    context.configure(
        connection=connection,
        target_metadata=SQLModel.metadata,
        include_object=ours,
        transactional_ddl=True,  # SQLite too: `storage.schema` has begun the transaction
    )
with context.begin_transaction():
    context.run_migrations()
