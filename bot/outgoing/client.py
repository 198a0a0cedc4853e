"""One request to somewhere: checked where it connects, bounded in time and size, answered in one of few words.

What is checked, and where: the address by `addresses` before anything is done (scheme, port, names that are never
called), and every socket address at the moment of connecting, in the connector's `socket_factory`. That is the only
place that IP literals, odd spellings (`0x7f000001`), redirects and names whose address changes all pass. Every request
has its own connection: a kept one would be a request that fails for no fault of its own, and for a POST nobody would
know whether it arrived.

Failures are a closed list of words: an error's own text may hold an internal address or what a server said.
"""

from __future__ import annotations

import asyncio
import codecs
import re
import socket
import zlib
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from bot.outgoing import addresses

MAX_BODY = 256 * 1024  # bytes of an answer, after unpacking: what a flow reads of one is a few values
MAX_REDIRECTS = 3
MAX_LINE = 8_190  # bytes of a status line or header: what servers send
MAX_HEADERS = 64  # of an answer
CONNECTIONS = 128  # of this process; two for each call under way
RESOLVERS = 8  # threads that look names up: a slow name server must not hold the threads that others need
CHUNK = 16 * 1024  # bytes unpacked at a time
AGENT = "Passaparola"

_PORTS = {"http": 80, "https": 443}
# What pages and services are written in. Python knows codecs that are none of these, one of which (punycode) takes four
# seconds for MAX_BODY, in which nothing else happens.
_CHARSETS = re.compile(
    r"(ascii|utf-(8|8-sig|16|16-le|16-be|32|32-le|32-be)|iso8859-\d+|cp(437|85\d|866|874|125\d)|koi8-[ru]|mac-roman"
    r"|gbk|gb2312|gb18030|big5|euc_jp|euc_kr|shift_jis|iso2022_jp)"
)
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_BODY_HEADERS = frozenset(("content-type", "content-length", "content-encoding", "content-language"))
# All that goes on to another server: the author's own headers were meant for the first one.
_HARMLESS = frozenset(("accept", "accept-language", "content-type", "user-agent"))


class CallFailed(Exception):
    """There is no answer that can be used. `problem` is one of the words of `HttpAnswered`; `sent`: the request may
    have arrived."""

    def __init__(self, problem: str, *, sent: bool = False, status: int = 0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.sent = sent
        self.status = status


@dataclass(frozen=True)
class Request:
    """`secret_headers` are left out where a redirect leads to another server. `trusted`: the address is the owner's own
    setting, which need not be public."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    secret_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = None
    timeout_s: float = 10.0
    trusted: bool = False


@dataclass(frozen=True)
class Answer:
    """`body` is text, decoded as the server says or as UTF-8 with what does not fit replaced."""

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Policy:
    """Where this installation's calls may go. `allow`: (host, port) that need not be public; `own`: (host, port) of
    ourselves and of the platforms' APIs as they are set, never called."""

    allow: Collection[tuple[str, int]] = frozenset()
    own: Collection[tuple[str, int]] = frozenset()


@dataclass
class _Hop:
    """What the connector has to know of the request that it connects for."""

    internal: bool  # the owner has allowed this host, wherever it leads
    literal: bool  # … and has written its address out
    refused: bool = False


_hop: ContextVar[_Hop] = ContextVar("hop")


class Outgoing:
    """The client of one process. `resolver` is for tests that play a name server."""

    def __init__(self, policy: Policy, *, resolver: AbstractResolver | None = None) -> None:
        self._policy = policy
        self._resolver = resolver or _Resolver()
        self._session: aiohttp.ClientSession | None = None

    async def call(self, request: Request) -> Answer:
        """The answer, after at most MAX_REDIRECTS. Raises CallFailed."""
        sent = False
        try:
            async with asyncio.timeout(request.timeout_s):
                hop = request
                for redirects in range(MAX_REDIRECTS + 1):
                    checked = self._checked(hop)
                    sent = True
                    answer = await self._once(hop, checked)
                    location = answer.headers.get("Location", "")
                    if answer.status not in _REDIRECTS or not location:
                        return answer
                    if redirects == MAX_REDIRECTS:
                        break
                    hop = _redirected(hop, answer.status, location)
            raise CallFailed("redirects", sent=True)
        except TimeoutError:
            raise CallFailed("timeout", sent=sent) from None

    async def close(self) -> None:
        """Lets go of connections and threads."""
        if self._session is not None:
            await self._session.close()
        await self._resolver.close()

    def _checked(self, request: Request) -> _Hop:
        """What may be said of an address before anybody is asked. Raises CallFailed."""
        try:
            url = urlsplit(request.url)
            host, port = addresses.normal(url.hostname or ""), url.port or _PORTS[url.scheme]
        except (ValueError, KeyError):
            raise CallFailed("not_allowed") from None
        here = (host, port)
        allowed = request.trusted or here in self._policy.allow
        forbidden = not request.trusted and (addresses.is_provider(host) or here in self._policy.own)
        literal = addresses.parsed(host)
        if (
            not host
            or url.scheme not in _PORTS
            or url.username is not None
            or forbidden
            or (
                not allowed
                and (port not in addresses.PORTS or (literal is not None and addresses.is_denied(host)))
            )
        ):
            raise CallFailed("not_allowed")
        return _Hop(internal=allowed, literal=literal is not None or request.trusted)

    async def _once(self, request: Request, hop: _Hop) -> Answer:
        token = _hop.set(hop)
        try:
            async with self._opened().request(
                request.method,
                URL(request.url, encoded=True),
                headers={
                    "User-Agent": AGENT,
                    "Accept": "application/json, text/*;q=0.9, */*;q=0.5",
                    **request.headers,
                    **request.secret_headers,
                    "Accept-Encoding": "gzip, deflate",
                },
                data=request.body,
                allow_redirects=False,
            ) as response:
                body = b"" if response.status in _REDIRECTS else await _read(response)
                return Answer(response.status, _text(response, body), response.headers)
        except aiohttp.ClientConnectorError:  # nothing was written
            raise CallFailed("not_allowed" if hop.refused else "unreachable") from None
        except (aiohttp.ClientPayloadError, aiohttp.http.HttpProcessingError, aiohttp.ClientResponseError):
            raise CallFailed("unreadable", sent=True) from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise CallFailed("unreachable", sent=True) from None
        finally:
            _hop.reset(token)

    def _opened(self) -> aiohttp.ClientSession:
        """Made at the first call: most installations begin without one."""
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=self._resolver,
                socket_factory=_guarded,
                use_dns_cache=False,
                force_close=True,
                limit=CONNECTIONS,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                max_line_size=MAX_LINE,
                max_field_size=MAX_LINE,
                max_headers=MAX_HEADERS,
                timeout=aiohttp.ClientTimeout(total=None),  # `call` has the clock, over all redirects
            )
        return self._session


