"""The one outgoing client against a server on loopback: nothing gets in, nothing hangs, nothing is told."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
import tracemalloc
from collections.abc import AsyncIterator

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from bot.outgoing import CallFailed, Outgoing, Policy, Request, addresses
from bot.outgoing.client import MAX_BODY, MAX_REDIRECTS
from tests.support.canary_server import CanaryServer, canary_server, endless, plain, raw


class Names(AbstractResolver):
    """A name server that says what the test wants; like libc it reads `0x7f000001` and `127.1` as addresses."""

    def __init__(self) -> None:
        self.known: dict[str, list[list[str]]] = {}  # by name: an answer for each time that it is asked
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        answers = self.known.get(host)
        if answers is None:
            found = [socket.inet_ntoa(socket.inet_aton(host))]
        else:
            found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found
        ]

    async def close(self) -> None:
        pass


@pytest.fixture
async def canary(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CanaryServer]:
    """Its port is among those that may be called, so that only the addresses keep calls away."""
    async with canary_server() as server:
        monkeypatch.setattr(addresses, "PORTS", addresses.PORTS | {server.port})
        yield server


@pytest.fixture
async def names() -> Names:
    return Names()


@pytest.fixture
async def guarded(names: Names) -> AsyncIterator[Outgoing]:
    """Nothing is allowed but the internet."""
    client = Outgoing(Policy(), resolver=names)
    yield client
    await client.close()


@pytest.fixture
async def client(canary: CanaryServer, names: Names) -> AsyncIterator[Outgoing]:
    """The owner has allowed the canary by its address and by a name."""
    names.known["erp.example.com"] = [["127.0.0.1"]]
    allow = {("127.0.0.1", canary.port), ("erp.example.com", canary.port)}
    made = Outgoing(Policy(allow=allow), resolver=names)
    yield made
    await made.close()


async def problem_of(client: Outgoing, request: Request) -> str:
    with pytest.raises(CallFailed) as failed:
        await client.call(request)
    assert str(failed.value) == failed.value.problem, "an error says its word and nothing else"
    return failed.value.problem


# --- who is not called


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[::]",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "127.1",
        "017700000001",
        "0x7f.0.0.1",
        "0.0.0.0",  # noqa: S104 (called, not bound)
        "0",
        "127.0.0.1.",
        "loopback.example.com",
        "LOOPBACK.example.com",
        "six.example.com",
        "both.example.com",
    ],
)
async def test_loopback_is_never_reached_however_it_is_written(
    host: str, guarded: Outgoing, canary: CanaryServer, names: Names
) -> None:
    """Literals, odd spellings that libc reads as addresses, and names that lead there."""
    names.known |= {
        "loopback.example.com": [["127.0.0.1"]],
        "six.example.com": [["::ffff:127.0.0.1"]],
        "both.example.com": [["::1", "127.0.0.1"]],
    }
    assert await problem_of(guarded, Request("GET", canary.url("/", host))) in ("not_allowed", "unreachable")
    assert canary.hits == 0


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com:80/",
        "http://example.com:6379/",
        "http://example.com:22/",
        "https://example.com:70000/",
        "http://user:password@example.com/",
        "http:///path",
        "http://",
        "//example.com/",
        "https://api.telegram.org/bot1:x/getMe",
        "https://graph.facebook.com/v25.0/me",
        "https://API.TELEGRAM.ORG./",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://shop.example.com:8080/",
    ],
)
async def test_what_is_refused_before_anybody_is_asked(url: str, names: Names) -> None:
    """Other schemes and ports, passwords in addresses, platforms, metadata services, ourselves: not even a lookup."""
    client = Outgoing(Policy(own={("shop.example.com", 8080)}), resolver=names)
    assert await problem_of(client, Request("GET", url)) == "not_allowed"
    assert names.asked == []
    await client.close()


async def test_a_name_that_changes_its_address_is_judged_where_it_connects(
    guarded: Outgoing, canary: CanaryServer, names: Names
) -> None:
    """What a name said a moment ago counts for nothing: the second address is loopback, and nobody gets there."""
    names.known["rebinding.example.com"] = [["192.0.2.1"], ["127.0.0.1"], ["127.0.0.1"]]
    for _ in range(3):
        assert (
            await problem_of(guarded, Request("GET", canary.url("/", "rebinding.example.com")))
            == "not_allowed"
        )
    assert names.asked == ["rebinding.example.com"] * 3, "each request asks once and goes where that led"
    assert canary.hits == 0


async def test_an_allowed_name_does_not_open_the_clouds_metadata(names: Names) -> None:
    """Whoever can change what the name leads to must not get the machine's credentials."""
    names.known["erp.example.com"] = [["169.254.169.254"]]
    client = Outgoing(Policy(allow={("erp.example.com", 80)}), resolver=names)
    assert await problem_of(client, Request("GET", "http://erp.example.com/")) == "not_allowed"
    await client.close()


