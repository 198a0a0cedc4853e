"""A small town for integration tests: both platforms simulated in this process, and a real application over HTTP.

`Town.open(tmp_path, url)` starts the simulators and the application on free ports; channels are added the way the
command adds them, and people write through the simulators. Nothing is mocked.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import msgspec
from aiohttp.test_utils import TestServer
from sqlalchemy import text

from bot import channel_store, flow_store
from config.bootstrap import App, build
from config.settings import Settings
from domain import ids
from simulators.app import build_app
from simulators.control import SimulatorControl
from simulators.world import WORLD
from storage.database import rows_of

BOT = "110201543:TEST-abcdefghijklmnopqrstuvwxyz0123456"
WEBHOOK_SECRET = "test-webhook-secret"
APP_SECRET = "test-app-secret"
VERIFY = "test-verify-token"
ACCESS = "EAATEST-access-token"
NUMBER = "106540352240001"
BUSINESS = "102290129340001"
ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 20.0

BUSINESS_JSON: dict[str, Any] = {
    "purposes": {
        "marketing": {
            "version": "1",
            "wording": {"it": "Posso scriverti le novità?", "en": "May I send you news?"},
        }
    }
}


class Town:
    """See the module. Attributes: `app` (running), `simulators` (their control), `workspace_id`."""

    app: App
    simulators: SimulatorControl
    workspace_id: int

    def __init__(self, folder: Path, url: str, *, clock: Callable[[], int] | None = None) -> None:
        """`clock` gives ms since 1970 UTC: the application's, when it is not the machine's own."""
        self.clock = clock
        self.folder = folder
        self.url = url
        self.port = free_port()
        self.channel_ids: dict[str, int] = {}
        self._sim: TestServer | None = None

    async def __aenter__(self) -> Self:
        self._sim = TestServer(build_app())
        await self._sim.start_server()
        self.origin = str(self._sim.make_url("")).rstrip("/")
        self.simulators = SimulatorControl(self.origin)
        await self.simulators.limits("telegram", enabled=False)
        await self.simulators.limits("whatsapp", enabled=False)
        await self.start()
        self.workspace_id = await self.app.database.write(self._make_workspace)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.app.stop()
        await self.simulators.close()
        assert self._sim is not None
        await self._sim.close()

    def settings(self) -> Settings:
        """The settings of the application; the port is found once and kept over restarts."""
        return Settings(
            database_url=self.url,
            data_dir=self.folder,
            port=self.port,
            public_url=f"http://127.0.0.1:{self.port}",
            telegram_api_url=self.origin,
            whatsapp_api_url=self.origin,
            _env_file=None,
        )

    async def start(self) -> None:
        """Starts the application (again)."""
        self.app = build(self.settings(), clock=self.clock)
        await self.app.start()

    def _make_workspace(self, connection: Any) -> int:
        existing = connection.execute(text("SELECT min(id) FROM workspace")).scalar()
        if existing:
            return int(existing)
        workspace_id = self.app.runtime.new_id()
        connection.execute(
            text(
                "INSERT INTO workspace (id, workspace_id, name, locale, timezone, state, encrypt_personal, business, "
                "created_at) VALUES (:id, :id, 'Bottega Esempio', 'it', 'Europe/Rome', 'active', 0, :business, 0)"
            ),
            {"id": workspace_id, "business": msgspec.json.encode(BUSINESS_JSON).decode()},
        )
        return workspace_id

    def crowd(self, first: int, count: int, *, token: str = BOT) -> range:
        """Many people who have opened the chat with a bot long ago."""
        assert self._sim is not None
        spec = {"first": first, "count": count, "bot": token, "language_code": "it"}
        self._sim.app[WORLD].networks["telegram"].seed({"crowds": [spec]})
        return range(first, first + count)

    # --- what the owner does

    async def telegram(self, *, mode: str = "webhook", token: str = BOT) -> int:
        """A Telegram bot, known to the simulator and connected here."""
        await self.simulators.telegram_bot(token, username="bottega_bot", name="Bottega")
        channel_id = await self._add(
            "telegram",
            f"telegram {token[-4:]}",
            {"token": token, "webhook_secret": WEBHOOK_SECRET},
            mode,
        )
        if mode == "webhook":

            async def registered() -> bool:
                async with self.app.session.post(f"{self.origin}/bot{token}/getWebhookInfo") as response:
                    return bool((await response.json())["result"]["url"])

            await until(registered, "the webhook is registered")
        return channel_id

    async def whatsapp(self, *, number: str = NUMBER, messages_per_second: int = 80) -> int:
        """A WhatsApp number, connected by its handshake."""
        values = {
            "messages_per_second": str(messages_per_second),
            "phone_number_id": number,
            "business_account_id": BUSINESS,
            "access_token": ACCESS,
            "app_secret": APP_SECRET,
            "verify_token": VERIFY,
        }
        await self.simulators.whatsapp_number(
            phone_number_id=number,
            business_account_id=BUSINESS,
            display_phone_number=f"+1555555{number[-4:]}",
            access_token=ACCESS,
            app_secret=APP_SECRET,
            verify_token=VERIFY,
        )
        channel_id = await self._add("whatsapp", f"whatsapp {number[-4:]}", values, "webhook")

        async def registered() -> bool:
            url = f"{self.origin}/v25.0/{number}?fields=webhook_configuration"
            headers = {"Authorization": f"Bearer {ACCESS}"}
            async with self.app.session.get(url, headers=headers) as response:
                return self.webhook(channel_id) in await response.text()

        await until(registered, "the webhook is registered")
        return channel_id

    async def _add(self, kind: str, name: str, values: dict[str, str], mode: str) -> int:
        app = self.app

        def add(connection: Any) -> int:
            return channel_store.add(
                connection,
                workspace_id=self.workspace_id,
                kind=kind,
                name=name,
                values=values,
                mode=mode,
                sealer=app.sealer,
                new_id=app.runtime.new_id,
                now=app.clock(),
            )

        channel_id = await app.database.write(add)
        await app.live.reload()
        self.channel_ids[kind] = channel_id
        return channel_id

    async def publish(self, source: str, name: str = "flow") -> int:
        """Publishes a flow; gives its version id."""
        app = self.app
        published = await app.database.write(
            lambda c: flow_store.publish(
                c,
                workspace_id=self.workspace_id,
                source=source,
                name=name,
                new_id=app.runtime.new_id,
                now=app.clock(),
            )
        )
        await app.live.reload()
        return published.version_id

    async def publish_lead(self) -> int:
        """The gallery's lead form."""
        return await self.publish((ROOT / "gallery/lead/flow.yaml").read_text(), "lead")

    def webhook(self, channel_id: int) -> str:
        """Our endpoint for a channel."""
        kind = "whatsapp"
        channel = self.app.live.channels.get(channel_id)
        if channel is not None:
            kind = channel.kind.kind
        return f"http://127.0.0.1:{self.app.port}/webhooks/{kind}/{ids.to_text('channel', channel_id)}"

    # --- what a test looks at

    async def rows(self, sql: str, **parameters: Any) -> list[Any]:
        """Rows of our database."""
        return list(await self.app.database.read(lambda c: rows_of(c, sql, parameters)))

    async def value(self, sql: str, **parameters: Any) -> Any:
        """The first column of the first row."""
        rows = await self.rows(sql, **parameters)
        return rows[0][0] if rows else None

    async def settle(self) -> None:
        """Waits until nothing is open, nothing waits to be sent."""

        async def quiet() -> bool:
            open_ = await self.value("SELECT count(*) FROM intake WHERE state = 0")
            waiting = await self.value("SELECT count(*) FROM outbox")
            return not open_ and not waiting

        await until(quiet, "everything handled and sent")

    async def telegram_texts(self, person: int, count: int, token: str = BOT) -> list[str]:
        """What the bot has written to a person, once it is at least `count` messages."""
        return [
            m.get("text") or m.get("caption") or ""
            for m in await self.telegram_messages(person, count, token)
        ]

    async def telegram_messages(self, person: int, count: int, token: str = BOT) -> list[dict[str, Any]]:
        """The bot's messages to a person, once there are at least `count`."""
        found: list[dict[str, Any]] = []

        async def enough() -> bool:
            nonlocal found
            messages = await self.simulators.telegram_messages(token, person)
            found = [m for m in messages if m.get("from", {}).get("is_bot")]
            return len(found) >= count

        await until(enough, f"{count} messages to {person}", lambda: f"there are {len(found)}")
        return found


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(
    condition: Callable[[], Awaitable[bool]],
    what: str,
    detail: Callable[[], str] = lambda: "",
    *,
    within_s: float = WAIT_S,
    every_s: float = 0.01,
) -> None:
    """Waits for a condition of real processes, with a deadline; looks every few milliseconds."""
    deadline = time.monotonic() + within_s
    while not await condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:.0f} s: {what} {detail()}".rstrip())
        await asyncio.sleep(every_s)
