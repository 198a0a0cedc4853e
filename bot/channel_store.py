"""Channels as the running process knows them: loaded at once, looked up without I/O, reloaded when they change.

Secrets are sealed in their row and opened here, for the process's memory only. Writes raise the revision of
`channels`, so that other processes notice within a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from bot.channels.base import Capabilities, Credentials, channel_of
from bot.channels.base import Channel as ChannelKind
from flows.channel import ChannelView
from storage.sealing import Sealer

_decode = msgspec.json.decode


@dataclass(frozen=True)
class ConnectedChannel:
    """One connected bot or number. `credentials` hold its open secrets."""

    id: int
    workspace_id: int
    kind: ChannelKind
    name: str
    state: str
    mode: str
    account: str
    business_account: str
    secret_group: str
    credentials: Credentials
    capabilities: Capabilities
    poll_offset: int
    referral_key: str = field(default="", repr=False)
    learned: Mapping[str, str] = field(default_factory=dict)  # its public name, where the platform told it

    @cached_property
    def view(self) -> ChannelView:
        """The channel as flows see it."""
        rows = self.capabilities.list_rows
        return ChannelView(
            self.kind.kind,
            name=self.name,
            link=self.kind.link({**self.learned, **self.credentials.values}),
            choices=max(self.capabilities.buttons.count, rows.rows if rows else 0),
            key=self.referral_key,
        )


def referral_key_of(sealer: Sealer, workspace_id: int) -> str:
    """The key that makes and proves a workspace's referral codes."""
    return sealer.keyed_hash("referral", str(workspace_id))


class ChannelStore:
    """The process's view of all channels."""

    def __init__(self, sealer: Sealer, defaults: Mapping[str, Mapping[str, str]]) -> None:
        """`defaults`: kind → values that hold where a channel's own settings say nothing (an API version)."""
        self._sealer = sealer
        self._defaults = defaults
        self.loaded = 0  # rises with every load
        self._by_id: dict[int, ConnectedChannel] = {}
        self._by_account: dict[tuple[int, str, str, str], ConnectedChannel] = {}

    def get(self, channel_id: int) -> ConnectedChannel | None:
        """The channel, whatever its state."""
        return self._by_id.get(channel_id)

    def all(self) -> list[ConnectedChannel]:
        """Every channel of the installation."""
        return list(self._by_id.values())

    def of_account(self, endpoint: ConnectedChannel, account: str) -> ConnectedChannel | None:
        """The channel that an item was meant for: same workspace, kind and app secret as the endpoint it came to."""
        if not account or account in (endpoint.account, endpoint.business_account):
            return endpoint
        return self._by_account.get(
            (endpoint.workspace_id, endpoint.kind.kind, endpoint.secret_group, account)
        )

    def load(self, connection: Connection) -> None:
        """Reads all channels anew."""
        rows = connection.execute(
            text(
                "SELECT id, workspace_id, kind, name, state, mode, account, business_account, secret_group, secrets, "
                "config, poll_offset, health FROM channel ORDER BY id"
            )
        ).all()
        by_id = {row.id: self._open(dict(row._mapping)) for row in rows}
        by_account: dict[tuple[int, str, str, str], ConnectedChannel] = {}
        for channel in by_id.values():
            for account in (channel.account, channel.business_account):
                if account:
                    key = (channel.workspace_id, channel.kind.kind, channel.secret_group, account)
                    by_account.setdefault(key, channel)
        self._by_id, self._by_account = by_id, by_account
        self.loaded += 1

    def _open(self, row: Mapping[str, Any]) -> ConnectedChannel:
        sealed = self._sealer.open(row["secrets"], table="channel", row=row["id"], column="secrets")
        own = {k: v for k, v in {**_decode(row["config"]), **_decode(sealed)}.items() if v != ""}
        values: dict[str, str] = {**self._defaults.get(row["kind"], {}), **own}
        accounts = tuple(a for a in (row["account"], row["business_account"]) if a)
        return ConnectedChannel(
            id=row["id"],
            workspace_id=row["workspace_id"],
            kind=channel_of(row["kind"]),
            name=row["name"],
            state=row["state"],
            mode=row["mode"],
            account=row["account"],
            business_account=row["business_account"],
            secret_group=row["secret_group"],
            credentials=Credentials(values, accounts),
            capabilities=channel_of(row["kind"]).capabilities(values),
            poll_offset=row["poll_offset"],
            referral_key=referral_key_of(self._sealer, row["workspace_id"]),
            learned=_decode(row["health"]).get("public_name", {}),
        )


