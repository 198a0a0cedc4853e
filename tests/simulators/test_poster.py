"""Webhooks are posted to receivers that behave, and to receivers that do not, on both ways: plain and by aiohttp."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest

from simulators import poster as posting
from simulators.poster import Answer, NotConnected, Undelivered
from simulators.world import World

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEADERS = {"Content-Type": "application/json", "Accept": "*/*", "Accept-Encoding": "gzip"}
LIMIT = 1000
# An address with a name in it is not plain: it goes over aiohttp's session.
WAYS = pytest.mark.parametrize("who", ["", "anna@"], ids=["plain", "session"])
Say = Callable[["Receiver", asyncio.Transport], None]


class Receiver:
    """A server of raw bytes: `say` is called for every whole request."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.requests: list[bytes] = []
        self.connections: list[asyncio.Transport] = []
        self.gone = 0
        self.port = 0

    def url(self, who: str = "") -> str:
        return f"http://{who}127.0.0.1:{self.port}/hook"


class _Connection(asyncio.Protocol):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._receiver.connections.append(self._transport)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0] or -1)
        if end and len(body) == length:
            self._receiver.requests.append(self._got)
            self._got = b""
            self._receiver.say(self._receiver, self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._receiver.gone += 1


def saying(answer: bytes, *, close: bool = False) -> Say:
    """Answer every request with these bytes."""

    def say(_: Receiver, transport: asyncio.Transport) -> None:
        transport.write(answer)
        if close:
            transport.close()

    return say


def silent(_: Receiver, __: asyncio.Transport) -> None:
    """Answer nothing."""


@asynccontextmanager
async def listening(say: Say) -> AsyncIterator[Receiver]:
    receiver = Receiver(say)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(receiver), "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for transport in receiver.connections:
            transport.abort()
        await server.wait_closed()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.close()


async def post(world: World, url: str, body: bytes = b"{}") -> Answer:
    async with asyncio.timeout(5):
        return await world.poster.post(url, HEADERS, body, limit=LIMIT)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what real sockets bring
            await asyncio.sleep(0.001)


@WAYS
async def test_the_request_on_the_wire(world: World, who: str) -> None:
    """Path and query as they came, the given headers in their order, and the body in one piece."""
    async with listening(saying(OK)) as receiver:
        answer = await post(world, receiver.url(who) + "?shop=l%C3%A0&x#here", b'{"a":1}')
    assert answer == (200, "OK", {"content-length": "2"}, b"ok")
    authorization = b"Authorization: Basic YW5uYTo=\r\n"
    assert (authorization in receiver.requests[0]) == bool(who)
    assert receiver.requests[0].replace(authorization, b"") == (
        b"POST /hook?shop=l%%C3%%A0&x HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
        b'Accept: */*\r\nAccept-Encoding: gzip\r\nContent-Length: 7\r\n\r\n{"a":1}' % receiver.port
    )


@WAYS
@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 301 Moved\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n", 301, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, 200, b"ok"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: status\r\n\r\n"
            b"2\r\nci\r\n2;x=y\r\nao\r\n0\r\nstatus: 500\r\n\r\n",
            200,
            b"ciao",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nciao", 200, b"ciao"),
    ],
    ids=["no content", "redirect", "interim", "chunked", "compressed"],
)
@pytest.mark.parametrize("pieces", [False, True])
async def test_answers_of_all_kinds(
    world: World, who: str, raw: bytes, status: int, body: bytes, pieces: bool
) -> None:
    """Whole or byte by byte; the connection is kept, nothing is followed, nothing decompressed."""

    def drip(transport: asyncio.Transport, rest: bytes) -> None:
        transport.write(rest[:1])
        if rest[1:]:
            asyncio.get_running_loop().call_soon(drip, transport, rest[1:])

    def say(_: Receiver, transport: asyncio.Transport) -> None:
        if pieces:
            drip(transport, raw)
        else:
            transport.write(raw)

    async with listening(say) as receiver:
        for _ in range(2):
            answer = await post(world, receiver.url(who))
            assert (answer.status, answer.body) == (status, body)
            assert not {"link", "status"} & answer.headers.keys()  # of interim answers and trailers
        assert (len(receiver.connections), len(receiver.requests)) == (1, 2)


@WAYS
@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 500 Oh no\r\n\r\n",
        b"HTTP/1.0 500 Oh no\r\nServer: x\r\n\r\n",
        b"HTTP/1.1 500 Oh no\r\nConnection: close\r\nContent-Length: 4\r\n\r\n",
    ],
)
async def test_an_answer_after_which_the_connection_ends(world: World, who: str, head: bytes) -> None:
    """It is whole all the same; the next delivery has a connection of its own."""
    async with listening(saying(head + b"ciao", close=True)) as receiver:
        for number in (1, 2):
            answer = await post(world, receiver.url(who))
            assert (answer.status, answer.reason, answer.body) == (500, "Oh no", b"ciao")
            assert len(receiver.connections) == number


