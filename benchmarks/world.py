"""An installation to measure: a store with one business and its channels, and the settings its server starts with.

Everything is made by the same functions that the product uses. Names, tokens and secrets are invented.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, text

from bot import channel_store, flow_store
from domain import ids
from storage.database import Database
from storage.schema import ensure
from storage.sealing import Sealer

SECRET = "benchmark-secret-of-forty-characters-000"
WEBHOOK_SECRET = "benchmark-webhook-secret"
APP_SECRET = "benchmark-app-secret"
SETUP_NODE = ids.MAX_NODE  # servers take the lowest free number
FORM = Path(__file__).with_name("form.yaml")
BUSINESS = '{"purposes":{"marketing":{"version":"1","wording":{"en":"May we write to you about offers?"}}}}'


def clock() -> int:
    """Milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Installation:
    """A prepared store. `port` is free now and will be the server's."""

    folder: Path
    url: str
    workspace: int
    telegram: tuple[int, ...]
    whatsapp: int
    port: int
    sealer: Sealer
    new_id: Callable[[], int]

    def environment(self, **given: str) -> dict[str, str]:
        """The server's settings; `given` by their names without the prefix."""
        values = {
            "DATABASE_URL": self.url,
            "DATA_DIR": str(self.folder),
            "SECRET_KEY": SECRET,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "PUBLIC_URL": f"http://127.0.0.1:{self.port}",
            "LOG_LEVEL": "error",
            **given,
        }
        return {f"PASSAPAROLA_{name}": value for name, value in values.items()}

    def path(self, kind: str, channel: int) -> str:
        """Where the platform delivers."""
        return f"/webhooks/{kind}/{ids.to_text('channel', channel)}"


async def prepare(
    folder: Path,
    *,
    url: str = "",
    bots: int = 1,
    first_bot: int = 0,
    flow: bool = True,
    mode: str = "webhook",
    bulk_per_second: int = 30,
) -> Installation:
    """A migrated store with a workspace, `bots` Telegram channels, one WhatsApp number and, if wished, the form.

    The bots' tokens are those of `token(first_bot)` and the following: installations that share a simulator differ
    there.
    """
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 (nothing else runs here meanwhile)
    url = url or f"sqlite:///{folder / 'passaparola.sqlite3'}"
    sealer = Sealer(SECRET)
    new_id = ids.IdMaker(SETUP_NODE, clock).next
    workspace = new_id()

    def fill(connection: Connection) -> tuple[Sequence[int], int]:
        connection.execute(
            text(
                "INSERT INTO workspace (id, workspace_id, name, locale, timezone, state, encrypt_personal, business, "
                "created_at) VALUES (:id, :id, 'Corner Bakery', 'en', 'Europe/Rome', 'active', 0, :business, 0)"
            ),
            {"id": workspace, "business": BUSINESS},
        )
        telegram = [
            _channel(
                connection,
                "telegram",
                f"bot {n}",
                {
                    "token": token(n),
                    "webhook_secret": WEBHOOK_SECRET,
                    "bulk_per_second": str(bulk_per_second),
                },
                mode,
            )
            for n in range(first_bot, first_bot + bots)
        ]
        number = {
            "phone_number_id": "100000000000001",
            "business_account_id": "100000000000002",
            "access_token": "TEST-access-token",
            "app_secret": APP_SECRET,
            "verify_token": "TEST-verify-token",
        }
        whatsapp = _channel(connection, "whatsapp", "number", number, "webhook")
        if flow:
            flow_store.publish(
                connection,
                workspace_id=workspace,
                source=FORM.read_text(),
                name="form",
                new_id=new_id,
                now=clock(),
            )
        return telegram, whatsapp

    def _channel(connection: Connection, kind: str, name: str, values: dict[str, str], mode: str) -> int:
        return channel_store.add(
            connection,
            workspace_id=workspace,
            kind=kind,
            name=name,
            values=values,
            mode=mode,
            sealer=sealer,
            new_id=new_id,
            now=clock(),
        )

    async with opened(url) as database:
        await ensure(database)
        telegram, whatsapp = await database.write(fill)
    return Installation(folder, url, workspace, tuple(telegram), whatsapp, free_port(), sealer, new_id)


def token(number: int) -> str:
    """The token of the n-th bot."""
    return f"{110201543 + number}:TEST-benchmark-token-{number}"


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """The store, for setting up and for looking at what a server has written."""
    database = await Database.open(url)
    try:
        yield database
    finally:
        await database.close()


def free_port() -> int:
    """A port that nobody listens on now: the server's public address must be known before it starts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(
    look: Callable[[], Awaitable[int]], reached: Callable[[int], bool], what: str, *, limit_s: float = 60.0
) -> int:
    """Looks every 20 ms until the number is as wished; gives it. Raises TimeoutError naming what it waited for."""
    deadline = time.monotonic() + limit_s
    while not reached(found := await look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: still {found} after {limit_s:.0f} s")
        await asyncio.sleep(0.02)
    return found