async def test_proxies_of_the_environment_are_not_asked(
    client: Outgoing, canary: CanaryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await client.call(Request("GET", canary.url()))).status == 200


# --- redirects


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{port}/secret",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://loopback.example.com:{port}/x",
        "http://0x7f000001:{port}/",
        "file:///etc/passwd",
        "//169.254.169.254/",
        "https://api.telegram.org/",
    ],
)
async def test_a_redirect_is_judged_like_a_first_request(
    location: str, canary: CanaryServer, names: Names
) -> None:
    """The owner has allowed one server; where it sends us is another matter."""
    names.known |= {"erp.example.com": [["127.0.0.1"]], "loopback.example.com": [["127.0.0.1"]]}
    client = Outgoing(Policy(allow={("erp.example.com", canary.port)}), resolver=names)
    canary.answers["/go"] = plain(status="302 Found", Location=location.format(port=canary.port))
    request = Request("GET", canary.url("/go", "erp.example.com"))
    assert await problem_of(client, request) in ("not_allowed", "unreachable")
    assert canary.hits == 1
    await client.close()


async def test_a_trusted_address_vouches_for_nobody_else(guarded: Outgoing, canary: CanaryServer) -> None:
    canary.answers["/go"] = plain(status="307 Temporary Redirect", Location=canary.url("/secret"))
    assert await problem_of(guarded, Request("GET", canary.url("/go"), trusted=True)) == "not_allowed"
    assert canary.hits == 1


async def test_secrets_stay_with_the_server_they_were_meant_for(
    client: Outgoing, canary: CanaryServer
) -> None:
    """On the same server they go along, to another one they and the author's own headers do not."""
    canary.answers["/same"] = plain(status="307 Temporary Redirect", Location="/other")
    canary.answers["/other"] = plain(
        status="307 Temporary Redirect", Location=canary.url("/end", "erp.example.com")
    )
    answer = await client.call(
        Request(
            "POST",
            canary.url("/same"),
            {"X-Shop": "7", "Content-Type": "application/json"},
            {"Authorization": "Bearer test-secret"},
            b'{"a": 1}',
        )
    )
    assert answer.status == 200
    same, other, end = canary.asked
    assert same.headers["authorization"] == other.headers["authorization"] == "Bearer test-secret"
    assert "authorization" not in end.headers
    assert "x-shop" not in end.headers
    assert (end.method, end.body, end.headers["content-type"]) == ("POST", b'{"a": 1}', "application/json")


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (301, "PUT", "PUT"),
        (302, "DELETE", "DELETE"),
        (307, "POST", "POST"),
        (308, "POST", "POST"),
    ],
)
async def test_how_a_redirect_changes_the_request(
    status: int, method: str, then: str, client: Outgoing, canary: CanaryServer
) -> None:
    """RFC 9110, 15.4: a body goes on only where the method does."""
    canary.answers["/go"] = plain(status=f"{status} Go", Location="/end")
    body = None if method in ("HEAD", "DELETE") else b"body"
    await client.call(Request(method, canary.url("/go"), {"Content-Type": "text/plain"}, body=body))
    assert canary.asked[1].method == then
    assert canary.asked[1].body == (body or b"" if then == method else b"")
    assert ("content-type" in canary.asked[1].headers) == (then == method)


async def test_a_circle_of_redirects_ends(client: Outgoing, canary: CanaryServer) -> None:
    canary.answers["/go"] = plain(status="302 Found", Location="/go")
    assert await problem_of(client, Request("GET", canary.url("/go"))) == "redirects"
    assert canary.hits == MAX_REDIRECTS + 1


# --- bounded


