"""WhatsApp Business (Cloud API): one connected number is one channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from aiohttp import ClientSession

from bot.channels.base import (
    Account,
    ApiCall,
    Capabilities,
    Client,
    Credentials,
    Delivery,
    Management,
    Receipt,
    channel,
)
from bot.channels.posting import Poster
from bot.channels.whatsapp import inbound, limits, outbound
from bot.channels.whatsapp.client import WhatsAppClient
from bot.channels.whatsapp.config import WhatsAppConfig
from domain.errors import SendError
from domain.events import PlatformEvent
from domain.messages import Content, Ephemeral


@channel("whatsapp")
class WhatsAppChannel:
    """The contract of `bot/channels/base.py`, joined from the modules of this package."""

    kind: str
    label: Mapping[str, str] = {"it": "WhatsApp", "en": "WhatsApp"}
    config = WhatsAppConfig
    secret_fields = frozenset({"access_token", "app_secret", "verify_token"})
    generated_secrets: tuple[str, ...] = ()
    signature_headers = (inbound.SIGNATURE_HEADER,)

    def account_ids(self, values: Mapping[str, str]) -> tuple[str, ...]:
        """The number, then the business account, whose fields concern all its numbers."""
        return values["phone_number_id"], values["business_account_id"]

    def capabilities(self, values: Mapping[str, str]) -> Capabilities:
        return limits.capabilities(int(values.get("messages_per_second") or limits.STANDARD_RATE))

    def link(self, values: Mapping[str, str]) -> str:
        """https://faq.whatsapp.com/5913398998672934: the words stand in the person's own message, ready to be sent."""
        number = values.get("phone_number", "").removeprefix("+")
        return f"https://wa.me/{number}?text=%F0%9F%91%8B%20%28ref%3A{{}}%29" if number else ""

    def public_name(self, account: Account) -> dict[str, str]:
        """The number as people see it, "+1 555-555-0100"."""
        shown = str(account.detail.get("display_phone_number") or "")
        digits = "".join(figure for figure in shown if figure.isascii() and figure.isdigit())
        return {"phone_number": f"+{digits}"} if digits else {}

    def verify(self, delivery: Delivery, credentials: Credentials) -> None:
        inbound.verify(delivery, credentials)

    def handshake(self, query: Mapping[str, str], credentials: Credentials) -> str:
        return inbound.handshake(query, credentials)

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
        return outbound.render(content, address=address, own_id=own_id, language=language)

    def render_ephemeral(
        self, ephemeral: Ephemeral, *, address: str, topic: str | None = None
    ) -> ApiCall | None:
        return outbound.render_ephemeral(ephemeral)

    def explain(self, call: ApiCall, status: int, body: bytes) -> Receipt | SendError:
        return outbound.explain(call, status, body)

    def rate_scope(self, address: str) -> Literal["address", "group"]:
        return "group" if address.startswith(inbound.GROUP) else "address"

    def client(
        self, credentials: Credentials, session: ClientSession, *, origin: str, poster: Poster | None = None
    ) -> Client:
        return WhatsAppClient(credentials, session, origin=origin, poster=poster)

    def management(self, credentials: Credentials, session: ClientSession, *, origin: str) -> Management:
        return WhatsAppClient(credentials, session, origin=origin)
