"""The poster against servers that behave, and servers that do not: what left, what did not, and what nobody knows."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from yarl import URL

from bot.channels import posting
from bot.channels.posting import Answer, NoAnswer, NotConnected, Poster, Target, Times

TIMES = Times(connect_s=5.0, silence_s=5.0, total_s=5.0)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A server of raw bytes; counts connections and keeps what it was sent."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None) -> None:
        self._script = script
        self._tls = tls
        self.connections = 0
        self.requests: list[bytes] = []
        self.port = 0
        self._tasks: set[asyncio.Task[object]] = set()

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        """One request."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        request = head + await reader.readexactly(length)
        self.requests.append(request)
        return request

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        """Serves until the block ends."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                    await self._script(reader, writer)
            finally:
                writer.close()
                self._tasks.discard(task)

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks)

    def target(self, path: str = "/bot1:TEST/sendMessage", host: str = "127.0.0.1") -> Target:
        """An address on this server."""
        scheme = "https" if self._tls else "http"
        return Target(URL(f"{scheme}://{host}:{self.port}{path}"), {"Content-Type": "application/json"})


@asynccontextmanager
async def serving(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server with a script of its own."""
    async with Server(script, tls).running() as server:
        yield server


@asynccontextmanager
async def answering(*parts: bytes, close: bool = False) -> AsyncIterator[Server]:
    """A server that answers every request with these bytes, each part in a packet of its own."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.read(reader)
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
            if close:
                return

    async with serving(script) as server:
        yield server


@pytest.fixture
async def poster() -> AsyncIterator[Poster]:
    made = Poster(lines=2)
    yield made
    await made.close()


async def until(condition: Callable[[], bool]) -> None:
    """Returns when it holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  the other side is a socket, not an event
            await asyncio.sleep(0.001)


def lines_of(poster: Poster) -> int:
    """How many connections are open."""
    return sum(line.usable() for pool in poster._pools.values() for line in pool._lines)


async def ask(poster: Poster, server: Server, times: Times = TIMES, most: int = 1_000) -> Answer:
    return await poster.post(server.target(), b"{}", times, max_answer=most)


async def test_what_is_written_and_what_comes_back(poster: Poster) -> None:
    """One request after the other on the same line, each in one piece."""
    async with answering(OK) as server:
        for _ in range(3):
            answer = await ask(poster, server)
            assert (answer.status, answer.body) == (200, b"ok")
            assert answer.header("content-length") == "2"
            assert answer.header("retry-after") is None
        assert server.connections == 1
        host = f"127.0.0.1:{server.port}".encode()
        assert server.requests[0] == (
            b"POST /bot1:TEST/sendMessage HTTP/1.1\r\nHost: "
            + host
            + b"\r\nContent-Type: application/json\r\n"
            b"Content-Length: 2\r\n\r\n{}"
        )


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "close", "status", "body", "kept"),
    [
        (OK, False, 200, b"ok", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", False, 204, b"", True),
        (b"HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\n", False, 429, b"", True),
        (CHUNKED + b"1\r\no\r\n1;x=y\r\nk\r\n0\r\nTrailer: 1\r\n\r\n", False, 200, b"ok", True),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: 1\r\n\r\n" + OK,
            False,
            200,
            b"ok",
            True,
        ),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", False, 200, b"ok", False),
        (b"HTTP/1.1 200 OK\r\n\r\nok", True, 200, b"ok", False),  # until the connection ends
        (b"HTTP/1.0 200 OK\r\n\r\nok", True, 200, b"ok", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", False, 200, b"ok", False),
        (OK + b"more", False, 200, b"ok", False),  # longer than it said
        (OK + OK, False, 200, b"ok", False),  # an answer that nobody asked for
        (OK + b"HTTP/1.1 5", False, 200, b"ok", False),
    ],
)
@pytest.mark.parametrize("in_pieces", [False, True])
async def test_answers_that_can_be_read(
    poster: Poster, answer: bytes, close: bool, status: int, body: bytes, kept: bool, in_pieces: bool
) -> None:
    """Also byte by byte; a line is kept only when it is certain where the next answer begins."""
    parts = [answer[n : n + 1] for n in range(len(answer))] if in_pieces else [answer]
    async with answering(*parts, close=close) as server:
        for n in range(1 if in_pieces else 2):  # a piece that comes late meets the next request: see below
            got = await ask(poster, server)
            assert (got.status, got.body) == (status, body)
            if not in_pieces:
                assert server.connections == (1 if kept else n + 1)


@pytest.mark.parametrize(
    ("answer", "close"),
    [
        (b"garbage\r\n\r\n", False),
        (b"\x16\x03\x01\x02\x00\x01", False),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok", False),
        (CHUNKED + b"5\r\nab", True),
        (CHUNKED + b"zz\r\nab\r\n", False),
        (CHUNKED + b"ffffffffffffffffff\r\nab\r\n", False),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 20 + OK, False),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, False),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5_000, False),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5_000, True),
        (CHUNKED + b"1\r\nx\r\n" * 5_000, False),
        (CHUNKED + b"0\r\n" + b"T: x\r\n" * 50_000, False),
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"", True),
    ],
)
async def test_what_cannot_be_read_is_no_answer(poster: Poster, answer: bytes, close: bool) -> None:
    """Whatever comes: the request was written, its outcome is unknown, and the line is never used again."""
    async with answering(answer, close=close) as server:
        for n in range(2):
            with pytest.raises(NoAnswer):
                await ask(poster, server)
            assert server.connections == n + 1