def add(
    connection: Connection,
    *,
    workspace_id: int,
    kind: str,
    name: str,
    values: Mapping[str, str],
    mode: str,
    sealer: Sealer,
    new_id: Callable[[], int],
    now: int,
) -> int:
    """Stores a new channel; gives its id. `values` are the checked config plus generated secrets, as text."""
    handler = channel_of(kind)
    channel_id = new_id()
    secrets = {key: value for key, value in values.items() if key in handler.secret_fields}
    config = {key: value for key, value in values.items() if key not in handler.secret_fields}
    accounts = [*handler.account_ids(values), "", ""]
    connection.execute(
        text(
            "INSERT INTO channel (id, workspace_id, kind, name, state, state_reason, mode, account, business_account, "
            "secrets, secret_group, config, poll_offset, health, created_at) VALUES (:id, :workspace_id, :kind, :name, "
            "'active', '', :mode, :account, :business_account, :secrets, :secret_group, :config, 0, '{}', :now)"
        ),
        {
            "id": channel_id,
            "workspace_id": workspace_id,
            "kind": kind,
            "name": name,
            "mode": mode,
            "account": accounts[0],
            "business_account": accounts[1],
            "secrets": seal_values(sealer, channel_id, secrets),
            "secret_group": sealer.keyed_hash(
                "secret group", kind, values.get("app_secret") or str(channel_id)
            ),
            "config": msgspec.json.encode(config).decode(),
            "now": now,
        },
    )
    raise_revision(connection, "channels")
    return channel_id


def learn(connection: Connection, channel_id: int, told: Mapping[str, str]) -> None:
    """Keeps what the platform told of the channel's public name, beside what the owner gave."""
    health = {"public_name": dict(told)}
    connection.execute(
        text("UPDATE channel SET health = :health WHERE id = :id"),
        {"health": msgspec.json.encode(health).decode(), "id": channel_id},
    )
    raise_revision(connection, "channels")


def change(
    connection: Connection,
    channel_id: int,
    kind: str,
    *,
    values: Mapping[str, str],
    mode: str,
    sealer: Sealer,
) -> None:
    """Replaces a channel's settings; `values` as in `add`, the secrets that we made included."""
    handler = channel_of(kind)
    secrets = {key: value for key, value in values.items() if key in handler.secret_fields}
    config = {key: value for key, value in values.items() if key not in handler.secret_fields}
    accounts = [*handler.account_ids(values), "", ""]
    connection.execute(
        text(
            "UPDATE channel SET mode = :mode, account = :account, business_account = :business_account, "
            "secrets = :secrets, secret_group = :secret_group, config = :config, health = '{}' WHERE id = :id"
        ),
        {
            "id": channel_id,
            "mode": mode,
            "account": accounts[0],
            "business_account": accounts[1],
            "secrets": seal_values(sealer, channel_id, secrets),
            "secret_group": sealer.keyed_hash(
                "secret group", kind, values.get("app_secret") or str(channel_id)
            ),
            "config": msgspec.json.encode(config).decode(),
        },
    )
    raise_revision(connection, "channels")


def seal_values(sealer: Sealer, channel_id: int, secrets: Mapping[str, str]) -> str:
    """A channel's secrets as they lie in its row."""
    return sealer.seal(msgspec.json.encode(dict(secrets)), table="channel", row=channel_id, column="secrets")


def set_state(connection: Connection, channel_id: int, state: str, reason: str) -> None:
    """active | stopped | deleting; a stopped channel sends nothing until a person starts it again."""
    connection.execute(
        text(
            "UPDATE channel SET state = :state, state_reason = :reason WHERE id = :id AND state <> 'deleting'"
        ),
        {"state": state, "reason": reason, "id": channel_id},
    )
    raise_revision(connection, "channels")


def raise_revision(connection: Connection, subject: str) -> None:
    """Tells every process that it has to read `subject` anew."""
    connection.execute(
        text(
            "INSERT INTO revision (workspace_id, subject, number) VALUES (0, :subject, 1) "
            "ON CONFLICT (workspace_id, subject) DO UPDATE SET number = revision.number + 1"
        ),
        {"subject": subject},
    )


def revisions(connection: Connection) -> dict[str, int]:
    """The current revision of every subject."""
    return {
        row.subject: row.number
        for row in connection.execute(text("SELECT subject, number FROM revision")).all()
    }
