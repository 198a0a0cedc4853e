"""Values that flows use by their names: set, list, take away. A value goes in and never comes out."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from bot import secret_store
from config.operations import Context, Result, operation
from crm import accounts

BY = "command"


class SetSecret(msgspec.Struct, forbid_unknown_fields=True):
    """A name and its value."""

    name: str
    value: str

    def __repr__(self) -> str:
        return f"SetSecret({self.name})"


class OneSecret(msgspec.Struct, forbid_unknown_fields=True):
    """A secret by its name."""

    name: str


class NoArguments(msgspec.Struct, forbid_unknown_fields=True):
    """All of them."""


@operation("secret.set", SetSecret)
async def set_secret(context: Context, arguments: SetSecret) -> Result:
    """Sets a secret, or gives one a new value."""

    def write(connection: Connection) -> bool:
        added = secret_store.put(
            connection,
            workspace_id=context.workspace_id,
            name=arguments.name,
            value=arguments.value,
            by=BY,
            sealer=context.app.sealer,
            new_id=context.new_id,
            now=context.now,
        )
        _note(connection, context, "secret.set", arguments.name)
        return added

    return {"name": arguments.name, "added": await context.app.database.write(write)}


@operation("secret.list", NoArguments)
async def list_secrets(context: Context, arguments: NoArguments) -> Result:
    """Their names, who set them, and when."""
    found = await context.app.database.read(lambda c: secret_store.names(c, context.workspace_id))
    return {"secrets": [one._asdict() for one in found]}


@operation("secret.remove", OneSecret)
async def remove_secret(context: Context, arguments: OneSecret) -> Result:
    """Takes a secret away; calls that use it are not made any more."""

    def write(connection: Connection) -> None:
        secret_store.remove(connection, context.workspace_id, arguments.name)
        _note(connection, context, "secret.remove", arguments.name)

    await context.app.database.write(write)
    return {"name": arguments.name, "removed": True}


def _note(connection: Connection, context: Context, action: str, name: str) -> None:
    accounts.audit(
        connection,
        workspace_id=context.workspace_id,
        actor=BY,
        action=action,
        target=name,
        new_id=context.new_id,
        now=context.now,
    )