async def test_silence_and_drops_have_their_times(poster: Poster) -> None:
    """Nothing for a while is too long, and so is a byte now and then for ever."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving(drip) as server:
        with pytest.raises(NoAnswer, match="TimeoutError"):
            await ask(poster, server, Times(5.0, 4.0, 0.1))

    async with answering() as server:
        with pytest.raises(NoAnswer, match="TimeoutError"):
            await ask(poster, server, Times(5.0, 0.05, 60.0))


async def test_a_line_that_was_closed_meanwhile_is_not_used(poster: Poster) -> None:
    """The server ends an idle connection: the next request goes over another, without a doubt."""
    async with answering(OK, close=True) as server:
        for n in range(3):
            assert (await ask(poster, server)).body == b"ok"
            await until(lambda: lines_of(poster) == 0)
            assert server.connections == n + 1


async def test_words_that_nobody_asked_for_end_the_line(poster: Poster) -> None:
    """An answer that waits on an idle line must not become the next request's."""
    said = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        writer.write(OK)
        await said.wait()
        writer.write(OK)
        await reader.read()

    async with serving(script) as server:
        await ask(poster, server)
        said.set()
        await until(lambda: lines_of(poster) == 0)
        await ask(poster, server)
        assert server.connections == 2


async def test_a_reset_after_the_request_is_no_answer(poster: Poster) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        writer.transport.abort()

    async with serving(reset) as server:
        with pytest.raises(NoAnswer):
            await ask(poster, server)


async def test_nobody_there_is_certainly_not_sent(
    poster: Poster, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused, or a name that is none."""
    target = Target(URL(f"http://127.0.0.1:{unused_tcp_port}/"), {})
    with pytest.raises(NotConnected):
        await poster.post(target, b"", TIMES, max_answer=10)

    async def nothing_found(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nothing_found)
    with pytest.raises(NotConnected, match="gaierror"):
        await poster.post(Target(URL("http://name.invalid/"), {}), b"", TIMES, max_answer=10)


async def test_lines_are_limited_and_shared(poster: Poster) -> None:
    """Two lines: the third request waits for one; who waits too long has certainly not been sent."""
    go = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.read(reader)
            await go.wait()
            writer.write(OK)

    async with serving(script) as server:
        running = [asyncio.create_task(ask(poster, server)) for _ in range(5)]
        await until(lambda: len(server.requests) >= 2)
        with pytest.raises(NotConnected, match="TimeoutError"):
            await ask(poster, server, Times(0.05, 5.0, 5.0))
        assert len(server.requests) == 2
        go.set()
        assert [answer.body for answer in await asyncio.gather(*running)] == [b"ok"] * 5
        assert server.connections == 2


async def test_cancelled_in_the_moment_of_the_answer(poster: Poster) -> None:
    """The line is free by then, and somebody else's: their request is not cut off with it."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)  # answered below, so that nothing comes between
        await server.read(reader)
        writer.write(OK)
        await reader.read()

    async with serving(script) as server:
        first = asyncio.create_task(ask(poster, server))
        await until(lambda: bool(server.requests))
        (line,) = poster.busy
        line.data_received(OK)
        assert line.usable()
        second = line.ask(server.target(), b"{}", TIMES, 100)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await second).status == 200
        assert server.connections == 1


