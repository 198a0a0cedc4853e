"""The short way for deliveries: it means the same as the long one, in whatever pieces the bytes come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from bot.intake import Intake
from domain import ids
from domain.errors import Unavailable
from tests.support.town import WEBHOOK_SECRET, Town, until
from webhooks import receive, server
from webhooks.express import Express

SECRET = f"X-Telegram-Bot-Api-Secret-Token: {WEBHOOK_SECRET}"


def update(number: int, text: str = "ciao") -> bytes:
    person = {"id": 7_000_001, "is_bot": False, "first_name": "Anna"}
    message = {
        "message_id": number,
        "date": 1_797_000_000,
        "chat": {"id": 7_000_001, "type": "private"},
        "from": person,
        "text": text,
    }
    return json.dumps({"update_id": number, "message": message}).encode()


def delivery(path: str, body: bytes, *lines: str, length: int | None = None, host: str = "Host: a") -> bytes:
    shown = len(body) if length is None else length
    head = [f"POST {path} HTTP/1.1", *([host] if host else []), f"Content-Length: {shown}", *lines, "", ""]
    return "\r\n".join(head).encode() + body


@asynccontextmanager
async def connected(town: Town) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", town.app.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status and headers of one answer; its body is read away. (0, {}): the connection ended."""
    async with asyncio.timeout(10):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:
            return 0, {}
        lines = head.split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        await reader.readexactly(int(headers.get("content-length", "0")))
    return int(lines[0].split()[1]), headers


async def path_of(town: Town) -> str:
    channel_id = await town.telegram()
    return f"/webhooks/telegram/{ids.to_text('channel', channel_id)}"


async def stored(town: Town) -> int:
    found: int = await town.value("SELECT count(*) FROM seen WHERE \"key\" LIKE 'upd:%'")
    return found


@pytest.fixture
def long_way(monkeypatch: pytest.MonkeyPatch) -> list[Express]:
    """The connections that were handed to aiohttp."""
    handed: list[Express] = []
    kept = Express._hand_over

    def noted(self: Express) -> None:
        handed.append(self)
        kept(self)

    monkeypatch.setattr(Express, "_hand_over", noted)
    return handed


async def test_a_usual_delivery_takes_the_short_way(town: Town, long_way: list[Express]) -> None:
    path = await path_of(town)
    async with connected(town) as (reader, writer):
        for number in (1, 2, 2):
            writer.write(delivery(path, update(number), SECRET, "Content-Type: application/json"))
            status, headers = await answer(reader)
            assert status == 200
            assert headers["date"].endswith("gmt")
    assert await stored(town) == 2
    assert long_way == []


PROXIES = {
    "caddy": (
        "User-Agent: a",
        "Accept-Encoding: gzip",
        "Content-Type: application/json",
        "X-Forwarded-For: 203.0.113.7",
        "X-Forwarded-Host: bot.example.com",
        "X-Forwarded-Proto: https",
        "Via: 2.0 Caddy",
    ),
    "nginx, kept alive": (
        "X-Real-IP: 203.0.113.7",
        "X-Forwarded-For: 203.0.113.7, 198.51.100.2",
        "X-Forwarded-Proto: https",
        "Content-Type: application/json",
        "Accept-Encoding: gzip, deflate",
    ),
    "one that says what is so anyway": ("Connection: keep-alive", "Forwarded: for=203.0.113.7;proto=https"),
}


async def test_what_proxies_add_takes_the_short_way(town: Town, long_way: list[Express]) -> None:
    path = await path_of(town)
    async with connected(town) as (reader, writer):
        for number, lines in enumerate(PROXIES.values(), start=1):
            writer.write(delivery(path, update(number), SECRET, *lines, host="Host: bot.example.com"))
            assert (await answer(reader))[0] == 200
    assert await stored(town) == len(PROXIES)
    assert long_way == []


async def test_it_may_come_in_any_pieces(town: Town, long_way: list[Express]) -> None:
    path = await path_of(town)
    whole = delivery(path, update(1), SECRET)
    number = 1
    async with connected(town) as (reader, writer):
        writer.transport.set_write_buffer_limits(0)
        for cut in range(1, len(whole), 7):
            number += 1
            one = delivery(path, update(number), SECRET)
            for piece in (one[:cut], one[cut:]):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            assert (await answer(reader))[0] == 200
        for byte in delivery(path, update(9_999), SECRET):
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await answer(reader))[0] == 200
    assert await stored(town) == number
    assert long_way == []


async def test_deliveries_behind_each_other_are_answered_one_by_one(
    town: Town, long_way: list[Express]
) -> None:
    path = await path_of(town)
    count = 150  # some 60 kB: more than waits in one piece
    async with connected(town) as (reader, writer):
        writer.write(b"".join(delivery(path, update(n, "x" * 900), SECRET) for n in range(1, count + 1)))
        for _ in range(count):
            assert (await answer(reader))[0] == 200
    assert await stored(town) == count
    assert long_way == []