async def test_connection_close_is_obeyed_by_us_too(world: World) -> None:
    """A receiver that says it and then waits is not held."""
    async with listening(
        saying(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    ) as receiver:
        await post(world, receiver.url())
        await until(lambda: receiver.gone == 1)


@WAYS
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nciao",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nciao\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
async def test_an_answer_that_is_cut_is_undelivered(world: World, who: str, raw: bytes) -> None:
    """The request left, so it is not `NotConnected`."""
    async with listening(saying(raw, close=True)) as receiver:
        with pytest.raises(Undelivered) as raised:
            await post(world, receiver.url(who))
        assert raised.type is Undelivered


@WAYS
@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"\x00\xff" * 100,
    ],
)
async def test_what_is_no_answer_is_undelivered(world: World, who: str, raw: bytes) -> None:
    """Known at once, without the receiver closing the connection: that is ours to do."""
    async with listening(saying(raw)) as receiver:
        with pytest.raises(Undelivered) as raised:
            await post(world, receiver.url(who))
        assert raised.type is Undelivered
        await until(lambda: receiver.gone == 1)


@WAYS
async def test_another_protocol_is_no_success_and_ends_the_connection(world: World, who: str) -> None:
    """101 is an answer, not an interim one."""
    raw = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: chat\r\nConnection: upgrade\r\n\r\n"
    async with listening(saying(raw)) as receiver:
        assert (await post(world, receiver.url(who))).status == 101
        await until(lambda: receiver.gone == 1)


async def test_a_connection_that_is_reset(world: World) -> None:
    """A body that only the end of the connection would delimit is cut, not whole."""

    def say(_: Receiver, transport: asyncio.Transport) -> None:
        transport.write(b"HTTP/1.1 200 OK\r\n\r\nci")
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        asyncio.get_running_loop().call_later(0.02, transport.abort)

    async with listening(say) as receiver:
        with pytest.raises(Undelivered, match="ConnectionResetError"):
            await post(world, receiver.url())


def flood(head: bytes, part: bytes) -> Say:
    """Say `head`, then `part` for as long as somebody takes it."""

    def say(_: Receiver, transport: asyncio.Transport) -> None:
        def more() -> None:
            if not transport.is_closing():
                if transport.get_write_buffer_size() < 1 << 20:
                    transport.write(part * (50_000 // len(part)))
                asyncio.get_running_loop().call_soon(more)

        transport.write(head)
        more()

    return say


@WAYS
@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"HTTP/1.1 410 Gone\r\n\r\n", b"x"),
        (b"HTTP/1.1 410 Gone\r\nContent-Length: 99999999999\r\n\r\n", b"x"),
        (b"HTTP/1.1 410 Gone\r\nTransfer-Encoding: chunked\r\n\r\n", b"64\r\n" + b"x" * 100 + b"\r\n"),
    ],
    ids=["no end", "huge", "chunks"],
)
async def test_of_an_endless_body_only_the_limit_is_read(
    world: World, who: str, head: bytes, part: bytes
) -> None:
    """Status and the body's beginning are the answer, and the connection is closed."""
    async with listening(flood(head, part)) as receiver:
        answer = await post(world, receiver.url(who))
        assert (answer.status, answer.body) == (410, b"x" * LIMIT)
        await until(lambda: receiver.gone == 1)


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"HTTP/1.1 200 O", b"K"),
        (b"HTTP/1.1 200 OK\r\n", b"X-Name: value\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-Name: ", b"value"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["reason", "headers", "header", "interim"],
)
async def test_a_head_without_end_is_undelivered(world: World, head: bytes, part: bytes) -> None:
    """Past a limit nothing of it is read any more."""
    async with listening(flood(head, part)) as receiver:
        with pytest.raises(Undelivered, match="too large"):
            await post(world, receiver.url())
        await until(lambda: receiver.gone == 1)


async def test_an_endless_trailer_fills_no_memory(world: World) -> None:
    """The answer is what stood before it."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nciao\r\n0\r\nX: "
    async with listening(flood(head, b"y")) as receiver:
        answer = await post(world, receiver.url())
        assert (answer.body, answer.headers) == (b"ciao", {"transfer-encoding": "chunked"})
        await until(lambda: receiver.gone == 1)


@WAYS
async def test_connections_are_kept_and_shared_by_nobody(world: World, who: str) -> None:
    """Deliveries one after the other use one connection, three at a time three."""
    async with listening(saying(OK)) as receiver:
        for _ in range(3):
            await post(world, receiver.url(who))
        assert len(receiver.connections) == 1
        for _ in range(2):
            await asyncio.gather(*(post(world, receiver.url(who)) for _ in range(3)))
        assert (len(receiver.connections), len(receiver.requests)) == (3, 9)
        await world.close()
        assert not world.poster._lines
        await until(lambda: receiver.gone == 3)


@WAYS
async def test_a_receiver_that_closed_meanwhile_costs_no_delivery(world: World, who: str) -> None:
    """An idle connection that was closed is not used again."""
    async with listening(saying(OK)) as receiver:
        for number in (1, 2, 3):
            await post(world, receiver.url(who))
            assert len(receiver.connections) == number
            receiver.connections[-1].close()
            await until(lambda: receiver.gone == len(receiver.connections))
            await asyncio.sleep(0)  # our side's loop hears of it
            await asyncio.sleep(0)


async def test_a_receiver_that_closes_as_soon_as_it_accepted(world: World) -> None:
    """Nothing can be asked any more, and nobody waits for an answer."""
    async with listening(saying(OK)) as receiver:
        await post(world, receiver.url())
        (line,) = world.poster._lines
        receiver.connections[0].close()
        await until(lambda: not world.poster._lines)
        with pytest.raises(Undelivered, match="closed"):
            await asyncio.wait_for(line.ask(b"POST / HTTP/1.1\r\n\r\n", LIMIT), 5)


async def test_a_connection_idle_for_long_is_not_used_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver may be closing it right now."""
    monkeypatch.setattr(posting, "KEEP_S", 0.0)
    async with listening(saying(OK)) as receiver:
        await post(world, receiver.url())
        await post(world, receiver.url())
        assert len(receiver.connections) == 2
        await until(lambda: receiver.gone >= 1)


