"""A small world for the tests of campaigns: one workspace, channel and outlet, people with and without consent, and a
hand-driven sender that uses the outbox as the real one does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from sqlalchemy import Connection, text
from sqlmodel import SQLModel

import storage.tables  # noqa: F401  (fills the metadata)
from bot import outbox, settling
from bot.settling import Result
from campaigns import drafts, runs, scheduler
from campaigns.drafts import Draft
from domain.ids import IdMaker
from storage.database import Database, Work
from storage.statements import bulk, json_rows

T = TypeVar("T")
NOW = 1_790_000_000_000  # 2026-09-21, a Monday
WORKSPACE, OTHER_WORKSPACE = 11, 12
CHANNEL, OTHER_CHANNEL = 21, 22
OUTLET = 31
PURPOSE = "marketing"

_CONTACT = {"id": "BIGINT", "first_name": "TEXT", "language": "TEXT", "fields": "TEXT"}
_IDENTITY = {
    "id": "BIGINT",
    "contact_id": "BIGINT",
    "address": "TEXT",
    "state": "TEXT",
    "last_inbound_at": "BIGINT",
}
_CONSENT = {"identity_id": "BIGINT", "contact_id": "BIGINT", "state": "TEXT", "mailable": "SMALLINT"}


class World:
    """One database with people in it. Contact n has identity 100,000 + n and address `tg<n>`."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = NOW
        self.new_id = IdMaker(1, lambda: self.now).next

    @staticmethod
    async def open(url: str) -> World:
        world = World(await Database.open(url))
        await world.do(SQLModel.metadata.create_all)
        await world.do(_settle_in)
        return world

    async def do(self, work: Work[T]) -> T:
        return await self.database.write(work)

    async def people(
        self,
        numbers: Iterable[int],
        *,
        language: str | None = "it",
        consent: str = "granted",
        state: str = "reachable",
        first_name: str = "Anna",
        identity: bool = True,
    ) -> None:
        """Adds contacts with these numbers as ids."""
        ids = list(numbers)

        def add(connection: Connection) -> None:
            insert(
                connection,
                "contact",
                _CONTACT,
                [{"id": n, "first_name": first_name, "language": language, "fields": "{}"} for n in ids],
                workspace_id=WORKSPACE,
                name="''",
                last_name="''",
                source="''",
                created_at=0,
                updated_at=0,
            )
            if identity:
                add_identities(connection, [(100_000 + n, n, f"tg{n}", state, None) for n in ids])
                if consent:
                    add_consents(connection, [(100_000 + n, n) for n in ids], consent)

        await self.do(add)

    async def campaign(self, content: Any = "Ciao", **values: Any) -> int:
        """A draft on the channel."""
        content = content if isinstance(content, dict) and "kind" not in content else {"it": content}
        draft = Draft(**{"name": "Saldi", "channel_id": CHANNEL, "content": content, **values})
        return await self.do(lambda c: drafts.create(c, WORKSPACE, draft, new_id=self.new_id, now=self.now))

    async def started(self, content: Any = "Ciao", **values: Any) -> tuple[int, int]:
        """A campaign that runs, with all its recipients: (campaign id, run id)."""
        campaign = await self.campaign(content, **values)
        run = await self.do(lambda c: runs.start(c, WORKSPACE, campaign, new_id=self.new_id, now=self.now))
        while (await self.tick(scheduler.materialise)).more:
            pass
        return campaign, run

    async def tick(self, tick: Any) -> Any:
        return await self.do(lambda c: tick(c, new_id=self.new_id, now=self.now))

    async def mark(self, limit: int = 1_000) -> dict[int, int]:
        """Marks what is due `sending`, as the sender does; gives message id → attempt."""

        def mark(connection: Connection) -> dict[int, int]:
            due = outbox.due(connection, CHANNEL, now=self.now, limit=limit)
            return outbox.mark(connection, [item.id for item in due], now=self.now)

        return await self.do(mark)

    async def settle(self, marked: dict[int, int], state: str = "sent", **values: Any) -> None:
        """Records what became of attempts."""
        results = [
            Result(id=key, attempt=attempt, state=state, at=self.now, **values)
            for key, attempt in marked.items()
        ]
        await self.do(lambda c: settling.settle(c, results, new_id=self.new_id, now=self.now))

    async def rows(self, sql: str, **values: Any) -> list[Any]:
        return await self.database.read(lambda c: list(c.execute(text(sql), values).all()))


def add_identities(connection: Connection, rows: list[tuple[int, int, str, str, int | None]]) -> None:
    """(id, contact id, address, state, last inbound) on CHANNEL."""
    insert(
        connection,
        "identity",
        _IDENTITY,
        [dict(zip(_IDENTITY, row, strict=True)) for row in rows],
        workspace_id=WORKSPACE,
        channel_id=CHANNEL,
        kind="'telegram_user'",
        display_name="''",
        marketing_day=0,
        marketing_count=0,
        salt="''",
        created_at=0,
    )


def add_consents(connection: Connection, rows: list[tuple[int, int]], state: str) -> None:
    """(identity id, contact id) for PURPOSE."""
    insert(
        connection,
        "consent_state",
        _CONSENT,
        [
            {"identity_id": i, "contact_id": c, "state": state, "mailable": int(state == "granted")}
            for i, c in rows
        ],
        workspace_id=WORKSPACE,
        purpose=f"'{PURPOSE}'",
        channel_id=CHANNEL,
        consent_id=1,
        double_opt_in=0,
        changed_at=0,
    )


def insert(
    connection: Connection, table: str, columns: dict[str, str], rows: list[dict[str, Any]], **fixed: Any
) -> None:
    """A bulk insert; `fixed` columns are SQL literals, the same in every row."""
    names = ", ".join([*columns, *fixed])
    literals = {name: str(value) for name, value in fixed.items()}
    statement = f"INSERT INTO {table} ({names}) {json_rows(columns, constants=literals)} WHERE true"
    connection.execute(text(statement), {"rows": bulk(rows)})


def _settle_in(connection: Connection) -> None:
    for workspace in (WORKSPACE, OTHER_WORKSPACE):
        connection.execute(
            text(
                "INSERT INTO workspace (id, workspace_id, name, locale, timezone, state, encrypt_personal, business, "
                "created_at) VALUES (:w, :w, 'Bottega Esempio', 'it', 'Europe/Rome', 'active', 0, '{}', 0)"
            ),
            {"w": workspace},
        )
    for channel, workspace in ((CHANNEL, WORKSPACE), (OTHER_CHANNEL, OTHER_WORKSPACE)):
        connection.execute(
            text(
                "INSERT INTO channel (id, workspace_id, kind, name, state, state_reason, mode, account, "
                "business_account, secrets, secret_group, config, poll_offset, health, created_at) "
                "VALUES (:c, :w, 'telegram', 'Bot', "
                "'active', '', 'webhook', '', '', '', '', '{}', 0, '{}', 0)"
            ),
            {"c": channel, "w": workspace},
        )
    connection.execute(
        text(
            "INSERT INTO outlet (id, workspace_id, channel_id, address, kind, title, state, rights, added_at) "
            "VALUES (:o, :w, :c, '-1001234567890', 'channel', 'Bottega Esempio', 'active', '{}', 0)"
        ),
        {"o": OUTLET, "w": WORKSPACE, "c": CHANNEL},
    )
