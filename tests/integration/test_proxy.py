"""A proxy that the environment names carries every message; without one messages go straight."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bot.channels.base import ApiCall, Credentials
from bot.channels.telegram.client import TelegramClient
from config.bootstrap import build
from config.settings import Settings

SEND = ApiCall(method="sendMessage", payload={"chat_id": 4400100, "text": "Ciao"})


def settings(folder: Path, origin: str) -> Settings:
    return Settings(data_dir=folder, telegram_api_url=origin, whatsapp_api_url=origin, _env_file=None)


async def test_messages_go_through_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the proxy's own form of a request, with the platform's whole address."""
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b"\r\n")[0])
        body = b'{"ok":true,"result":{"message_id":7}}'
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body)
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    origin = "http://telegram.example.org"
    async with build(settings(tmp_path, origin), roles=()) as app:
        assert app.poster is None
        client = TelegramClient(
            Credentials({"token": "110201543:TEST-proxy"}), app.session, origin=origin, poster=app.poster
        )
        assert (await client.send(SEND)).external_id == "7"
    server.close()
    assert asked == [b"POST http://telegram.example.org/bot110201543:TEST-proxy/sendMessage HTTP/1.1"]


async def test_without_a_proxy_messages_go_straight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with build(settings(tmp_path, "https://telegram.example.org"), roles=()) as app:
        assert app.poster is not None