async def test_a_server_that_dribbles_costs_the_calls_time_and_no_more(
    client: Outgoing, canary: CanaryServer
) -> None:
    """Headers, or a body, byte by byte, for ever."""
    canary.answers["/head"] = endless(b"HTTP/1.1 200 OK\r\nX-A: ", b"a", 0.02)
    canary.answers["/body"] = endless(b"HTTP/1.1 200 OK\r\n\r\n", b"a", 0.02)
    canary.answers["/silent"] = endless(b"", b"", 0.02)
    for path in ("/head", "/body", "/silent"):
        began = time.monotonic()
        assert await problem_of(client, Request("GET", canary.url(path), timeout_s=0.3)) == "timeout"
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("path", ["/endless", "/long", "/bomb", "/nested"])
async def test_a_body_without_end_is_left(path: str, client: Outgoing, canary: CanaryServer) -> None:
    """Also one that is small until it is unpacked."""
    bomb = gzip.compress(b"\0" * 50_000_000)
    canary.answers["/endless"] = endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536)
    canary.answers["/long"] = plain(b"x" * (MAX_BODY + 1))
    canary.answers["/bomb"] = plain(bomb, Content_Encoding="gzip")
    canary.answers["/nested"] = plain(bomb, Content_Encoding="deflate")
    tracemalloc.start()
    problem = await problem_of(client, Request("GET", canary.url(path)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert problem == "too_large"
    assert peak < 10_000_000


async def test_as_much_as_fits_is_read(client: Outgoing, canary: CanaryServer) -> None:
    canary.answers["/"] = plain(gzip.compress(b"x" * MAX_BODY), Content_Encoding="gzip")
    assert len((await client.call(Request("GET", canary.url()))).body) == MAX_BODY


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(5_000)) + b"\r\n",
        b"HTTP/1.1 200 " + b"a" * 100_000 + b"\r\n\r\n",
        b"not HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nplain",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 5\r\n\r\nplain",
        b"",
    ],
    ids=[
        "long header",
        "many headers",
        "long reason",
        "no HTTP",
        "cut short",
        "not packed",
        "packing unknown",
        "gone",
    ],
)
async def test_an_answer_that_is_none_has_a_word(data: bytes, client: Outgoing, canary: CanaryServer) -> None:
    canary.answers["/"] = raw(data)
    assert await problem_of(client, Request("GET", canary.url())) in ("unreadable", "unreachable")


async def test_headers_without_end_are_left(client: Outgoing, canary: CanaryServer) -> None:
    canary.answers["/"] = endless(b"HTTP/1.1 200 OK\r\n", b"X-A: a\r\n" * 1_000)
    assert await problem_of(client, Request("GET", canary.url())) == "unreadable"


async def test_a_server_that_is_down_was_not_asked(client: Outgoing, canary: CanaryServer) -> None:
    """The word, and that nothing was sent: such a call may be made again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    down = Outgoing(Policy(allow={("127.0.0.1", port)}))
    with pytest.raises(CallFailed) as failed:
        await down.call(Request("POST", f"http://127.0.0.1:{port}/"))
    assert (failed.value.problem, failed.value.sent) == ("unreachable", False)
    await down.close()


# --- what an answer is


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ("città".encode(), "application/json", "città"),
        ("città".encode("latin-1"), "text/plain; charset=iso-8859-1", "città"),
        (b"caff\xe8", "text/plain; charset=utf-8", "caff\N{REPLACEMENT CHARACTER}"),
        (b"plain", "text/plain; charset=hex", "plain"),
        (b"plain", "text/plain; charset=no-such", "plain"),
        # codecs of Python's that are no character sets: some need seconds for as much as an answer may have
        (b"plain-a" * 100, "text/plain; charset=punycode", "plain-a" * 100),
        (b"\\x41", "text/plain; charset=unicode_escape", "\\x41"),
        ("città".encode("cp1252"), "text/plain; charset=windows-1252", "città"),
        ("città".encode("utf-16"), "text/plain; charset=UTF-16", "città"),
    ],
)
async def test_a_body_is_text(
    body: bytes, kind: str, text: str, client: Outgoing, canary: CanaryServer
) -> None:
    canary.answers["/"] = plain(body, Content_Type=kind)
    assert (await client.call(Request("GET", canary.url()))).body == text


async def test_cookies_are_not_kept(client: Outgoing, canary: CanaryServer) -> None:
    canary.answers["/"] = plain(Set_Cookie="session=1; Path=/")
    await client.call(Request("GET", canary.url()))
    await client.call(Request("GET", canary.url()))
    assert "cookie" not in canary.asked[1].headers


async def test_calls_run_beside_each_other(client: Outgoing, canary: CanaryServer) -> None:
    """A slow server keeps nobody else."""
    canary.answers["/slow"] = endless(b"HTTP/1.1 200 OK\r\n\r\n", b"a", 0.02)
    slow = [
        asyncio.create_task(client.call(Request("GET", canary.url("/slow"), timeout_s=2))) for _ in range(30)
    ]
    began = time.monotonic()
    assert (await client.call(Request("GET", canary.url("/quick")))).status == 200
    assert time.monotonic() - began < 1.5
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


async def test_the_systems_own_names() -> None:
    """`localhost` leads to loopback, by the system's resolver, and is refused."""
    client = Outgoing(Policy())
    assert await problem_of(client, Request("GET", "http://localhost/")) == "not_allowed"
    await client.close()
