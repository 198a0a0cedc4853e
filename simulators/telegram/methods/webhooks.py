"""setWebhook, deleteWebhook, getWebhookInfo and getUpdates."""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

from simulators.telegram.calls import Call, Result, method
from simulators.telegram.errors import ApiError, bad, too_many
from simulators.telegram.network import Telegram
from simulators.telegram.state import Bot, Wire
from simulators.telegram.updates import POLL_TIMEOUT_MAX_S, joined
from simulators.telegram.webhook import Config, Webhook

PORTS = (80, 88, 443, 8443)
SECRET = re.compile(r"^[A-Za-z0-9_-]*$")
CERTIFICATE_LIMIT = 3 * 1024 * 1024
SECRET_LIMIT = 256


def _allowed(call: Call) -> list[Any] | None:
    if not call.params.has("allowed_updates"):
        return None
    value = call.params.json("allowed_updates", "can't parse allowed_updates JSON object")
    return value if isinstance(value, list) else None


@method("setWebhook")
def set_webhook(call: Call) -> Result:
    config = _config(call)
    if not config.url:
        return _delete(call)
    _one_a_second(call)
    tg, bot = call.tg, call.bot
    current = tg.webhooks.get(bot.token)
    allowed = _allowed(call)
    if call.params.flag("drop_pending_updates"):
        bot.updates.clear()
    before = bot.updates.allowed
    bot.updates.allow(allowed)
    if current is not None and current.config == config and before == bot.updates.allowed:
        return Result(True, "Webhook is already set")
    if current is not None:
        current.close()
    bot.updates.end_polling()
    open_webhook(tg, bot, config)
    return Result(True, "Webhook was set")


def open_webhook(tg: Telegram, bot: Bot, config: Config) -> None:
    """Start delivering to `config`; the receiver's 410 may end it."""

    async def execute(values: dict[str, Any]) -> None:
        await tg.execute_answer(bot.token, values)

    def remove() -> None:
        tg.webhooks.pop(bot.token).close()

    tg.webhooks[bot.token] = Webhook(
        tg.world, bot.updates, config, tg.knobs, bot_token=bot.token, execute=execute, remove=remove
    )


def _one_a_second(call: Call) -> None:
    now = call.tg.world.clock.now()
    last = call.tg.webhook_set_at.get(call.bot.token)
    if call.tg.limits.enabled and last is not None and now - last < 1:
        raise too_many(1)
    call.tg.webhook_set_at[call.bot.token] = now


def _config(call: Call) -> Config:
    params = call.params
    secret = params.text("secret_token")
    if len(secret) > SECRET_LIMIT:
        raise bad("secret token is too long")
    if not SECRET.match(secret):
        raise bad("secret token contains unallowed characters")
    certificate = params.uploads.get("certificate")
    if certificate is not None and len(certificate.content) > CERTIFICATE_LIMIT:
        raise bad(f"certificate size is too big ({len(certificate.content)} bytes)")
    url = params.text("url").strip()
    if url:
        url = _checked_url(url)
    return Config(
        url=url,
        secret_token=secret,
        max_connections=params.integer("max_connections", 40, 1, 100)
        if params.has("max_connections")
        else 40,
        ip_address=params.text("ip_address"),
        has_certificate=certificate is not None,
    )


def _checked_url(url: str) -> str:
    """HTTPS on Telegram's four ports; the loopback is open to any port and to plain HTTP, as with `--local`."""
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        port = parts.port
        host = parts.hostname or ""
    except ValueError as error:
        raise bad("invalid webhook URL specified") from error
    if parts.scheme not in ("http", "https") or not host or re.search(r"\s", url):
        raise bad("invalid webhook URL specified")
    if host == "localhost" or _loopback(host):
        return parts.geturl()
    if parts.scheme != "https":
        raise bad("bad webhook: An HTTPS URL must be provided for webhook")
    if (port or 443) not in PORTS:
        raise bad("bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443")
    address = _address(host)
    if address is not None and address.version == 6:
        raise bad("bad webhook: IPv6-only addresses are not allowed")
    if address is not None and not address.is_global:
        raise bad(f"bad webhook: IP address {address} is reserved")
    if address is None:
        raise bad("bad webhook: Failed to resolve host: Name or service not known")
    return parts.geturl()


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _loopback(host: str) -> bool:
    address = _address(host)
    return address is not None and address.is_loopback


@method("deleteWebhook")
def delete_webhook(call: Call) -> Result:
    return _delete(call)


def _delete(call: Call) -> Result:
    if call.params.flag("drop_pending_updates"):
        call.bot.updates.clear()
    webhook = call.tg.webhooks.pop(call.bot.token, None)
    if webhook is None:
        return Result(True, "Webhook is already deleted")
    webhook.close()
    return Result(True, "Webhook was deleted")


@method("getWebhookInfo")
def get_webhook_info(call: Call) -> Wire:
    updates = call.bot.updates
    updates.drop_expired()
    webhook = call.tg.webhooks.get(call.bot.token)
    info: Wire = {
        "url": webhook.config.url if webhook is not None else "",
        "has_custom_certificate": webhook is not None and webhook.config.has_certificate,
        "pending_update_count": len(updates.pending),
    }
    if webhook is not None:
        if webhook.last_error_date:
            info["last_error_date"] = webhook.last_error_date
            info["last_error_message"] = webhook.last_error_message
        info["max_connections"] = webhook.config.max_connections
        address = webhook.config.ip_address or urlsplit(webhook.config.url).hostname or ""
        info["ip_address"] = "127.0.0.1" if address == "localhost" else address
    if updates.allowed is not None:
        info["allowed_updates"] = sorted(updates.allowed)
    return info


@method("getUpdates")
async def get_updates(call: Call) -> Result:
    params = call.params
    try:
        allowed = _allowed(call)
    except ApiError:
        allowed = None
    if call.bot.token not in call.tg.webhooks:
        call.bot.updates.allow(allowed)
    found = await call.bot.updates.poll(
        offset=params.integer("offset"),
        limit=params.integer("limit", 100, 1, 100),
        timeout_s=params.integer("timeout", 0, 0, POLL_TIMEOUT_MAX_S),
    )
    return Result(raw=joined(found))
