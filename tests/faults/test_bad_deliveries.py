"""Bad input at the webhooks: one table of what is sent, which status comes back, and which words are in the answer.

Whatever it is, nothing is half-written, the server goes on, and a delivery that is read right afterwards is taken.
"""

from __future__ import annotations

import asyncio
import io
import socket
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.faults.deliveries import TELEGRAM_HEADERS, encoded, signed, telegram_text, whatsapp_text
from tests.support.town import Town, until
from webhooks import receive, server

PERSON, PHONE = 7_001, "15550100123"


@dataclass(frozen=True)
class Bad:
    """One row: the body, where it goes, what comes back, and what is left of it: (state, words of its problem)."""

    name: str
    body: bytes
    kind: str = "telegram"
    status: int = 200
    words: str = ""
    left: tuple[int, str] | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def holds(self, status: int, text: str, left: list[tuple[int, str]]) -> bool:
        """Whether this is what came back and what is left."""
        if (status, self.words in text) != (self.status, True):
            return False
        if self.left is None:
            return not left
        return [state for state, _ in left] == [self.left[0]] and self.left[1] in left[0][1]


PARKED, DONE = 1, 2
UPDATE = encoded(telegram_text(800_001, PERSON, "ciao"))
ODD_NAME = UPDATE.replace(b'"first_name":"Anna"', b'"first_name":42')
NOTHING_KNOWN = b'{"update_id": 800003, "message": {"from": 1}}'

TABLE = (
    Bad("empty", b"", left=(PARKED, "")),
    Bad("no JSON", b"<html>", left=(PARKED, "")),
    Bad("half a JSON", UPDATE[:-5], left=(PARKED, "")),
    Bad("a list", b"[]", left=(PARKED, "")),
    Bad("a number", b"17", left=(PARKED, "")),
    Bad("null", b"null", left=(PARKED, "")),
    Bad("not UTF-8", UPDATE.replace(b"ciao", b"ci\xff\xfeao"), left=(DONE, "")),
    Bad("NUL in a text", UPDATE.replace(b"ciao", b"ci\\u0000ao"), left=(DONE, "")),
    Bad("a lone surrogate", UPDATE.replace(b"ciao", b"ci\\ud800ao"), left=(DONE, "")),
    Bad("NaN", UPDATE.replace(b"1790000000", b"NaN"), left=(PARKED, "malformed")),
    Bad("infinity", UPDATE.replace(b"1790000000", b"Infinity"), left=(PARKED, "malformed")),
    Bad("past 63 bits", UPDATE.replace(b"1790000000", b"9" * 30), left=(PARKED, "")),
    Bad("5,000 digits", UPDATE.replace(b"1790000000", b"9" * 5_000), left=(PARKED, "")),
    Bad("a wrong type", ODD_NAME, left=(PARKED, "first_name")),
    Bad("a list for a text", UPDATE.replace(b'"ciao"', b'["ciao"]'), left=(PARKED, "text")),
    Bad(
        "depth 100,000",
        b'{"update_id":800002,"message":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        left=(PARKED, ""),
    ),
    Bad("depth 100,000, open", b"[" * 100_000, left=(PARKED, "")),
    Bad(
        "an unknown kind",
        b'{"update_id": 800004, "hologram": {"x": 1}}',
        left=(DONE, "unrecognised: hologram"),
    ),
    Bad("nothing that is needed", NOTHING_KNOWN, left=(PARKED, "message")),
    Bad("a field of 3 MB", UPDATE.replace(b"ciao", b"c" * 3_000_000), left=(DONE, "")),
    Bad("past 4 MB", UPDATE.replace(b"ciao", b"c" * 4_100_000), status=413, words="4000000"),
    Bad("compressed", UPDATE, status=415, words="compressed", headers=(("Content-Encoding", "gzip"),)),
    Bad(
        "no secret", UPDATE, status=401, words="signature", headers=(("X-Telegram-Bot-Api-Secret-Token", ""),)
    ),
    Bad("empty", b"", kind="whatsapp", left=(PARKED, "")),
    Bad("no JSON", b"hello=1", kind="whatsapp", left=(PARKED, "")),
    Bad("a list", b"[]", kind="whatsapp", left=(PARKED, "")),
    Bad(
        "no entries",
        b'{"object":"whatsapp_business_account","entry":7}',
        kind="whatsapp",
        left=(PARKED, "entry"),
    ),
    Bad(
        "depth 100,000",
        b'{"entry":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        kind="whatsapp",
        left=(PARKED, ""),
    ),
    Bad("NUL in a text", encoded(whatsapp_text(1, PHONE, "ci\0ao")), kind="whatsapp", left=(DONE, "")),
    Bad(
        "a lone surrogate",
        encoded(whatsapp_text(2, PHONE, "ciSao")).replace(b"ciSao", b"ci\\udfffao"),
        kind="whatsapp",
        left=(DONE, ""),
    ),
    Bad("a number for a text", encoded(whatsapp_text(3, PHONE, 42)), kind="whatsapp", left=(PARKED, "text")),
    Bad(
        "NaN",
        encoded(whatsapp_text(4, PHONE, "x")).replace(b'"x"', b"NaN"),
        kind="whatsapp",
        left=(PARKED, ""),
    ),
    Bad(
        "of another app's number",
        encoded(whatsapp_text(5, PHONE, "ciao")).replace(b"106540352240001", b"106540352240099"),
        kind="whatsapp",
        left=(DONE, "account"),
    ),
    Bad(
        "past 4 MB",
        encoded(whatsapp_text(6, PHONE, "c" * 4_100_000)),
        kind="whatsapp",
        status=413,
        words="4000000",
    ),
    Bad(
        "signed by somebody else",
        encoded(whatsapp_text(7, PHONE, "ciao")),
        kind="whatsapp",
        status=401,
        words="signature",
        headers=(("X-Hub-Signature-256", "sha256=" + "0" * 64),),
    ),
)


