"""People and programs: add a team member, add an API key."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from config.operations import Context, Result, operation
from crm import accounts
from domain import ids


class AddUser(msgspec.Struct, forbid_unknown_fields=True):
    """A team member."""

    email: str
    role: str


class AddKey(msgspec.Struct, forbid_unknown_fields=True):
    """No scopes: all of them."""

    name: str
    scopes: list[str] = msgspec.field(default_factory=list)


def sign_in_url(base_url: str, token: str) -> str:
    """The page that a one-time link opens."""
    return f"{base_url}/console/sign-in/{token}"


@operation("user.add", AddUser)
async def add_user(context: Context, arguments: AddUser) -> Result:
    """A new team member, with a link for the first sign-in."""

    def write(connection: Connection) -> tuple[int, str]:
        given = {"workspace_id": context.workspace_id, "now": context.now}
        user_id = accounts.add_user(
            connection, email=arguments.email, role=arguments.role, new_id=context.new_id, **given
        )
        accounts.audit(
            connection,
            actor="command",
            action="user.add",
            target=ids.to_text("user", user_id),
            detail={"role": arguments.role},
            new_id=context.new_id,
            **given,
        )
        return user_id, accounts.make_sign_in_link(connection, user_id=user_id, **given)

    user_id, token = await context.app.database.write(write)
    return {"id": ids.to_text("user", user_id), "sign_in_url": sign_in_url(context.app.base_url, token)}


@operation("apikey.add", AddKey)
async def add_key(context: Context, arguments: AddKey) -> Result:
    """A new API key; it is shown here and nowhere else."""

    workspace_id, new_id, now = context.workspace_id, context.new_id, context.now

    def write(connection: Connection) -> tuple[int, str]:
        key_id, key = accounts.add_key(
            connection,
            workspace_id=workspace_id,
            name=arguments.name,
            scopes=arguments.scopes,
            new_id=new_id,
            now=now,
        )
        target = ids.to_text("api_key", key_id)
        accounts.audit(
            connection,
            workspace_id=workspace_id,
            actor="command",
            action="apikey.add",
            target=target,
            new_id=new_id,
            now=now,
        )
        return key_id, key

    key_id, key = await context.app.database.write(write)
    return {"id": ids.to_text("api_key", key_id), "key": key}