Make = Callable[[str, bytes], bytes]
UNUSUAL: dict[str, tuple[Make, int]] = {
    "wrong signature": (
        lambda path, body: delivery(path, body, "X-Telegram-Bot-Api-Secret-Token: wrong"),
        401,
    ),
    "no signature": (lambda path, body: delivery(path, body), 401),
    "two signatures": (lambda path, body: delivery(path, body, SECRET, SECRET), 401),
    "unknown endpoint": (
        lambda path, body: delivery("/webhooks/telegram/ch_0000000000000", body, SECRET),
        401,
    ),
    "other kind": (lambda path, body: delivery(path.replace("telegram", "whatsapp"), body, SECRET), 401),
    "two lengths": (lambda path, body: delivery(path, body, SECRET, "Content-Length: 5"), 400),
    "signed length": (
        lambda path, body: delivery(path, b"", SECRET).replace(b"Content-Length: 0", b"Content-Length: +7"),
        400,
    ),
    "length and chunks": (lambda path, body: delivery(path, body, SECRET, "Transfer-Encoding: chunked"), 400),
    "folded header": (lambda path, body: delivery(path, body, SECRET, "X-A: b\r\n c"), 400),
    "space before colon": (lambda path, body: delivery(path, body, SECRET, "X-A : b"), 400),
    "bare newline": (lambda path, body: delivery(path, body, SECRET, "X-A: b\nX-B: c"), 400),
    "compressed": (lambda path, body: delivery(path, body, SECRET, "Content-Encoding: gzip"), 415),
    "chunks that call themselves kept": (
        lambda path, body: delivery(path, body, SECRET, "Transfer-Encoding: keep-alive"),
        400,
    ),
    "compression that calls itself kept": (
        lambda path, body: delivery(path, body, SECRET, "Content-Encoding: Keep-Alive"),
        415,
    ),
    "an expectation of that kind": (
        lambda path, body: delivery(path, body, SECRET, "Expect: keep-alive"),
        417,
    ),
    "announced too large": (lambda path, body: delivery(path, b"", SECRET, length=4_000_001), 413),
    "query": (lambda path, body: delivery(f"{path}?a=b", body, SECRET), 200),
    "large": (lambda path, body: delivery(path, body + b" " * 70_000, SECRET), 200),
    "to be closed": (lambda path, body: delivery(path, body, SECRET, "Connection: close"), 200),
    "chunks": (
        lambda path, body: (
            f"POST {path} HTTP/1.1\r\nHost: a\r\n{SECRET}\r\nTransfer-Encoding: chunked\r\n\r\n"
            f"{len(body):x}\r\n{body.decode()}\r\n0\r\n\r\n"
        ).encode(),
        200,
    ),
    "old HTTP": (
        lambda path, body: delivery(path, body, SECRET).replace(b"HTTP/1.1", b"HTTP/1.0"),
        200,
    ),
    "another page": (lambda path, body: b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 200),
    "the handshake": (
        lambda path, body: f"GET {path}?hub.mode=subscribe HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
        403,
    ),
}


async def test_what_is_unusual_goes_the_long_way(town: Town, long_way: list[Express]) -> None:
    """Also as the second on a connection, after one that took the short way, and in pieces."""
    path = await path_of(town)
    usual = 100
    for what, (make, expected) in UNUSUAL.items():
        usual += 1
        request = make(path, update(usual + 500))
        long_way.clear()
        before = await stored(town)
        async with connected(town) as (reader, writer):
            writer.write(delivery(path, update(usual), SECRET))
            assert (await answer(reader))[0] == 200, what
            writer.write(request[:30])
            await writer.drain()
            writer.write(request[30:])
            assert (await answer(reader))[0] == expected, what
        assert len(long_way) == 1, what
        taken = 1 if expected == 200 and what != "another page" else 0
        assert await stored(town) == before + 1 + taken, what


async def test_the_rest_of_a_connection_goes_the_long_way_as_well(
    town: Town, long_way: list[Express]
) -> None:
    path = await path_of(town)
    async with connected(town) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" + delivery(path, update(1), SECRET))
        assert (await answer(reader))[0] == 200
        assert (await answer(reader))[0] == 200
    assert await stored(town) == 1
    assert len(long_way) == 1