@pytest.mark.parametrize("kind", ["telegram", "whatsapp"])
async def test_every_bad_delivery_of_the_table(any_town: Town, kind: str) -> None:
    """The status and the words of the table; what is left of it is visible; the next delivery is handled."""
    town = any_town
    channel = await (town.telegram() if kind == "telegram" else town.whatsapp())
    await town.publish_lead()
    wrong = []
    for number, bad in enumerate(row for row in TABLE if row.kind == kind):
        body = bad.body.replace(b"800001", str(810_000 + number).encode())  # or it would count as seen
        newest = await town.value("SELECT COALESCE(max(id), 0) FROM intake")
        status, text = await deliver(town, channel, body, kind, dict(bad.headers))
        await town.settle()
        left = await town.rows("SELECT state, problem FROM intake WHERE id > :newest", newest=newest)
        if not bad.holds(status, text, [tuple(row) for row in left]):
            wrong.append(f"{bad.name}: {status} {text!r}, left {left}")
        good = telegram_text(900_000 + number, PERSON, "ciao")
        if kind == "whatsapp":
            good = whatsapp_text(1_000 + number, PHONE, "ciao")
        assert (await deliver(town, channel, encoded(good), kind, {}))[0] == 200, bad.name
        await town.settle()
        handled = await town.rows("SELECT state FROM intake ORDER BY id DESC LIMIT 1")
        assert handled[0].state == DONE, bad.name
    assert not wrong, "\n".join(wrong)


async def deliver(
    town: Town, channel: int, body: bytes, kind: str, headers: dict[str, str]
) -> tuple[int, str]:
    """Posts it well signed, unless `headers` say otherwise; gives (status, text)."""
    trusted = dict(TELEGRAM_HEADERS) if kind == "telegram" else signed(body)
    url, data = town.webhook(channel), io.BytesIO(body)
    async with town.app.session.post(url, data=data, headers=trusted | headers) as response:
        return response.status, await response.text()


async def test_64_mb_are_refused_without_being_held(town: Town) -> None:
    """A client that announces or streams 64 MB is cut off soon after the limit."""
    channel = await town.telegram()

    async def stream() -> Any:
        for _ in range(1_024):
            yield b"c" * 65_536

    try:
        async with town.app.session.post(
            town.webhook(channel), data=stream(), headers=TELEGRAM_HEADERS
        ) as response:
            assert response.status == 413
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
        pass  # cut off while it was still writing
    assert await town.value("SELECT count(*) FROM intake") == 0
    assert (await deliver(town, channel, UPDATE, "telegram", {}))[0] == 200


async def test_a_slow_body_is_not_waited_for(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not come in its time is answered 408; the limit is 12 s, here 0.2 s."""
    monkeypatch.setattr(receive, "BODY_S", 0.2)
    channel = await town.telegram()
    path = town.webhook(channel).partition(str(town.port))[2]
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", town.port)
    writer.write(head.encode() + b"{")
    answer = await asyncio.wait_for(reader.read(), 5)
    assert b" 408 " in answer
    assert b"did not arrive" in answer
    writer.close()


async def test_a_slow_head_is_cut_off(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends its head byte by byte (slow loris) loses the connection; the limit is 10 s, here 0.2 s."""
    monkeypatch.setattr(server, "HEAD_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", town.port)
    writer.write(b"POST /webhooks/telegram/x HT")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 5)
    writer.close()


async def test_a_crowd_of_idle_connections_does_not_keep_platforms_out(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the limit connections are closed at once; when the idle ones are cut off, deliveries come through."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 20)
    monkeypatch.setattr(server, "HEAD_S", 0.3)
    channel = await town.telegram()
    crowd = [socket.create_connection(("127.0.0.1", town.port)) for _ in range(60)]

    async def delivered() -> bool:
        try:
            return (await deliver(town, channel, UPDATE, "telegram", {}))[0] == 200
        except aiohttp.ClientError:
            return False

    try:
        await until(delivered, "the delivery came through")
    finally:
        for one in crowd:
            one.close()
    await town.settle()
    assert await town.value("SELECT count(*) FROM message WHERE direction = 'in'") == 1
