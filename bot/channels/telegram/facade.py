"""python-telegram-bot's `Bot` on our aiohttp session, for every call that is not on the way of a message.

`bot(…)` gives the whole Bot API, typed, to whoever needs a rare method; `TelegramManagement` is the channel's own
use of it. The library is imported here and nowhere else, and this module only when such a call is made: it costs
0.8 s and 22 MB.
"""

from __future__ import annotations

import io
import os
from typing import Any, cast

from aiohttp import ClientError, ClientSession, FormData

# Without it the library warns in place of raising RetryAfter; it reads the variable when it is used.
os.environ.setdefault("PTB_TIMEDELTA", "1")

from telegram import Bot
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Conflict,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TelegramError,
    TimedOut,
)
from telegram.request import BaseRequest, RequestData

from bot.channels.base import Account, Credentials, WebhookHealth
from bot.channels.telegram.client import READ_S, TOTAL_S, limits
from bot.channels.telegram.inbound import ALLOWED_UPDATES
from domain.errors import SendError, SendFailure

MAX_CONNECTIONS = (
    100  # Telegram's most: what comes together is committed together, a twelfth less a step than by 40
)


def bot(credentials: Credentials, session: ClientSession, *, origin: str) -> Bot:
    """The whole Bot API on our session. It raises python-telegram-bot's errors; it never retries."""
    request = AiohttpRequest(session)
    base = origin.rstrip("/")
    return Bot(
        credentials["token"],
        base_url=f"{base}/bot",
        base_file_url=f"{base}/file/bot",
        request=request,
        get_updates_request=request,
    )


class AiohttpRequest(BaseRequest):
    """The library's transport on a session that somebody else owns and closes."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    @property
    def read_timeout(self) -> float:
        return READ_S

    async def initialize(self) -> None:
        """The session is open already."""

    async def shutdown(self) -> None:
        """The session's owner closes it."""

    async def do_request(
        self,
        url: str,
        method: str,
        request_data: RequestData | None = None,
        read_timeout: Any = BaseRequest.DEFAULT_NONE,
        write_timeout: Any = BaseRequest.DEFAULT_NONE,
        connect_timeout: Any = BaseRequest.DEFAULT_NONE,
        pool_timeout: Any = BaseRequest.DEFAULT_NONE,
    ) -> tuple[int, bytes]:
        """One request. Errors name no address: it holds the token."""
        read_s = float(read_timeout) if isinstance(read_timeout, int | float) else READ_S
        try:
            async with self._session.request(
                method,
                url,
                data=_form(request_data),
                timeout=limits(TOTAL_S + read_s, read_s),
                allow_redirects=False,
            ) as response:
                return response.status, await response.read()
        except TimeoutError:
            raise TimedOut from None
        except (ClientError, OSError) as error:
            raise NetworkError(type(error).__name__) from None


def _form(request_data: RequestData | None) -> FormData | None:
    if request_data is None:
        return None
    form = FormData()
    for name, value in request_data.json_parameters.items():
        form.add_field(name, value)
    for name, (filename, data, mime) in (request_data.multipart_data or {}).items():
        form.add_field(name, io.BytesIO(cast(bytes, data)), filename=filename, content_type=mime)
    return form


class TelegramManagement:
    """See `bot.channels.base.Management`."""

    def __init__(self, credentials: Credentials, session: ClientSession, *, origin: str) -> None:
        self._bot = bot(credentials, session, origin=origin)
        self._secret = credentials.get("webhook_secret")

    async def identify(self) -> Account:
        """https://core.telegram.org/bots/api#getme"""
        try:
            me = await self._bot.get_me()
        except TelegramError as error:
            raise send_error(error) from None
        detail = {
            "can_join_groups": bool(me.can_join_groups),
            "reads_all_group_messages": bool(me.can_read_all_group_messages),
            "can_connect_to_business": bool(me.can_connect_to_business),
        }
        return Account(id=str(me.id), name=me.full_name, username=me.username or "", detail=detail)

    async def register_webhook(self, url: str) -> None:
        """https://core.telegram.org/bots/api#setwebhook; what is queued there stays queued."""
        if not self._secret:
            raise SendError(SendFailure.auth, "the channel has no webhook secret", scope="channel")
        try:
            await self._bot.set_webhook(
                url,
                secret_token=self._secret,
                allowed_updates=ALLOWED_UPDATES,
                max_connections=MAX_CONNECTIONS,
            )
        except TelegramError as error:
            raise send_error(error) from None

    async def remove_webhook(self) -> None:
        """https://core.telegram.org/bots/api#deletewebhook; needed before polling."""
        try:
            await self._bot.delete_webhook()
        except TelegramError as error:
            raise send_error(error) from None

    async def webhook_health(self) -> WebhookHealth:
        """https://core.telegram.org/bots/api#getwebhookinfo: the only sign of failing deliveries."""
        try:
            info = await self._bot.get_webhook_info()
        except TelegramError as error:
            raise send_error(error) from None
        at = int(info.last_error_date.timestamp() * 1000) if info.last_error_date else 0
        return WebhookHealth(
            url=info.url,
            pending=info.pending_update_count,
            last_error=info.last_error_message or "",
            last_error_at=at,
        )


def send_error(error: TelegramError) -> SendError:
    """The library's error as ours. BadRequest and TimedOut are NetworkErrors there, so they are asked first."""
    detail = error.message
    match error:
        case RetryAfter(retry_after=wait):
            seconds = float(wait) if isinstance(wait, int | float) else wait.total_seconds()
            return SendError(
                SendFailure.rate_limited,
                detail,
                retryable=True,
                retry_after=seconds,
                scope="channel",
                code="429",
            )
        case InvalidToken():
            return SendError(
                SendFailure.auth, "Telegram does not know this token", scope="channel", code="401"
            )
        case Forbidden():
            return SendError(SendFailure.unreachable, detail, scope="address", code="403")
        case Conflict():
            return SendError(SendFailure.unavailable, detail, retryable=True, scope="channel", code="409")
        case ChatMigrated(new_chat_id=address):
            return SendError(
                SendFailure.moved,
                detail,
                retryable=True,
                scope="address",
                new_address=str(address),
                code="400",
            )
        case BadRequest():
            return SendError(SendFailure.rejected, detail, code="400")
        case TimedOut():
            return SendError(SendFailure.unavailable, "no answer in time", retryable=True, scope="channel")
        case _:
            return SendError(SendFailure.unavailable, detail, retryable=True, scope="channel")
