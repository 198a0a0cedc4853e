"""A store with all tables, on both databases, and what the crm's functions take as arguments."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar

import pytest
from sqlalchemy import Connection, text
from sqlmodel import SQLModel

import storage.tables  # noqa: F401 (fills the metadata)
from crm.identities import IdentityRequest, ResolvedIdentity, resolve
from domain.events import ExternalId, Person
from storage.database import Database
from storage.sealing import Sealer

T = TypeVar("T")

NOW = 1_797_000_000_000  # 2026-12-11T14:40:00Z, a Friday afternoon
HOUR = 3_600_000
DAY = 24 * HOUR
WORKSPACE = 11
OTHER_WORKSPACE = 12
BOT = 21  # a Telegram channel
NUMBER = 22  # a WhatsApp channel


@dataclass
class Desk:
    """A database and the arguments that most functions want."""

    database: Database
    sealer: Sealer = field(default_factory=lambda: Sealer("test secret that is long enough to be one"))
    ids: Iterator[int] = field(default_factory=lambda: count(1_000))

    async def do(self, work: Callable[[Connection], T]) -> T:
        return await self.database.write(work)

    def new_id(self) -> int:
        return next(self.ids)

    async def rows(self, sql: str, **parameters: object) -> list[tuple[object, ...]]:
        return await self.do(lambda c: [tuple(row) for row in c.execute(text(sql), parameters)])

    async def resolve(self, *requests: IdentityRequest, now: int = NOW) -> list[ResolvedIdentity]:
        return await self.do(
            lambda c: resolve(c, requests, keyed_hash=self.sealer.keyed_hash, new_id=self.new_id, now=now)
        )


def telegram(
    number: int, *, first: str = "Anna", channel: int = BOT, workspace: int = WORKSPACE
) -> IdentityRequest:
    """Somebody who writes to the bot."""
    person = Person(ids=(ExternalId("telegram_user", str(number)),), first_name=first, language="it")
    return IdentityRequest(workspace, channel, "telegram", person, str(number), NOW)


def whatsapp(*, bsuid: str = "", phone: str = "", name: str = "Bruno") -> IdentityRequest:
    """Somebody who writes to the number, with a user id, a phone number, or both."""
    ids = [ExternalId("wa_bsuid", bsuid)] if bsuid else []
    ids += [ExternalId("wa_phone", phone)] if phone else []
    person = Person(ids=tuple(ids), first_name=name, phone=f"+{phone}" if phone else None)
    return IdentityRequest(WORKSPACE, NUMBER, "whatsapp", person, phone or bsuid, NOW)


@pytest.fixture
async def desk(any_database_url: str) -> AsyncIterator[Desk]:
    database = await Database.open(any_database_url)
    desk = Desk(database)
    await desk.do(prepare_tables)
    yield desk
    await database.close()


def prepare_tables(connection: Connection) -> None:
    """All tables, two workspaces, a Telegram and a WhatsApp channel."""
    SQLModel.metadata.create_all(connection)
    for workspace in (WORKSPACE, OTHER_WORKSPACE):
        connection.execute(
            text(
                "INSERT INTO workspace (id, workspace_id, name, locale, timezone, state, encrypt_personal, business,"
                " created_at) VALUES (:id, :id, 'Bar Sport', 'it', 'Europe/Rome', 'active', 0, '{}', 0)"
            ),
            {"id": workspace},
        )
    for channel, kind in ((BOT, "telegram"), (NUMBER, "whatsapp")):
        connection.execute(
            text(
                "INSERT INTO channel (id, workspace_id, kind, name, state, state_reason, mode, account,"
                " business_account, secrets, secret_group, config, poll_offset, health, created_at) VALUES"
                " (:id, :w, :kind, :kind, 'active', '', 'webhook', '', '', '', '', '{}', 0, '{}', 0)"
            ),
            {"id": channel, "w": WORKSPACE, "kind": kind},
        )
