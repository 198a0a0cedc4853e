"""Connecting a channel: what the owner gives is checked against the kind's own settings, our secrets are made, the row
is stored; and what people see of channels afterwards, which never is a secret.

A kind's settings are declared once, in `bot/channels/<kind>/config.py`. No platform is called here.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct
from pydantic import SecretStr, ValidationError
from sqlalchemy import Connection, text

from bot import channel_store
from bot.channels.base import channel_of
from domain.errors import Conflict, NotFound, RejectedInput
from storage.sealing import Sealer

SECRET_BYTES = 32
MAX_NAME = 100
MODES = ("webhook", "polling")


class ChannelView(Struct, frozen=True, kw_only=True):
    """A channel as people see it. `settings`: the open ones; `account`: the platform's own id of it."""

    id: int
    kind: str
    name: str
    state: str
    state_reason: str
    mode: str
    account: str
    settings: dict[str, Any]
    created_at: int


def checked_values(
    kind: str, given: Mapping[str, Any], *, where: Callable[[str], str] = str
) -> dict[str, str]:
    """A channel's values as text, defaults included. Raises RejectedInput naming the setting, never a value."""
    model = channel_of(kind).config
    try:
        made = model.model_validate(dict(given))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        name = str(fault["loc"][0]) if fault["loc"] else ""
        raise RejectedInput(
            _said(fault["type"], fault["msg"], kind, fault.get("ctx", {})), where=where(name)
        ) from None
    return {name: _text(getattr(made, name)) for name in model.model_fields}


def connect(
    connection: Connection,
    workspace_id: int,
    *,
    kind: str,
    name: str,
    given: Mapping[str, Any],
    mode: str,
    sealer: Sealer,
    new_id: Callable[[], int],
    now: int,
    where: Callable[[str], str] = str,
) -> int:
    """Stores a new channel; gives its id. Raises RejectedInput, and Conflict when the name is taken."""
    if not 0 < len(name.strip()) <= MAX_NAME:
        raise RejectedInput(f"must have 1 to {MAX_NAME} characters", where="name")
    if mode not in MODES:
        raise RejectedInput(f"must be one of {', '.join(MODES)}", where="mode")
    if "mode" in channel_of(kind).config.model_fields:
        given = {**given, "mode": mode}
    values = checked_values(kind, given, where=where)
    if mode == "polling" and not channel_of(kind).capabilities(values).polling:
        raise RejectedInput(f"a {kind} channel has no polling", where="mode")
    values |= {secret: secrets.token_urlsafe(SECRET_BYTES) for secret in channel_of(kind).generated_secrets}
    taken = connection.execute(
        text("SELECT 1 FROM channel WHERE workspace_id = :workspace AND name = :name"),
        {"workspace": workspace_id, "name": name.strip()},
    ).first()
    if taken is not None:
        raise Conflict("there is a channel of this name already")
    account = next(iter(channel_of(kind).account_ids(values)), "")
    double = connection.execute(
        text(
            "SELECT name FROM channel WHERE workspace_id = :workspace AND kind = :kind AND account = :account "
            "AND account <> '' AND state <> 'deleting'"
        ),
        {"workspace": workspace_id, "kind": kind, "account": account},
    ).first()
    if double is not None:  # two of one account would take each other's messages
        raise Conflict(f"this account is connected already, as the channel {double.name!r}")
    return channel_store.add(
        connection,
        workspace_id=workspace_id,
        kind=kind,
        name=name.strip(),
        values=values,
        mode=mode,
        sealer=sealer,
        new_id=new_id,
        now=now,
    )


def default_mode(kind: str, *, reachable: bool) -> str:
    """How a new channel receives when nobody says it: by webhook where platforms reach us, or where there is no other
    way. Raises RejectedInput for an unknown kind."""
    polls = channel_of(kind).capabilities({}).polling
    return "polling" if polls and not reachable else "webhook"


def channels(connection: Connection, workspace_id: int) -> list[ChannelView]:
    """The workspace's channels in the order in which they were made."""
    rows = connection.execute(
        text(f"{_SELECT} WHERE workspace_id = :workspace ORDER BY id"), {"workspace": workspace_id}
    ).all()
    return [_view(row) for row in rows]


def channel(connection: Connection, workspace_id: int, channel_id: int) -> ChannelView:
    """One channel. Raises NotFound."""
    row = connection.execute(
        text(f"{_SELECT} WHERE workspace_id = :workspace AND id = :id"),
        {"workspace": workspace_id, "id": channel_id},
    ).one_or_none()
    if row is None:
        raise NotFound("there is no such channel")
    return _view(row)


def pause(connection: Connection, workspace_id: int, channel_id: int, *, reason: str = "") -> None:
    """Stops sending over a channel; what comes in is still taken. Raises NotFound, Conflict."""
    _set_state(connection, workspace_id, channel_id, "stopped", reason)


def start(connection: Connection, workspace_id: int, channel_id: int) -> None:
    """A stopped channel sends again. Raises NotFound, Conflict."""
    _set_state(connection, workspace_id, channel_id, "active", "")


def _set_state(connection: Connection, workspace_id: int, channel_id: int, state: str, reason: str) -> None:
    if channel(connection, workspace_id, channel_id).state == "deleting":
        raise Conflict("this channel is being deleted")
    channel_store.set_state(connection, channel_id, state, reason)


_SELECT = "SELECT id, kind, name, state, state_reason, mode, account, config, created_at FROM channel"


def _view(row: Any) -> ChannelView:
    settings: dict[str, Any] = msgspec.json.decode(row.config)
    secret = channel_of(row.kind).secret_fields
    return ChannelView(
        id=row.id,
        kind=row.kind,
        name=row.name,
        state=row.state,
        state_reason=row.state_reason,
        mode=row.mode,
        account=row.account,
        settings={
            key: value for key, value in settings.items() if key not in (*secret, "mode") and value != ""
        },
        created_at=row.created_at,
    )


def _text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _said(fault: str, message: str, kind: str, limits: Mapping[str, Any]) -> str:
    if fault == "missing":
        return "is missing"
    if fault == "extra_forbidden":
        return (
            f"a {kind} channel has no such setting; it has {', '.join(channel_of(kind).config.model_fields)}"
        )
    if fault == "string_pattern_mismatch":
        return "does not have the form that the platform gives it"
    if fault in ("too_short", "string_too_short"):
        return f"must have at least {limits['min_length']} characters"
    if fault in ("too_long", "string_too_long"):
        return f"at most {limits['max_length']} characters"
    return message.removeprefix("Value error, ").removeprefix("Input ")