@pytest.mark.parametrize("more", [OK, b"H", b"garbage\r\n"])
async def test_what_nobody_asked_for_ends_the_connection(world: World, more: bytes) -> None:
    """With the answer or after it: it is not taken for the next delivery's."""
    async with listening(saying(OK + more)) as receiver:
        assert (await post(world, receiver.url())).body == b"ok"
        receiver.say = saying(OK)
        assert (await post(world, receiver.url())).body == b"ok"
        receiver.connections[-1].write(more)
        await until(lambda: receiver.gone == 2)
        assert (await post(world, receiver.url())).body == b"ok"
        assert len(receiver.connections) == 3


@WAYS
async def test_a_cancelled_delivery_closes_its_connection_and_no_other(world: World, who: str) -> None:
    """What is still said on it is nobody's answer."""
    async with listening(silent) as receiver:
        tasks = [asyncio.create_task(post(world, receiver.url(who))) for _ in range(2)]
        await until(lambda: len(receiver.requests) == 2)
        tasks[0].cancel()
        await until(lambda: receiver.gone == 1)
        for transport in receiver.connections:
            transport.write(OK)
        assert (await tasks[1]).status == 200
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]


async def test_cancelled_in_the_moment_of_the_answer(world: World) -> None:
    """The connection is free by then, and stays so: somebody else may have it already."""
    async with listening(silent) as receiver:
        task = asyncio.create_task(world.poster.post(receiver.url(), HEADERS, b"{}", limit=LIMIT))
        await until(lambda: receiver.requests)
        (line,) = world.poster._lines
        line.data_received(OK)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        receiver.say = saying(OK)
        assert (await post(world, receiver.url())).status == 200
        assert len(receiver.connections) == 1


@WAYS
async def test_nobody_listens(world: World, who: str) -> None:
    """Refused is told apart from a connection that ended."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(NotConnected):
            await post(world, f"http://{who}127.0.0.1:{taken.getsockname()[1]}/hook")


@pytest.mark.parametrize(
    "url", ["http://", "ftp://127.0.0.1/", "nonsense", "http://127.0.0.1:99999/", "http://[::1/"]
)
async def test_an_address_that_is_none(world: World, url: str) -> None:
    """Undelivered as everything that no receiver took."""
    with pytest.raises(Undelivered):
        await post(world, url)


@WAYS
async def test_a_body_of_three_megabytes(world: World, who: str) -> None:
    """As large as Meta's may be."""
    body = b"x" * (3 << 20)
    async with listening(saying(OK)) as receiver:
        assert (await post(world, receiver.url(who), body)).status == 200
        assert receiver.requests[0].endswith(b"\r\n\r\n" + body)


async def test_an_answer_before_the_request_was_read(world: World) -> None:
    """It counts; the connection, on which the rest of the request would have to follow, does not stay."""
    async with listening(silent) as receiver:
        delivery = asyncio.create_task(post(world, receiver.url(), b"x" * (30 << 20)))
        await until(lambda: receiver.connections)
        receiver.connections[0].pause_reading()
        receiver.connections[0].write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        assert (await delivery).status == 413
        await until(lambda: not world.poster._lines)


async def test_the_end_of_the_world_ends_deliveries(world: World) -> None:
    """Those under way fail, later ones are refused, no connection stays."""
    async with listening(saying(OK)) as receiver:
        await post(world, receiver.url())
        receiver.say = silent
        deliveries = [asyncio.create_task(post(world, receiver.url())) for _ in range(2)]
        await until(lambda: len(receiver.requests) == 3)
        late = asyncio.create_task(post(world, receiver.url()))
        await asyncio.sleep(0)  # it is connecting
        await world.close()
        for delivery in (*deliveries, late):
            with pytest.raises(Undelivered):
                await delivery
        with pytest.raises(RuntimeError, match="closed"):
            await post(world, receiver.url())
        await until(lambda: receiver.gone == len(receiver.connections))