async def test_who_goes_away_leaves_no_answer_behind(poster: Poster) -> None:
    """A cancelled request's answer is not the next one's, and a cancelled wait gives its place on."""
    go = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.read(reader)
            if len(server.requests) > 1:
                await go.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % len(server.requests))

    async with serving(script) as server:
        await ask(poster, server)
        waiting = asyncio.create_task(ask(poster, server))
        await until(lambda: len(server.requests) >= 2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        go.set()
        assert (await ask(poster, server)).body == b"3"


@pytest.mark.parametrize("answer", [OK, OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")])
async def test_an_answer_before_the_request_was_read_ends_the_line(poster: Poster, answer: bytes) -> None:
    """What the other side has not taken must not stand before the next request, nor keep the line for ever."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.endswith(b"Content-Length: 2\r\n\r\n"):
            writer.write(OK)
            await reader.read()
        writer.write(answer)
        await asyncio.Event().wait()

    async with serving(script) as server:
        for _ in range(3):  # one more than there may be lines
            early = await poster.post(server.target(), b"x" * 20_000_000, TIMES, max_answer=100)
            assert early.body == b"ok"
        assert (await ask(poster, server)).body == b"ok"
        assert server.connections == 4


async def test_an_old_line_is_not_used_though_nobody_looked(poster: Poster) -> None:
    """A process that was frozen wakes up with lines that the other side has long closed."""
    async with answering(OK) as server:
        await ask(poster, server)
        (pool,) = poster._pools.values()
        (line,) = pool._idle
        line.free_since -= posting.KEEP_S + 1
        assert (await ask(poster, server)).body == b"ok"
        assert server.connections == 2


async def test_a_name_that_cannot_be_one_is_not_connected(poster: Poster) -> None:
    for host in (f"{'a' * 64}.example.org", "a..example.org"):
        with pytest.raises(NotConnected):
            await poster.post(Target(URL(f"http://{host}:9/"), {}), b"{}", TIMES, max_answer=100)


async def test_closing_ends_what_is_under_way() -> None:
    poster = Poster(lines=1)
    async with answering() as server:
        waiting = [asyncio.create_task(ask(poster, server)) for _ in range(2)]
        await until(lambda: len(server.requests) > 0)
        await poster.close()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(one) for one in ended} <= {NoAnswer, NotConnected}
        with pytest.raises(NotConnected):
            await ask(poster, server)


async def test_an_idle_line_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "KEEP_S", 0.02)
    poster = Poster(lines=1)
    async with answering(OK) as server:
        await ask(poster, server)
        await until(lambda: lines_of(poster) == 0)
        await ask(poster, server)
        assert server.connections == 2
    await poster.close()


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("/relative", {}),
        ("ftp://127.0.0.1/x", {}),
        ("http://127.0.0.1/x", {"Authorization": "Bearer a\r\nX: y"}),
        ("http://127.0.0.1/x", {"X\n": "y"}),
    ],
)
def test_addresses_that_lead_nowhere(url: str, headers: dict[str, str]) -> None:
    with pytest.raises(NotConnected):
        Target(URL(url), headers)


def test_a_target_of_a_known_port_names_no_port() -> None:
    assert b"\r\nHost: api.example.org\r\n" in Target(URL("https://api.example.org/x"), {}).start
    assert b"\r\nHost: [::1]:8080\r\n" in Target(URL("http://[::1]:8080/x"), {}).start
    assert "TEST" not in repr(Target(URL("https://api.example.org/bot1:TEST/x"), {}))


# --- TLS --------------------------------------------------------------------------------------------------------------


class Authority:
    """A certificate authority of its own, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A test authority")])
        self.certificate = self._made(self._name, self._key, authority=True)

    def server(self, host: str) -> ssl.SSLContext:
        """A server's side for that host name."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        file = self._folder / f"{host}.pem"
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(secret + self._made(name, key, host=host).public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def client(self) -> ssl.SSLContext:
        """A client that trusts this authority alone."""
        pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode()
        return ssl.create_default_context(cadata=pem)

    def _made(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, host: str = "", authority: bool = False
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if host:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


async def test_tls_is_checked(tmp_path: Path) -> None:
    """A known authority and the right name; anything else is no connection, and no byte of the request left."""
    known, unknown = Authority(tmp_path), Authority(tmp_path)
    names: list[str | None] = []
    good = known.server("localhost")
    good.sni_callback = lambda _, name, __: names.append(name)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.read(reader)
            writer.write(OK)

    poster = Poster(lines=2, tls=known.client())
    cases = [
        (good, True),
        (known.server("elsewhere.example.org"), False),
        (unknown.server("localhost"), False),
    ]
    for context, works in cases:
        async with serving(script, context) as server:
            target = server.target(host="localhost")
            if works:
                for _ in range(2):
                    answer = await poster.post(target, b"{}", TIMES, max_answer=10)
                    assert (answer.body, server.connections) == (b"ok", 1)
            else:
                with pytest.raises(NotConnected, match="SSLCertVerificationError"):
                    await poster.post(target, b"{}", TIMES, max_answer=10)
                assert server.requests == []
    assert names == ["localhost"]
    await poster.close()


async def test_a_server_without_tls_is_no_connection(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(OK)

    poster = Poster(lines=1, tls=Authority(tmp_path).client())
    async with serving(script) as server:
        target = Target(URL(f"https://localhost:{server.port}/"), {})
        with pytest.raises(NotConnected):
            await poster.post(target, b"{}", TIMES, max_answer=10)
    await poster.close()


def test_the_server_s_own_loop_says_the_same(tmp_path: Path, unused_tcp_port: int) -> None:
    """The server runs on uvloop, whose transports and TLS are its own."""

    async def everything() -> None:
        poster = Poster(lines=2)
        await test_what_is_written_and_what_comes_back(poster)
        await test_silence_and_drops_have_their_times(poster)
        await test_a_line_that_was_closed_meanwhile_is_not_used(poster)
        await test_a_reset_after_the_request_is_no_answer(poster)
        await test_who_goes_away_leaves_no_answer_behind(poster)
        with pytest.raises(NotConnected):
            await poster.post(
                Target(URL(f"http://127.0.0.1:{unused_tcp_port}/"), {}), b"", TIMES, max_answer=9
            )
        await poster.close()
        poster = Poster(lines=2)
        await test_lines_are_limited_and_shared(poster)
        await poster.close()
        await test_tls_is_checked(tmp_path)
        await test_a_server_without_tls_is_no_connection(tmp_path)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(everything())
