"""Telegram bots, by webhook and by long polling: https://core.telegram.org/bots/api

`inbound` reads updates, `outbound` makes calls of content, `answers` explains what came of them, `client` carries
the bytes. `facade` is python-telegram-bot's `Bot` for the rare calls; it is imported only when one is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from aiohttp import ClientSession

from bot.channels.base import (
    Account,
    ApiCall,
    Capabilities,
    Credentials,
    Delivery,
    Management,
    Receipt,
    channel,
)
from bot.channels.posting import Poster
from bot.channels.telegram import answers, inbound, outbound, polling
from bot.channels.telegram.client import TelegramClient
from bot.channels.telegram.config import FREE_RATE, TelegramConfig, capabilities
from domain.errors import NotAllowed, SendError
from domain.events import PlatformEvent
from domain.messages import Content, Ephemeral


@channel("telegram")
class Telegram:
    """See `bot.channels.base.Channel`."""

    kind = "telegram"
    label = {"it": "Telegram", "en": "Telegram"}  # noqa: RUF012 - read only
    config = TelegramConfig
    secret_fields = frozenset({"token", "webhook_secret"})
    generated_secrets = ("webhook_secret",)
    signature_headers = (inbound.SECRET_HEADER,)

    def account_ids(self, values: Mapping[str, str]) -> tuple[str, ...]:
        """The bot's user id, which is the part of its token before the colon."""
        return (values["token"].partition(":")[0],)

    def capabilities(self, values: Mapping[str, str]) -> Capabilities:
        return capabilities(float(values.get("bulk_per_second") or FREE_RATE))

    def link(self, values: Mapping[str, str]) -> str:
        """https://core.telegram.org/bots/features#deep-linking: up to 64 letters, digits, _ and -."""
        username = values.get("username", "")
        return f"https://t.me/{username}?start={{}}" if username else ""

    def public_name(self, account: Account) -> dict[str, str]:
        return {"username": account.username} if account.username else {}

    def verify(self, delivery: Delivery, credentials: Credentials) -> None:
        inbound.verify(delivery, credentials)

    def handshake(self, query: Mapping[str, str], credentials: Credentials) -> str:
        raise NotAllowed("Telegram does not ask an endpoint before using it")

    def parse(self, body: bytes) -> list[PlatformEvent]:
        return inbound.parse(body)

    def render(
        self,
        content: Content,
        *,
        address: str,
        topic: str | None = None,
        own_id: int = 0,
        language: str = "en",
        capabilities: Capabilities | None = None,
    ) -> list[ApiCall]:
        return outbound.render(
            content, address=address, topic=topic, own_id=own_id, language=language, capabilities=capabilities
        )

    def render_ephemeral(
        self, ephemeral: Ephemeral, *, address: str, topic: str | None = None
    ) -> ApiCall | None:
        return outbound.render_ephemeral(ephemeral, address=address, topic=topic)

    def explain(self, call: ApiCall, status: int, body: bytes) -> Receipt | SendError:
        return answers.explain(call, status, body)

    def rate_scope(self, address: str) -> Literal["address", "group"]:
        return "address" if outbound.is_person(address) else "group"

    def client(
        self, credentials: Credentials, session: ClientSession, *, origin: str, poster: Poster | None = None
    ) -> TelegramClient:
        return TelegramClient(credentials, session, origin=origin, poster=poster)

    async def fetch(self, client: TelegramClient, offset: int) -> polling.Batch:
        """What came since `offset`, by long polling."""
        return await polling.fetch(client, offset)

    def management(self, credentials: Credentials, session: ClientSession, *, origin: str) -> Management:
        from bot.channels.telegram.facade import TelegramManagement  # 0.8 s of imports, only when needed

        return TelegramManagement(credentials, session, origin=origin)