def _guarded(address: tuple[Any, ...]) -> socket.socket:
    """The socket for an address that may be called. Raises OSError for any other; asked for every single attempt."""
    family, kind, protocol, _, where = address
    host, hop = str(where[0]), _hop.get()
    denied = addresses.is_denied(host) and not hop.internal
    if denied or (hop.internal and not hop.literal and addresses.is_link_local(host)):
        hop.refused = True
        raise OSError("not allowed")
    return socket.socket(family, kind, protocol)


class _Resolver(AbstractResolver):
    """The system's resolver, in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="outgoing-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        def look_up() -> list[Any]:
            return socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)

        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [
            ResolveResult(
                hostname=host,
                host=str(where[0]),
                port=int(where[1]),
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, where in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _redirected(request: Request, status: int, location: str) -> Request:
    """The next request (RFC 9110, 15.4): 303 asks with GET, and so do all browsers after a POST with 301 and 302."""
    url = urljoin(request.url, location)
    method, body, headers = request.method, request.body, dict(request.headers)
    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
        method, body = "GET", None
        headers = {name: value for name, value in headers.items() if name.lower() not in _BODY_HEADERS}
    secrets = request.secret_headers
    if _origin(url) != _origin(request.url):
        headers = {name: value for name, value in headers.items() if name.lower() in _HARMLESS}
        secrets = {}
    return Request(
        method, url, headers, secrets, body, request.timeout_s
    )  # where it leads nobody has vouched for


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        host = addresses.normal(parts.hostname or "")
        return parts.scheme, host, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return "", url, None


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, unpacked while it comes, at most MAX_BODY bytes. Raises CallFailed."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise CallFailed("unreadable", sent=True, status=response.status)
    unpack = None if encoding in ("", "identity") else zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    body = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK):
        try:
            body += chunk if unpack is None else unpack.decompress(chunk, MAX_BODY + 1 - len(body))
        except zlib.error:
            raise CallFailed("unreadable", sent=True, status=response.status) from None
        if len(body) > MAX_BODY or (unpack is not None and unpack.unconsumed_tail):
            raise CallFailed("too_large", sent=True, status=response.status)
    return bytes(body)


def _text(response: aiohttp.ClientResponse, body: bytes) -> str:
    try:
        named = codecs.lookup(response.charset or "utf-8").name
        return body.decode(named if _CHARSETS.fullmatch(named) else "utf-8", "replace")
    except (LookupError, ValueError):
        return body.decode("utf-8", "replace")