async def test_a_store_that_is_away_is_503_with_a_time(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await path_of(town)

    async def away(self: Intake, batch: object) -> None:
        raise Unavailable("the store does not answer", retry_after=3.0)

    with monkeypatch.context() as patched:
        patched.setattr(Intake, "_commit", away)
        async with connected(town) as (reader, writer):
            writer.write(delivery(path, update(1), SECRET))
            status, headers = await answer(reader)
            assert (status, headers["retry-after"]) == (503, "3")
            patched.undo()
            writer.write(delivery(path, update(1), SECRET))
            assert (await answer(reader))[0] == 200


async def test_too_much_at_once_is_503_with_a_time(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await path_of(town)
    monkeypatch.setattr("bot.intake.MAX_WAITING", 0)
    async with connected(town) as (reader, writer):
        writer.write(delivery(path, update(1), SECRET))
        status, headers = await answer(reader)
        assert (status, headers["retry-after"]) == (503, "2")


async def test_who_goes_away_before_the_answer_is_no_error(town: Town) -> None:
    path = await path_of(town)
    for number in range(20):
        async with connected(town) as (_, writer):
            writer.write(delivery(path, update(number + 1), SECRET))
            await writer.drain()

    async def all_there() -> bool:
        return await stored(town) == 20

    await until(all_there, "what was sent whole is taken")


async def test_a_body_that_does_not_come_ends_the_connection(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One clock for a delivery, however it drips."""
    path = await path_of(town)
    monkeypatch.setattr(receive, "BODY_S", 0.2)
    async with connected(town) as (reader, writer):
        writer.write(delivery(path, update(1), SECRET))
        assert (await answer(reader))[0] == 200
        whole = delivery(path, update(2), SECRET)
        writer.write(whole[:-5])
        assert (await answer(reader))[0] == 408
        async with asyncio.timeout(5):
            assert await reader.read() == b""
    async with connected(town) as (reader, writer):
        writer.write(delivery(path, update(1), SECRET))
        assert (await answer(reader))[0] == 200
        writer.write(whole[:40])
        async with asyncio.timeout(5):
            assert await reader.read() == b"", "a head without end has no answer"


async def test_idle_connections_end(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await path_of(town)
    monkeypatch.setattr(server, "KEEP_ALIVE_S", 0.2)
    async with connected(town) as (reader, writer):
        writer.write(delivery(path, update(1), SECRET))
        assert (await answer(reader))[0] == 200
        async with asyncio.timeout(5):
            assert await reader.read() == b""


async def test_a_stop_answers_what_is_under_way(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await path_of(town)
    go_on = asyncio.Event()
    begun = asyncio.Event()
    kept = Intake._commit

    async def slow(self: Intake, batch: object) -> None:
        begun.set()
        await go_on.wait()
        await kept(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Intake, "_commit", slow)
    async with connected(town) as (reader, writer), connected(town) as (idle, _):
        writer.write(delivery(path, update(1), SECRET))
        await begun.wait()
        listener = town.app._listener
        assert listener is not None
        closing = asyncio.create_task(listener.close())
        async with asyncio.timeout(5):
            assert await idle.read() == b"", "a connection without a delivery ends at once"
        go_on.set()
        assert (await answer(reader))[0] == 200
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        await closing


async def test_who_ends_their_side_is_still_answered(town: Town, long_way: list[Express]) -> None:
    path = await path_of(town)
    async with connected(town) as (reader, writer):
        writer.write(delivery(path, update(1), SECRET) + delivery(path, update(2), SECRET))
        writer.write_eof()
        assert (await answer(reader))[0] == 200
        assert (await answer(reader))[0] == 200
        async with asyncio.timeout(5):
            assert await reader.read() == b""
    async with connected(town) as (reader, writer):
        writer.write(delivery(path, update(3), SECRET) + delivery(path, update(4), SECRET)[:-5])
        writer.write_eof()
        assert (await answer(reader))[0] == 200
        async with asyncio.timeout(5):
            assert await reader.read() == b"", "half a delivery is none"
    assert await stored(town) == 3
    assert long_way == []


async def test_a_flood_of_deliveries_waits_outside(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast they come behind each other, no more is read than a large delivery and one look at the socket."""
    path = await path_of(town)
    most = 0
    kept = Express.data_received

    def noted(self: Express, data: bytes) -> None:
        nonlocal most
        kept(self, data)
        most = max(most, len(self._buffer))

    monkeypatch.setattr(Express, "data_received", noted)
    count = 200
    async with connected(town) as (reader, writer):
        writer.write(b"".join(delivery(path, update(n + 1, "x" * 20_000), SECRET) for n in range(count)))
        for _ in range(count):
            assert (await answer(reader))[0] == 200
    assert await stored(town) == count
    assert most <= receive.SMALL_BODY + 2 * 262_144, "asyncio and uvloop read at most 256 kB at a time"


async def test_a_later_request_that_does_not_come_ends_the_connection(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when its beginning looks like another request than a delivery."""
    path = await path_of(town)
    monkeypatch.setattr(receive, "BODY_S", 0.2)
    for begun in (b"G", b"GET / HTTP/1.1\r\nHost: a\r\n"):
        async with connected(town) as (reader, writer):
            writer.write(delivery(path, update(1), SECRET))
            assert (await answer(reader))[0] == 200
            writer.write(begun)
            async with asyncio.timeout(5):
                assert await reader.read() == b""
